"""Opening of input files: one place that turns what FFmpeg says about a bad file into an InputError."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import av
from av import Packet
from av.codec import CodecContext
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from stdvid.errors import InputError, SourceChangedError
from stdvid.media.limits import DEFAULT, Limits
from stdvid.media.pipes import is_pipe, standard_input

_LISTS = "hls applehttp concat dash imf webm_dash_manifest vobsub sdp rtp rtsp sap lavfi avisynth vapoursynth"
_DEVICES = "alsa fbdev kmsgrab oss sndio video4linux2 v4l2 x11grab xcbgrab"
REFUSED_FORMATS = frozenset(f"{_LISTS} {_DEVICES}".split())
"""Lists of other files or addresses, and devices: an input is what its own file holds, and nothing else."""

_TEXT_CODECS = frozenset({"ansi", "bintext", "xbin", "idf"})
"""FFmpeg draws text files as pictures with these; nobody means that here."""


def input_path(path: str | Path) -> str:
    """The absolute path of a readable, non-empty file; absolute so that no name can pass for a URL.

    Raises:
        InputError: missing, a directory, empty, or not readable.
    """
    text = os.fspath(path)
    if not os.path.exists(text):
        raise InputError(f"{text}: no such file; a video or image file is needed; check the path")
    if os.path.isdir(text):
        raise InputError(f"{text}: is a directory; a video or image file is needed; name a file inside it")
    if not os.access(text, os.R_OK):
        raise InputError(f"{text}: permission denied; a readable file is needed; check its permissions")
    if not os.path.isfile(text):
        raise InputError(
            f"{text}: is a pipe or a device; a file is needed, which is read twice; write it to a file first"
        )
    if os.path.getsize(text) == 0:
        raise InputError(f"{text}: the file is empty (0 bytes); a video or image file is needed; copy it again")
    return os.path.abspath(text)


def reason(error: BaseException) -> str:
    """FFmpeg's words for an error, without number and file name."""
    words = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
    return words.splitlines()[0].rstrip(".")


@contextmanager
def open_input(path: str | Path, limits: Limits = DEFAULT) -> Iterator[InputContainer]:
    """Open a media file for reading: it alone, whatever a playlist in it says.

    Raises:
        InputError: not a file that FFmpeg can read, or one with too many streams.
    """
    pipe = standard_input().reader() if is_pipe(path) else None
    try:
        container = av.open(
            pipe or input_path(path),
            "r",
            metadata_errors="replace",
            container_options={
                "protocol_whitelist": "file",
                "format_whitelist": _allowed_formats(),
                "pattern_type": "none",
            },
        )
    except (av.FFmpegError, OSError, ValueError) as exc:
        raise InputError(
            f"{path}: not a readable video or image ({reason(exc)}); allowed is what FFmpeg can read "
            "(mp4, mkv, mov, webm, avi, ts, gif, png, ...); the file is of another kind or damaged: get it again"
        ) from exc
    try:
        _check_container(container, path, limits)
        yield container
    finally:
        container.close()
        if pipe is not None:
            pipe.close()


def _check_container(container: InputContainer, path: str | Path, limits: Limits) -> None:
    count = len(container.streams)
    if count > limits.streams:
        raise InputError(
            f"{path}: has {count} streams; allowed are {limits.streams:g}; raise it with --limit streams={count}"
        )
    if container.format.name == "webp_pipe" and not is_pipe(path) and _is_animated_webp(path):
        raise InputError(
            f"{path}: is an animated webp, of which FFmpeg reads one frame; allowed are still webp, gif and videos; "
            "convert it to gif or mp4 first"
        )


@functools.cache
def _allowed_formats() -> str:
    names = {name for joined in av.formats_available for name in joined.split(",")}
    return ",".join(sorted(names - REFUSED_FORMATS))


def check_pixels_of(path: str | Path, width: int, height: int, limits: Limits) -> None:
    """Raise InputError if a frame of this size is too large."""
    if width * height > limits.pixels:
        raise InputError(
            f"{path}: frames of {width}x{height} pixels; allowed are {limits.pixels:g} pixels; "
            f"raise it with --limit pixels={width * height}"
        )


def _is_animated_webp(path: str | Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(21)
    return len(head) == 21 and head[12:16] == b"VP8X" and bool(head[20] & 2)


def packets_of(container: InputContainer, *streams: Stream) -> Iterator[Packet[Any]]:
    """The packets of these streams, to the end, where a last, empty one of each flushes its decoder.

    PyAV ends with an IndexError at a packet of a stream that was not there when the file was opened, as broadcasts have
    them; reading goes on behind it.
    """
    while True:
        try:
            yield from container.demux(*streams)
            return
        except IndexError:
            continue


def main_video_stream(container: InputContainer, path: str | Path) -> VideoStream:
    """The stream to restyle: the first that is marked as default, like players do, or else FFmpeg's choice; cover art
    only where there is nothing else.

    Raises:
        InputError: no video stream, or one that cannot be decoded.
    """
    streams = [s for s in container.streams.video if decoder_name(s) not in _TEXT_CODECS]
    if not streams:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "no stream at all"
        raise InputError(f"{path}: no video stream (found: {kinds}); one is needed; name a file that has pictures")
    moving = [s for s in streams if not s.disposition & Disposition.attached_pic] or streams
    usual = [s for s in moving if s.disposition & Disposition.default]
    best = container.streams.best("video")
    choice = usual[0] if usual else next((s for s in moving if s is best), moving[0])
    if decoder_name(choice) is None:
        raise InputError(
            f"{path}: no decoder for video stream #{choice.index} in this build of FFmpeg; allowed is what PyAV "
            "decodes; convert the file to H.264 first"
        )
    return choice


def decoder_name(stream: Stream) -> str | None:
    """FFmpeg's name of a stream's decoder; None where there is none (PyAV's stubs do not know of that case)."""
    context = cast("CodecContext | None", stream.codec_context)
    return None if context is None else context.name


class Unchanged:
    """A context manager within which a file has to stay as it was when this was made.

    Raises SourceChangedError on leaving if it has not, also in the place of an InputError that came of it.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._before = path, _stamp(path)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, _: object) -> None:
        if (kind is None or issubclass(kind, InputError)) and _stamp(self._path) != self._before:
            raise SourceChangedError(
                f"{self._path}: was changed while it was being read; it has to stay as it is; run the command again"
            ) from value


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def stream_name(stream: Stream) -> str:
    """FFmpeg's name of a stream's format or of an attachment; empty where it has none."""
    return getattr(stream, "name", None) or ""
