"""probe(path) -> VideoInfo: what is in a media file, read once, as plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from stdvid.errors import InputError
from stdvid.media.colour import ColourTags
from stdvid.media.limits import DEFAULT, Limits
from stdvid.media.opening import (
    check_pixels_of,
    decoder_name,
    main_video_stream,
    open_input,
    packets_of,
    reason,
    stream_name,
)
from stdvid.media.orientation import Orientation
from stdvid.media.pipes import is_pipe
from stdvid.media.timebase import MICROSECOND, round_half_up, to_seconds

SAMPLED_PACKETS = 240
"""So many packets are read (not decoded) to judge the frame rate and whether it varies."""

PIPED_PACKETS = 60
"""As many of a pipe: no frame can be finished before they have come."""

USUAL_RATES = tuple(Fraction(n, d) for n in (24000, 25000, 30000, 50000, 60000) for d in (1000, 1001))

REORDERED = 32
"""The last pts of a sample are left out: packets come in decoding order, so that their neighbours may be missing."""

_NO_METADATA: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class VideoStreamInfo:
    """The stream that will be restyled.

    Attributes:
        width, height: coded size in pixels, before rotation.
        orientation: how the picture has to be turned to stand upright.
        pixel_aspect: width / height of one pixel as coded.
        time_base: seconds per tick of its pts.
        start_pts: its first pts where the container says so.
        rate: frames a second on average, measured on the first packets where the header is implausible.
        variable_rate: whether the first packets are unevenly spaced.
        frames_claimed: the header's count; 0 where it gives none. Never trust it.
    """

    index: int
    codec: str
    width: int
    height: int
    orientation: Orientation
    pixel_aspect: Fraction
    time_base: Fraction
    start_pts: int | None
    duration_s: Fraction | None
    rate: Fraction
    variable_rate: bool
    frames_claimed: int
    pixel_format: str
    bit_depth: int
    is_yuv: bool
    has_alpha: bool
    interlaced: bool
    colour: ColourTags
    metadata: Mapping[str, str] = field(default_factory=lambda: _NO_METADATA)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(width, height) in pixels of the upright frames that the reader yields."""
        return self.orientation.size(self.width, self.height)

    @property
    def frame_pixel_aspect(self) -> Fraction:
        """Width / height of one pixel of an upright frame."""
        return 1 / self.pixel_aspect if self.orientation.transposed else self.pixel_aspect

    @property
    def display_aspect(self) -> Fraction:
        """Width / height of the picture as it is to be seen."""
        width, height = self.frame_size
        return Fraction(width, height) * self.frame_pixel_aspect

    @property
    def display_size(self) -> tuple[int, int]:
        """(width, height) of the upright picture in square pixels; nothing is made smaller."""
        width, height = self.frame_size
        aspect = self.frame_pixel_aspect
        if aspect >= 1:
            return max(1, round_half_up(width * aspect)), height
        return width, max(1, round_half_up(height / aspect))

    @property
    def hdr(self) -> bool:
        """Whether the transfer curve is PQ or HLG."""
        return self.colour.hdr


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Any other stream: audio, subtitle, data, attachment, or a further video. ``sample_rate`` is 0 unless audio."""

    index: int
    kind: str
    codec: str
    language: str
    title: str
    cover_art: bool
    sample_rate: int


@dataclass(frozen=True, slots=True)
class ChapterInfo:
    """A chapter, in seconds of the source's clock."""

    start_s: Fraction
    end_s: Fraction
    title: str


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What is in a media file.

    Attributes:
        path: as given.
        container: FFmpeg's name of the format.
        start_s: earliest time of any stream, in seconds.
        duration_s: as the container says; None where it does not (streams, some webm).
        is_image: a still picture; it is read as a video of one frame.
    """

    path: Path
    container: str
    start_s: Fraction
    duration_s: Fraction | None
    is_image: bool
    video: VideoStreamInfo
    others: tuple[StreamInfo, ...]
    chapters: tuple[ChapterInfo, ...]
    metadata: Mapping[str, str]

    def of_kind(self, kind: str) -> tuple[StreamInfo, ...]:
        """The other streams of one kind: ``audio``, ``subtitle``, ``data``, ``attachment`` or ``video``."""
        return tuple(s for s in self.others if s.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts, fit for json.dumps; rationals become ``"num/den"``."""
        video = self.video
        return {
            "path": str(self.path),
            "container": self.container,
            "start_s": float(self.start_s),
            "duration_s": None if self.duration_s is None else float(self.duration_s),
            "is_image": self.is_image,
            "video": {
                "index": video.index,
                "codec": video.codec,
                "width": video.width,
                "height": video.height,
                "frame_size": list(video.frame_size),
                "display_size": list(video.display_size),
                "display_aspect": str(video.display_aspect),
                "pixel_aspect": str(video.pixel_aspect),
                "rotation": video.orientation.rotation,
                "mirrored": video.orientation.mirrored,
                "time_base": str(video.time_base),
                "start_pts": video.start_pts,
                "duration_s": None if video.duration_s is None else float(video.duration_s),
                "rate": str(video.rate),
                "fps": round(float(video.rate), 3),
                "variable_rate": video.variable_rate,
                "frames_claimed": video.frames_claimed,
                "pixel_format": video.pixel_format,
                "bit_depth": video.bit_depth,
                "has_alpha": video.has_alpha,
                "interlaced": video.interlaced,
                "colour": video.colour.names(),
                "hdr": video.hdr,
                "metadata": dict(video.metadata),
            },
            "streams": [asdict(s) for s in self.others],
            "chapters": [
                {"start_s": float(c.start_s), "end_s": float(c.end_s), "title": c.title} for c in self.chapters
            ],
            "metadata": dict(self.metadata),
        }


