"""Reading video: the VideoReader protocol and PyAVReader, the sequential default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import av

from stdvid.errors import InputError, UsageError
from stdvid.media.colour import RgbConverter
from stdvid.media.frames import Frame
from stdvid.media.limits import DEFAULT, Limits
from stdvid.media.opening import check_pixels_of, main_video_stream, open_input, packets_of, reason
from stdvid.media.probe import VideoInfo, probe
from stdvid.media.pts import PtsRepair
from stdvid.media.timebase import TimePoint, check_range, format_seconds, round_half_up

TRUNCATED_SHARE = Fraction(9, 10)
"""A clip that ends before this share of the duration in its header is said to be incomplete."""


class VideoReader(Protocol):
    """A source of frames in display order."""

    info: VideoInfo

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame once; pts strictly increase; all frames have one size."""
        ...

    def close(self) -> None:
        """Release the file; safe to call twice and from another thread than the one that iterates."""
        ...


class PyAVReader:
    """Decode a file from its first frame to its last, in one pass with one decoder.

    Rotation and mirroring are applied; any pixel format, depth, matrix and range becomes RGB8; HDR and BT.2020 are
    mapped to BT.709; alpha is composited on black; interlaced pictures pass as they are; a change of size midway
    is scaled to the first size. Frames are decoded from the start also where ``start`` lies later, so that a frame's
    index is exact and no keyframe is needed; what lies before costs decoding only.

    Args:
        path: a video, an image (one frame) or an animated GIF.
        size: (width, height) of the upright frames wanted; None keeps the file's.
        start, end: first frame to yield and first frame not to, counted from the first frame of the clip.
        info: the result of probe(path) where it is at hand.
        limits: what the file may not exceed.

    Attributes:
        repairs: frames whose pts had to be changed to increase strictly (so far).
        damaged_frames: frames that the decoder says it had to conceal errors in (so far).
        frames_read: frames yielded (so far).
        frames_decoded: frames that came out of the decoder (so far), also those before ``start``.

    Raises:
        InputError: from the constructor as probe() does; while iterating, when a packet cannot be read or decoded,
            or when no frame came out. Damage that the decoder conceals is counted, not raised.
        UsageError: ``start`` is not before ``end``, or ``size`` is not positive.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: tuple[int, int] | None = None,
        start: TimePoint | None = None,
        end: TimePoint | None = None,
        info: VideoInfo | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        if size is not None and min(size) < 1:
            raise UsageError(f"size {size[0]}x{size[1]}: both sides must be at least 1 pixel; choose a larger size")
        self.path = Path(path)
        self.info = info if info is not None else probe(path, limits)
        self.limits = limits
        self.frames_decoded = 0
        self.repairs = 0
        self.damaged_frames = 0
        self.frames_read = 0
        self._start, self._end = start, end
        check_range(self._start, self._end, self.info.video.rate)
        orientation = self.info.video.orientation
        coded = (self.info.video.width, self.info.video.height)
        self.size = size or orientation.size(*coded)
        self._converter = RgbConverter(orientation.size(*self.size))
        self._end_s = Fraction(0)
        self._closed = False
        self._iterating = False

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick of the pts of the frames."""
        return self.info.video.time_base

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop: an iteration that is going on ends at its next frame and releases the file."""
        self._closed = True

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames. Can be started once; the decoder is flushed at the end."""
        if self._iterating:
            raise RuntimeError("a PyAVReader can be iterated once; make another one to read again")
        self._iterating = True
        info = self.info.video
        default = round_half_up(1 / info.rate / info.time_base)
        repair = PtsRepair(info.time_base, default, dts_only=self.info.container == "avi")
        first: int | None = None
        decoded = 0
        with ExitStack() as stack:
            for index, raw in enumerate(self._decode(stack)):
                duration = max(0, raw.duration or 0)
                pts = repair(raw.pts, raw.dts, duration)
                first = pts if first is None else first
                self.frames_decoded = decoded = index + 1
                self.repairs = repair.repairs
                elapsed = (pts - first) * info.time_base
                self._end_s = (pts + duration) * info.time_base
                if self._end is not None and self._end.reached(index, elapsed):
                    break
                if elapsed > self.limits.seconds:
                    raise InputError(
                        f"{self.path}: goes on for more than {self.limits.seconds:g} s; "
                        "raise that with --limit seconds=N, or use --end"
                    )
                if self._start is not None and not self._start.reached(index, elapsed):
                    continue
                self.damaged_frames += raw.is_corrupt
                check_pixels_of(self.path, raw.width, raw.height, self.limits)
                image = info.orientation.apply(self._converter.convert(raw))
                self.frames_read += 1
                yield Frame(image, pts, info.time_base, index, duration)
                if self._closed:
                    return
        self._check_any(decoded)

    def _decode(self, stack: ExitStack) -> Iterator[av.VideoFrame]:
        container = stack.enter_context(open_input(self.path, self.limits))
        stream = main_video_stream(container, self.path)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": f"{self.limits.pixels:.0f}"}
        try:
            for packet in packets_of(container, stream):
                yield from packet.decode()
        except av.EOFError:
            return
        except (av.FFmpegError, ValueError) as exc:
            place = f"after {self.frames_read} frames at {format_seconds(self._end_s)}"
            raise InputError(
                f"{self.path}: damaged {place} ({reason(exc)}); a file that decodes to its end is needed; repair it or "
                "use --end to stop before the damage"
            ) from exc

    def _check_any(self, decoded: int) -> None:
        if not decoded:
            raise InputError(
                f"{self.path}: its video stream holds no frame; at least one is needed; get the file again"
            )
        if not self.frames_read:
            raise UsageError(
                f"start {self._start} lies at or after the end of the clip ({decoded} frames, "
                f"{format_seconds(self._end_s)}); choose an earlier start"
            )

    def notes(self) -> list[str]:
        """One line for each thing about the source that the user should hear of; complete after iterating."""
        lines = []
        if self.info.video.hdr:
            lines.append("HDR source: tone-mapped to SDR BT.709")
        if self._converter.saw_transparency:
            lines.append("transparent source: composited on black")
        if self.info.video.metadata.get("alpha_mode") == "1":
            lines.append("transparent source: its alpha channel is ignored (VP8/VP9 keep it apart)")
        if self.repairs:
            lines.append(f"{self.repairs} frames had missing or disordered timestamps, which were repaired")
        if self.damaged_frames:
            lines.append(f"{self.damaged_frames} frames are damaged in the source and were used as decoded")
        duration = self.info.video.duration_s or (None if self.info.others else self.info.duration_s)
        ended = self._end is None and self._iterating and not self._closed
        if ended and duration and self._end_s - self.info.start_s < duration * TRUNCATED_SHARE:
            lines.append(
                f"the source ends at {format_seconds(self._end_s)}, its header promises {format_seconds(duration)}: "
                "it is probably incomplete"
            )
        return lines
