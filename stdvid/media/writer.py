"""Writing video: encode frames, carry over everything else, and leave a whole file or none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from stdvid.errors import OutputError, UsageError
from stdvid.media.encoding import add_video_stream, choose_encoder, plan_stream
from stdvid.media.frames import Image, check_pixels
from stdvid.media.opening import reason
from stdvid.media.output import PartFile, StandardOutput, check_output, output_format
from stdvid.media.pipes import is_pipe
from stdvid.media.probe import VideoInfo
from stdvid.media.remux import StreamCopier
from stdvid.media.segments import Segment, decoding_times, pts_of
from stdvid.media.still import encode_still
from stdvid.media.timebase import TimePoint, to_seconds
from stdvid.media.timing import Slot, Timing

PIPE_OPTIONS = {"flush_packets": "1", "max_interleave_delta": "1000000", "frag_duration": "1000000"}
"""Who reads a pipe is to have each picture at once, and not to wait for the next subtitle."""

MAX_MOVIE_TIMESCALE = 50_000_000
"""MP4 start times are stored in movie ticks; FFmpeg's default of 1000 a second would round them down."""


class VideoWriter:
    """Encode frames to a file and copy the source's other streams into it. A context manager: leaving it normally
    finishes the file and gives it its name, leaving it by an exception (Ctrl-C too) removes what was written.

    Times: pts are kept. MP4/MOV store them exactly, Matroska and WebM to the millisecond, GIF to 1/100 s (frames
    that would fall together there move by one such tick). With ``start``, the first frame written becomes time 0 and
    everything copied moves along.

    Size: 4:2:0 needs even sides; an odd side is scaled up by one pixel, nothing is cropped or padded. The pixel
    aspect is set such that the display aspect is the source's, whatever ``size`` is.

    Colour: BT.709, limited range, tagged; or the source's own tags where that is SDR BT.601/709 YUV.

    Args:
        path: the output; its extension decides the container. png, jpg and webp hold one frame.
        size: (width, height) of the frames that will be written.
        info: probe() of the source: gives time base, rate, aspect, colour and the streams to copy. None: nothing is
            copied, square pixels.
        time_base: seconds per tick of the pts given to write(); default the source's, or 1/1000.
        rate: nominal frames a second; default the source's, or 25.
        codec: FFmpeg's name of an encoder; None: the container's usual one.
        crf: constant quality, None for 18; UsageError for a codec without it.
        enc: further encoder options, ``pix_fmt`` included.
        audio, subtitles: whether to copy these.
        container: instead of the extension's: mp4, mov, mkv, webm, nut, ts, avi, gif, png, jpg, webp.
        fps_mode: ``vfr`` keeps every frame at its time; ``cfr`` repeats and leaves out frames to fill ``rate``.
        start, end: the trim that the reader was given, so that copied streams are cut alike.
        overwrite: True to replace an existing file; else OutputExistsError.

    Attributes:
        notes: one line for each thing that could not be kept; complete after closing.
        frames_written: frames given to the encoder.
        times: of the frames that `write_segments` wrote, in seconds.
        file: the file while it is written.

    Raises:
        UsageError: from the constructor: unknown extension, codec, option or value, or the output is the input;
            from write: a second frame for a still image.
        OutputExistsError: the output exists.
        OutputError: the folder cannot be written, the disk is full, or no frame was written.
        InputError: the source's other streams cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: tuple[int, int],
        info: VideoInfo | None = None,
        time_base: Fraction | None = None,
        rate: Fraction | None = None,
        codec: str | None = None,
        crf: float | None = None,
        enc: Mapping[str, str] | None = None,
        audio: bool = True,
        subtitles: bool = True,
        container: str | None = None,
        fps_mode: Literal["vfr", "cfr"] = "vfr",
        start: TimePoint | None = None,
        end: TimePoint | None = None,
        overwrite: bool = False,
    ) -> None:
        if fps_mode not in ("vfr", "cfr"):
            raise UsageError(f"fps mode {fps_mode!r} is unknown; allowed are vfr and cfr; choose one of them")
        if min(size) < 1:
            raise UsageError(f"size {size[0]}x{size[1]}: both sides must be at least 1 pixel; choose a larger size")
        self._target = output_format(path, container)
        check_output(path, info.path if info else None, overwrite)
        self.path = Path(path)
        self.notes: list[str] = []
        self.frames_written = 0
        self.times: list[Fraction] = []
        self._info = info
        self._size = size
        self._time_base = time_base or (info.video.time_base if info else Fraction(1, 1000))
        self._rate = rate or (info.video.rate if info else Fraction(25))
        self._cfr = fps_mode == "cfr" or self._target.even
        self._start, self._end = start, end
        self._last_image: Image | None = None
        self._finished = self._completed = self._encoded = False
        self.file: PartFile | StandardOutput = StandardOutput() if is_pipe(path) else PartFile(path)
        self._container: OutputContainer | None = None
        self._copier: StreamCopier | None = None
        if not self._target.still:
            choice = choose_encoder(codec or self._target.codec, crf, enc or {})
            self.stream_plan = plan_stream(
                choice,
                self._target,
                size=size,
                info=info,
                time_base=self._time_base,
                rate=self._rate,
                cfr=self._cfr,
            )
            self.timing = self.new_timing()
            try:
                self._open(audio, subtitles)
            except BaseException:
                self.abort()
                raise

    def _open(self, audio: bool, subtitles: bool) -> None:
        info = self._info
        with self._writing():
            self._container = av.open(
                self.file.begin(), "w", format=self._target.muxer, container_options=self._muxer_options()
            )
        assert self._container is not None
        self._stream: VideoStream = add_video_stream(self._container, self.stream_plan)
        self._pictures = self.stream_plan.pictures()
        if info is not None and self._target.copies_streams and not info.is_image:
            self._copier = StreamCopier(
                info.path, self._container, self._target, info.video.index, audio=audio, subtitles=subtitles
            )
        elif info is not None and info.others and not info.is_image:
            self.notes.append(
                f"{len(info.others)} other streams are not copied: {self._target.muxer} holds pictures only"
            )

    def _muxer_options(self) -> dict[str, str]:
        return self._format_options() | (PIPE_OPTIONS if is_pipe(self.path) else {})

    def _format_options(self) -> dict[str, str]:
        if self._target.muxer in ("mp4", "mov"):
            rates = {s.sample_rate for s in self._info.others if s.sample_rate} if self._info is not None else set()
            video = self._time_base.denominator
            scale = next((n for n in (math.lcm(video, 1000, *rates), video) if n <= MAX_MOVIE_TIMESCALE), 1000)
            flags = "+frag_keyframe+delay_moov+default_base_moof" if is_pipe(self.path) else "+faststart"
            return {"movflags": flags, "movie_timescale": str(scale)}
        if self._target.muxer in ("matroska", "webm"):
            # Otherwise B-frames or the priming of AAC (negative times) would shift all pts by a few frames. Priming
            # keeps its negative times: it is to be decoded and not heard, which readers do with times below 0.
            # Bit-exact: no random identifiers, so that the same command writes the same file.
            return {"avoid_negative_ts": "disabled", "fflags": "+bitexact"}
        return {}

    def new_timing(self) -> Timing:
        """The times of this clip, from its first frame."""
        plan = self.stream_plan
        return Timing(self._time_base, plan.rate, plan.ticks, cfr=self._cfr, info=self._info, start=self._start)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, image: Image, pts: int, duration: int = 0) -> None:
        """Encode one frame.

        Args:
            image: uint8 [H,W,3] RGB of the size given to the constructor.
            pts: ticks of the time base; later than that of the frame before.
            duration: ticks; counts for the last frame only.
        """
        check_pixels(image, 3, "VideoWriter.write")
        if image.shape[:2] != self._size[::-1]:
            raise ValueError(f"got a frame of {image.shape[1]}x{image.shape[0]}, expected {self._size}")
        if self._target.still:
            self._write_still(image)
            return
        with self._writing():
            begins = self.frames_written == 0 and self._last_image is None
            slots = self.timing.place(pts, duration)
            if begins:
                self._begin(to_seconds(pts, self._time_base))
            for slot in slots:
                self._encode(self._last_image if slot.repeat and self._last_image is not None else image, slot)
            self._last_image = image
            if self._copier is not None:
                self._copier.advance(to_seconds(pts, self._time_base))

    def write_segments(self, paths: Sequence[Path], timing: Timing, first_pts: int) -> None:
        """Write a whole clip that is encoded already, as `stream_plan` says, instead of its frames.

        Args:
            paths: files of its segments, in order.
            timing: where their frames were given their slots.
            first_pts: of the first frame, in ticks of the source.

        Raises OutputError.
        """
        assert self._container is not None
        self.timing, self._encoded = timing, True
        with self._writing():
            self._begin(to_seconds(first_pts, self._time_base))
            pts = [value for path in paths for value in pts_of(path)]
            self.times, times = [value * timing.ticks for value in sorted(pts)], iter(decoding_times(pts))
            for packet in (packet for path in paths for packet in Segment.load(path).packets()):
                packet.dts, packet.time_base = next(times), self.stream_plan.ticks
                packet.stream = self._stream
                if self._copier is not None:
                    self._copier.advance(packet.dts * self.stream_plan.ticks + timing.origin)
                self._container.mux_one(packet)
                self.frames_written += 1

    def _begin(self, time: Fraction) -> None:
        """Write the header; `time` is that of the first frame, in the source's seconds."""
        assert self._container is not None
        if self._copier is not None:
            clip_start = time if self._start is None else time - self._start.to_seconds(self._rate)
            end = None if self._end is None else clip_start + self._end.to_seconds(self._rate)
            self._copier.write_tags(self.timing.origin, self._start is not None, end)
        self._container.start_encoding()

    def _encode(self, image: Image, slot: Slot) -> None:
        assert self._container is not None
        frame = self._pictures(image)
        frame.pts, frame.time_base, frame.duration = slot.pts, self.stream_plan.ticks, slot.duration
        frame.pict_type = 0
        self.frames_written += 1
        self._container.mux(self._stream.encode(frame))

    def _write_still(self, image: Image) -> None:
        if self.frames_written:
            raise UsageError(
                f"{self.path}: an image file holds one frame and the source has more; allowed for video are .mp4, "
                ".mkv, .gif and others; choose one of these extensions"
            )
        with self._writing():
            self.file.part.write_bytes(encode_still(image, self._target.codec))
        self.frames_written = 1

    def complete(self) -> None:
        """Flush the encoder and copy the rest: `file` holds the whole clip then, still without its name.

        Raises as `close` does.
        """
        if self._finished or self._completed:
            return
        try:
            if not self.frames_written:
                raise OutputError(f"{self.path}: no frame was written; at least one is needed; check --start and --end")
            with self._writing():
                self._complete()
        except BaseException:
            self.abort()
            raise
        self._completed = True

    def close(self) -> None:
        """Complete the file and give it its name. Calling it again does nothing.

        Raises:
            OutputError: no frame was written, or the file cannot be completed; nothing is left behind then.
            InputError: the rest of the other streams cannot be read.
        """
        if self._finished:
            return
        self.complete()
        self._finished = True
        self.file.commit()

    def _complete(self) -> None:
        if self._container is None:
            return
        if not self._encoded:
            self._container.mux(self._stream.encode(None))
        if self._copier is not None:
            self._copier.advance(self.timing.end if self._end is not None else None)
            self.notes.extend(self._copier.notes)
            self._copier.close()
        self._container.close()
        self.notes.extend(self.timing.closing_notes())

    def abort(self) -> None:
        """Give up: close everything and remove the part. Calling it again, or after close(), does nothing."""
        if self._finished:
            return
        self._finished = True
        if self._copier is not None:
            self._copier.close()
        self.file.discard()  # first, so that closing does not spend time on completing it
        if self._container is not None:
            with suppress(av.FFmpegError, OSError, ValueError):
                self._container.close()
        self.file.discard()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as exc:
            raise OutputError(
                f"{self.path}: cannot be written ({reason(exc)}); a writable folder with free space and a fitting "
                "container are needed; check the disk, or use .mkv"
            ) from exc
