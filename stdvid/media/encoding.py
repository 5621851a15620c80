"""Choosing and opening the video encoder; every refusal of a name, option or value is a UsageError here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction

import av
import cv2
from av.codec import Codec
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.stream import VideoStream

from stdvid.errors import UsageError
from stdvid.media.colour import BT709_TAGS, ColourTags, EncoderConverter, output_tags, tags_for
from stdvid.media.frames import Image
from stdvid.media.gif import GifPalette
from stdvid.media.opening import reason
from stdvid.media.output import OutputFormat
from stdvid.media.priority import ordinary_priority
from stdvid.media.probe import VideoInfo
from stdvid.media.timebase import unit_time_base

DEFAULT_CRF = 18
_MAX_TICKS_PER_SECOND = {"mpeg4": 65535}
_PREFERRED = ("yuv420p", "yuv422p", "yuv422p10le", "yuv444p", "yuvj420p", "rgb24", "gbrp", "bgr0", "pal8")
_QUIET = {"x265-params": "log-level=error"}
"""Keeps an encoder's own reports off stderr; PyAV silences only what goes through FFmpeg's log."""

_SAME_AGAIN = {"x264-params": "asm=MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"}
"""With AVX-512 macroblock-tree rate control of x264 reads memory that nobody wrote where a picture is not a multiple of
128 px wide: each run would encode differently. Without it is as fast."""

_CPU_AVX512_SKX = 256  # OpenCV's number for it


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """What to encode with: names as FFmpeg knows them, options as strings, ``crf`` None for the default."""

    codec: str
    crf: float | None
    options: Mapping[str, str]
    pixel_format: str


def choose_encoder(codec: str, crf: float | None, options: Mapping[str, str]) -> EncoderChoice:
    """Check names and find the pixel format: the one asked for with ``pix_fmt``, else yuv420p where there is one.

    Raises:
        UsageError: no such encoder, not a video encoder, an option or pixel format that it does not have, or a crf
            that it does not take.
    """
    try:
        entry = Codec(codec, "w")
    except ValueError as exc:
        raise UsageError(
            f"codec {codec!r} is not an encoder of this build of FFmpeg; allowed are for example libx264, libx265, "
            "libsvtav1, libvpx-vp9; choose one of them"
        ) from exc
    if entry.type != "video":
        raise UsageError(f"codec {codec!r} encodes {entry.type}; a video encoder is needed; choose for example libx264")
    wanted = dict(options)
    formats = [f.name for f in entry.video_formats or ()]
    preferred = ("yuvj420p", *_PREFERRED) if codec == "mjpeg" else _PREFERRED  # it refuses the limited range
    usual = next((f for f in preferred if f in formats), (formats or ["yuv420p"])[0])
    pixel_format = wanted.pop("pix_fmt", usual)
    if formats and pixel_format not in formats:
        raise UsageError(
            f"pix_fmt {pixel_format!r} is unknown to {codec}; allowed are {', '.join(formats)}; choose one"
        )
    known = _option_names(codec)
    for name in wanted:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            advice = f"did you mean {close[0]!r}?" if close else "remove it"
            raise UsageError(f"encoder option {name!r} is unknown; allowed are the options of {codec}; {advice}")
    if crf is not None and not {"crf", "cq"} & known:
        raise UsageError(
            f"crf {crf:g}: {codec} has no constant quality factor; allowed are its own options; use --enc instead"
        )
    quality = f"{DEFAULT_CRF if crf is None else crf:g}"
    if "crf" in known and not {"crf", "b", "qp", "qmax"} & set(wanted):
        wanted["crf"] = quality
    elif "cq" in known and not {"cq", "b", "qp", "rc"} & set(wanted):  # NVENC: the same scale, about
        wanted |= {"rc": "vbr", "cq": quality, "b": "0"}
    for name, ours in _own_options(codec).items():
        wanted[name] = f"{ours}:{wanted[name]}" if name in wanted else ours
    return EncoderChoice(codec, crf, wanted, pixel_format)


def _own_options(codec: str) -> dict[str, str]:
    if codec == "libx265":
        return _QUIET
    if codec in ("libx264", "libx264rgb") and cv2.checkHardwareSupport(_CPU_AVX512_SKX):
        return _SAME_AGAIN
    return {}


def _option_names(codec: str) -> set[str]:
    known = av.CodecContext.create(codec, "w").supported_options
    return {o.name for o in known.generic} | {o.name for o in known.private}


def encoder_time_base(codec: str, source: Fraction) -> Fraction:
    """A time base of the form 1/n that the encoder accepts and that holds every tick of the source where it can."""
    exact = unit_time_base(source)
    limit = _MAX_TICKS_PER_SECOND.get(codec)
    return exact if limit is None or exact.denominator <= limit else Fraction(1, limit - limit % 1000)


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """Everything that an encoder is opened with: encoded size, pixel aspect, seconds a tick, nominal rate, colour."""

    choice: EncoderChoice
    width: int
    height: int
    pixel_aspect: Fraction
    ticks: Fraction
    rate: Fraction
    tags: ColourTags

    def pictures(self) -> Callable[[Image], av.VideoFrame]:
        """What makes encodable frames of uint8 [H,W,3] RGB; one for each encoder."""
        if self.choice.codec == "gif":
            return GifPalette(self.width, self.height).apply
        return EncoderConverter(self.width, self.height, self.choice.pixel_format, self.tags).convert


def plan_stream(
    choice: EncoderChoice,
    target: OutputFormat,
    *,
    size: tuple[int, int],
    info: VideoInfo | None,
    time_base: Fraction,
    rate: Fraction,
    cfr: bool = False,
) -> StreamPlan:
    """How frames of `size` (width, height) are encoded. 4:2:0 needs even sides: an odd one grows by a pixel; the pixel
    aspect is such that the display aspect is that of `info`.
    """
    ticks = encoder_time_base(choice.codec, time_base)
    if cfr:
        ticks = 1 / rate.limit_denominator(65535)
    elif target.tick is not None:
        ticks = target.tick
    width, height = size
    layout = av.VideoFormat(choice.pixel_format, 64, 64)
    if layout.chroma_width() < 64:
        width += width % 2
    if layout.chroma_height() < 64:
        height += height % 2
    tags = BT709_TAGS
    if info is not None:
        tags = output_tags(info.video.colour, info.video.is_yuv, info.video.width, info.video.height)
    tags = tags_for(choice.pixel_format, tags)
    return StreamPlan(choice, width, height, _pixel_aspect(width, height, info), ticks, rate, tags)


def _pixel_aspect(width: int, height: int, info: VideoInfo | None) -> Fraction:
    if info is None:
        return Fraction(1)
    aspect = info.video.display_aspect
    wanted = aspect * height / width
    off_by = min(abs(width - height * aspect), abs(height - width / aspect))
    if off_by < Fraction(1, 2) and abs(wanted - 1) < Fraction(1, 400):
        return Fraction(1)  # square pixels show it as exactly as whole pixels can
    return wanted.limit_denominator(65535)


def add_video_stream(container: OutputContainer, plan: StreamPlan) -> VideoStream:
    """Add the stream to the container and open its encoder.

    Raises:
        UsageError: the container cannot hold the codec, or the encoder refuses an option's value.
    """
    choice, width, height = plan.choice, plan.width, plan.height
    try:
        stream = container.add_stream(choice.codec, rate=plan.rate.limit_denominator(1_000_000))
    except ValueError as exc:
        raise UsageError(
            f"codec {choice.codec} cannot be stored in {container.format.name}; allowed is what that container holds; "
            "choose another codec or file extension"
        ) from exc
    assert isinstance(stream, VideoStream)
    if choice.codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only; this library writes to stderr and has no other switch
    context = stream.codec_context
    context.width, context.height = width, height
    context.pix_fmt = choice.pixel_format
    context.time_base = plan.ticks
    context.sample_aspect_ratio = plan.pixel_aspect
    context.color_range = plan.tags.range
    context.colorspace = plan.tags.matrix
    context.color_primaries = plan.tags.primaries
    context.color_trc = plan.tags.transfer
    context.flags |= int(Flags.frame_duration)  # else the last frame has no duration
    context.options = dict(choice.options)
    try:
        with ordinary_priority():
            context.open()
    except (av.FFmpegError, ValueError) as exc:
        given = " ".join(f"{k}={v}" for k, v in choice.options.items()) or "no options"
        raise UsageError(
            f"encoder {choice.codec} refuses {width}x{height} {choice.pixel_format} with {given} ({reason(exc)}); "
            "allowed are the values in its documentation; correct --crf or --enc"
        ) from exc
    if context.options:
        names = ", ".join(sorted(context.options))
        raise UsageError(f"encoder option {names} was not taken by {choice.codec}; allowed are its own; remove it")
    stream.time_base = plan.ticks
    return stream
