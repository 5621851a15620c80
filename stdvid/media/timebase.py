"""Time: the only place that converts between ticks, seconds and what a user types.

A pts is an integer number of ticks; one tick lasts ``time_base`` seconds (a Fraction). Seconds are Fractions
too, so that no conversion here loses anything except where the target cannot hold the value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from stdvid.errors import UsageError

MICROSECOND = Fraction(1, 1_000_000)
"""The time base of container-level times in FFmpeg (start, duration)."""

_FRAMES = re.compile(r"(\d+)f")
_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)s?")
_TIMECODE = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d*)?)")


def round_half_up(value: Fraction) -> int:
    """The nearest integer; halves go up, also below zero, so that equal distances stay equal."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def to_seconds(pts: int, time_base: Fraction) -> Fraction:
    """Ticks to seconds, exactly."""
    return pts * time_base


def to_ticks(seconds: Fraction, time_base: Fraction) -> int:
    """Seconds to the nearest tick."""
    return round_half_up(seconds / time_base)


def rescale(pts: int, source: Fraction, target: Fraction) -> int:
    """Ticks of one time base to the nearest tick of another."""
    return pts if source == target else round_half_up(pts * source / target)


def unit_time_base(time_base: Fraction) -> Fraction:
    """The coarsest time base of the form 1/n that holds every tick of ``time_base`` (containers store only n)."""
    return Fraction(1, time_base.denominator)


@dataclass(frozen=True, slots=True)
class TimePoint:
    """A place in a clip, counted from its first frame: a frame index or a number of seconds, never both."""

    frame: int | None = None
    seconds: Fraction | None = None

    def __post_init__(self) -> None:
        if (self.frame is None) == (self.seconds is None):
            raise ValueError("a TimePoint holds either a frame index or seconds")
        if (self.frame if self.frame is not None else self.seconds or 0) < 0:
            raise ValueError("a TimePoint counts from the first frame and cannot be negative")

    def reached(self, index: int, elapsed: Fraction) -> bool:
        """Whether the frame ``index``, shown ``elapsed`` seconds after the first, lies at or after this point."""
        if self.frame is not None:
            return index >= self.frame
        assert self.seconds is not None
        return elapsed >= self.seconds

    def to_seconds(self, rate: Fraction) -> Fraction:
        """Seconds from the first frame; a frame index is converted with ``rate`` frames a second."""
        return self.seconds if self.seconds is not None else Fraction(self.frame or 0) / rate

    def __str__(self) -> str:
        return f"{self.frame}f" if self.frame is not None else format_seconds(self.seconds or Fraction(0))


def check_range(start: TimePoint | None, end: TimePoint | None, rate: Fraction) -> None:
    """Raise UsageError if no frame can lie between `start` and `end`."""
    if end is None:
        return
    if end.to_seconds(rate) == 0:
        raise UsageError(f"end {end} is the beginning of the clip, which leaves no frame; choose a later end")
    if start is not None and start.to_seconds(rate) >= end.to_seconds(rate):
        raise UsageError(f"start {start} is not before end {end}; choose an end after the start")


def parse_time_point(text: str) -> TimePoint:
    """Read ``120f`` (frames), ``3.5`` (seconds) or ``00:01:02.500`` (timecode).

    Raises:
        UsageError: anything else, negative values included.
    """
    stripped = text.strip()
    if match := _FRAMES.fullmatch(stripped):
        return TimePoint(frame=int(match[1]))
    if match := _SECONDS.fullmatch(stripped):
        return TimePoint(seconds=Fraction(match[1]))
    if match := _TIMECODE.fullmatch(stripped):
        hours, minutes, seconds = int(match[1] or 0), int(match[2]), Fraction(match[3])
        if seconds < 60 and (minutes < 60 or match[1] is None):
            return TimePoint(seconds=hours * 3600 + minutes * 60 + seconds)
    raise UsageError(
        f"time {text!r} is not understood; allowed are frames (120f), seconds (3.5) and timecode (00:01:02.500); "
        "write it in one of these forms"
    )


def format_seconds(seconds: Fraction) -> str:
    """``H:MM:SS.mmm`` (hours only when there are any), for people to read."""
    millis = round_half_up(abs(seconds) * 1000)
    minutes, rest = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and millis else ""
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{sign}{head}:{rest // 1000:02d}.{rest % 1000:03d}"