def probe(path: str | Path, limits: Limits = DEFAULT) -> VideoInfo:
    """Read headers, the first packets and one decoded frame of a media file.

    Raises:
        InputError: missing, a directory, empty, not media, without a video stream, with a codec that cannot be
            decoded, beyond the limits, or so damaged that no frame comes out.
    """
    with open_input(path, limits) as container:
        stream = main_video_stream(container, path)
        check_pixels_of(path, stream.codec_context.width, stream.codec_context.height, limits)
        name = container.format.name
        is_image = name == "image2" or name.endswith("_pipe")
        video = _video_info(container, stream, path)
        return VideoInfo(
            path=Path(path),
            container=name,
            start_s=to_seconds(container.start_time or 0, MICROSECOND),
            duration_s=None if not container.duration else to_seconds(container.duration, MICROSECOND),
            is_image=is_image,
            video=video,
            others=tuple(_stream_info(s) for s in container.streams if s.index != stream.index),
            chapters=tuple(
                ChapterInfo(
                    to_seconds(c["start"], c["time_base"] or MICROSECOND),
                    to_seconds(c["end"], c["time_base"] or MICROSECOND),
                    c["metadata"].get("title", ""),
                )
                for c in container.chapters()
            ),
            metadata=MappingProxyType(dict(container.metadata)),
        )


def _video_info(container: InputContainer, stream: VideoStream, path: str | Path) -> VideoStreamInfo:
    codec = stream.codec_context
    time_base = stream.time_base or Fraction(1, 25)
    claimed = stream.duration  # read before decoding: some demuxers extend it on the way
    frame, pts = _sample(container, stream, path)
    rate, variable = _rate(stream, pts, time_base)
    aspect = stream.sample_aspect_ratio
    return VideoStreamInfo(
        index=stream.index,
        codec=codec.codec.canonical_name,
        width=frame.width,
        height=frame.height,
        orientation=Orientation.of_frame(frame),
        pixel_aspect=aspect if aspect and aspect > 0 else Fraction(1),
        time_base=time_base,
        start_pts=stream.start_time,
        duration_s=None if not claimed or claimed < 0 else to_seconds(claimed, time_base),
        rate=rate,
        variable_rate=variable,
        frames_claimed=stream.frames,
        pixel_format=frame.format.name,
        bit_depth=max((c.bits for c in frame.format.components), default=8),
        is_yuv=not (frame.format.is_rgb or frame.format.has_palette),
        has_alpha=any(c.is_alpha for c in frame.format.components),
        interlaced=frame.interlaced_frame,
        colour=ColourTags.of_frame(frame),
        metadata=MappingProxyType(dict(stream.metadata)),
    )


def _sample(container: InputContainer, stream: VideoStream, path: str | Path) -> tuple[av.VideoFrame, list[int]]:
    """The first decoded frame and the pts of the first packets, sorted."""
    frame: av.VideoFrame | None = None
    pts: list[int] = []
    cut_short = False
    failure: Exception | None = None
    try:
        for packet in packets_of(container, stream):
            if frame is None:
                frame = next(iter(packet.decode()), None)
            time = packet.pts if packet.pts is not None else packet.dts
            if packet.size and time is not None and not packet.is_discard:
                pts.append(time)
            cut_short = frame is not None and len(pts) >= (PIPED_PACKETS if is_pipe(path) else SAMPLED_PACKETS)
            if cut_short:
                break
    except (av.FFmpegError, ValueError) as exc:
        failure = exc
    if frame is None:
        why = f" ({reason(failure)})" if failure else ""
        raise InputError(
            f"{path}: no frame could be decoded from its {stream.codec_context.name} video stream{why}; a playable "
            "video is needed; the file is damaged or incomplete: get it again"
        ) from failure
    pts.sort()
    return frame, pts[:-REORDERED] if cut_short else pts


def _rate(stream: VideoStream, pts: list[int], time_base: Fraction) -> tuple[Fraction, bool]:
    """Frames a second, and whether the sampled packets are unevenly spaced (beyond rounding to ticks)."""
    steps = [b - a for a, b in pairwise(pts) if b > a]
    header = stream.average_rate or stream.guessed_rate or Fraction(0)
    if not steps:
        return (header if 0 < header <= 1000 else Fraction(25)), False
    measured = len(steps) / (sum(steps) * time_base)
    variable = max(steps) - min(steps) > max(2, sorted(steps)[len(steps) // 2] // 20)
    tolerance = Fraction(1, 4) if variable or len(steps) < 3 else Fraction(1, 50)
    if header > 0 and abs(header / measured - 1) < tolerance:
        return header, variable
    usual = min(USUAL_RATES, key=lambda rate: abs(rate - measured))
    return (usual if abs(usual / measured - 1) < Fraction(1, 500) else measured.limit_denominator(1001)), variable


def _stream_info(stream: Stream) -> StreamInfo:
    known = decoder_name(stream) is not None
    codec = stream.codec_context.codec.canonical_name if known else (stream_name(stream) or "unknown")
    return StreamInfo(
        index=stream.index,
        kind=stream.type,
        codec=codec,
        language=stream.metadata.get("language", ""),
        title=stream.metadata.get("title", "") or stream.metadata.get("filename", ""),
        cover_art=bool(stream.disposition & Disposition.attached_pic),
        sample_rate=stream.sample_rate if known and isinstance(stream, AudioStream) else 0,
    )
