"""When frames are shown in the output: from pts of the source to ticks of the encoder, one slot a frame, or as many as
a constant rate needs."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from stdvid.media.probe import VideoInfo
from stdvid.media.timebase import TimePoint, format_seconds, round_half_up, to_seconds, to_ticks

FAR_START_S = 60
"""A source clock that starts later than this (broadcast recordings) is set to 0; an earlier start is kept."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One frame to encode: its pts and duration in ticks, and whether it is the frame before once more."""

    pts: int
    duration: int
    repeat: bool = False


class Timing:
    """The slots of a clip's frames, in order.

    Attributes:
        origin: the source time, in seconds, that becomes 0; known after the first frame.
        end: source time at which the last frame so far ends.
        notes: what happened to the clock.
    """

    def __init__(
        self,
        time_base: Fraction,
        rate: Fraction,
        ticks: Fraction,
        *,
        cfr: bool = False,
        info: VideoInfo | None = None,
        start: TimePoint | None = None,
    ) -> None:
        """`time_base` of the pts that come, `ticks` of those that go; `info` and `start` decide where 0 is."""
        self.time_base, self.rate, self.ticks = time_base, rate, ticks
        self.origin = self.end = Fraction(0)
        self.notes: list[str] = []
        self._cfr, self._info, self._start = cfr, info, start
        self._last_pts: int | None = None
        self._last_ticks: int | None = None
        self._next_slot: int | None = None
        self._repeated = self._left_out = 0

    def place(self, pts: int, duration: int) -> list[Slot]:
        """The slots of the next frame: none where a constant rate has no room for it.

        Raises ValueError unless `pts` is later than that of the frame before.
        """
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"pts {pts} is not later than {self._last_pts}, that of the frame before")
        time = to_seconds(pts, self.time_base)
        if self._last_pts is None:
            self._set_origin(time)
        self._last_pts = pts
        shown = to_seconds(duration, self.time_base) or 1 / self.rate
        self.end = time + shown
        if self._cfr:
            return self._constant(time - self.origin)
        return [self._slot(to_ticks(time - self.origin, self.ticks), to_ticks(shown, self.ticks))]

    def closing_notes(self) -> list[str]:
        """All notes, at the end."""
        if self._repeated or self._left_out:
            return [*self.notes, f"constant rate: {self._repeated} frames repeated, {self._left_out} left out"]
        return self.notes

    def _set_origin(self, time: Fraction) -> None:
        info = self._info
        if self._start is not None:
            self.origin = time
        elif time < 0 or (info is not None and min(info.start_s, time) > FAR_START_S):
            self.origin = min(info.start_s, time) if info is not None and time > 0 else time
            self.notes.append(f"the source's clock starts at {format_seconds(self.origin)}; the output starts at 0")

    def _constant(self, time: Fraction) -> list[Slot]:
        slot = round_half_up(time / self.ticks)
        following = slot if self._next_slot is None else self._next_slot
        if slot < following:
            self._left_out += 1
            return []
        self._repeated += slot - following
        self._next_slot = slot + 1
        return [self._slot(place, 1, place < slot) for place in range(following, slot + 1)]

    def _slot(self, pts: int, duration: int, repeat: bool = False) -> Slot:
        pts = max(pts, self._last_ticks + 1) if self._last_ticks is not None else pts
        self._last_ticks = pts
        return Slot(pts, duration, repeat)
