"""The output file: which container and codec a name means, whether it may be written, and .part until it is whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from stdvid.errors import OutputError, OutputExistsError, UsageError
from stdvid.media.pipes import STDOUT, is_pipe


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """A kind of output file: FFmpeg's muxer, the codec used where none is asked for, what else it can hold, and the
    seconds to which it rounds all times, where it does; `even`: frames have no times of their own."""

    muxer: str
    codec: str
    still: bool = False
    copies_streams: bool = True
    attachments: bool = False
    chapters: bool = True
    tick: Fraction | None = None
    even: bool = False


MILLISECOND = Fraction(1, 1000)
PIPE_DEFAULT = "nut"
OUTPUT_FORMATS = {
    "mp4": OutputFormat("mp4", "libx264"),
    "m4v": OutputFormat("mp4", "libx264"),
    "mov": OutputFormat("mov", "libx264"),
    "mkv": OutputFormat("matroska", "libx264", attachments=True, tick=MILLISECOND),
    "webm": OutputFormat("webm", "libvpx-vp9", tick=MILLISECOND),
    "gif": OutputFormat("gif", "gif", copies_streams=False, chapters=False, tick=Fraction(1, 100)),
    "png": OutputFormat("image2", "png", still=True, copies_streams=False, chapters=False),
    "jpg": OutputFormat("image2", "jpg", still=True, copies_streams=False, chapters=False),
    "jpeg": OutputFormat("image2", "jpg", still=True, copies_streams=False, chapters=False),
    "webp": OutputFormat("image2", "webp", still=True, copies_streams=False, chapters=False),
}
PIPE_FORMATS = {
    "nut": OutputFormat("nut", "rawvideo", attachments=True),
    "matroska": OutputFormat("matroska", "ffv1", attachments=True, tick=MILLISECOND),
    "y4m": OutputFormat("yuv4mpegpipe", "rawvideo", copies_streams=False, chapters=False, even=True),
    "mp4frag": OutputFormat("mp4", "libx264"),
}
"""What can be written to standard output, by the names of --format: without loss where another program goes on with it,
and each picture at once."""

_BY_NAME = {**OUTPUT_FORMATS, "matroska": OUTPUT_FORMATS["mkv"]}


def output_format(path: str | Path, container: str | None = None) -> OutputFormat:
    """What to write: ``container`` where given, else by the name's extension.

    Raises:
        UsageError: neither is known.
    """
    if is_pipe(path):
        if (container or PIPE_DEFAULT) not in PIPE_FORMATS:
            known = ", ".join(PIPE_FORMATS)
            raise UsageError(f"format '{container}' is unknown; allowed are {known}; choose one of these")
        return PIPE_FORMATS[container or PIPE_DEFAULT]
    key = (container or Path(path).suffix.removeprefix(".")).lower()
    if key not in _BY_NAME:
        found = f"container {container!r}" if container else f"{path}: extension {Path(path).suffix or '(none)'}"
        raise UsageError(
            f"{found} is not known; allowed are {', '.join(OUTPUT_FORMATS)}; give the output one of these extensions"
        )
    return _BY_NAME[key]


def default_codec(path: str | Path, container: str | None = None) -> str:
    """The encoder used for this output where none is asked for.

    Raises:
        UsageError: see output_format.
    """
    return output_format(path, container).codec


def check_output(path: str | Path, source: str | Path | None = None, overwrite: bool | None = None) -> None:
    """Whether ``path`` may be written, before any work is done.

    Args:
        path: the output.
        source: an input, which must not be the same file, also not through a link.
        overwrite: True: replace what is there; False or None: refuse.

    Raises:
        UsageError: the output is the input.
        OutputExistsError: it exists and ``overwrite`` is not True.
        OutputError: it is a directory, or its folder is missing or cannot be written.
    """
    target = Path(path)
    if is_pipe(path):
        return
    if source is not None and _same_file(target, Path(source)):
        raise UsageError(f"{path}: is an input itself; an output is never written over its input; name another file")
    if target.is_dir():
        raise OutputError(f"{path}: is a directory; an output file is needed; add a file name")
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(f"{path}: there is no folder {folder}; an existing one is needed; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: folder {folder} cannot be written; choose another folder or change its permissions")
    if target.exists() and overwrite is not True:
        raise OutputExistsError(f"{path}: exists already; it is not overwritten unasked; use -y or another name")


def _same_file(a: Path, b: Path) -> bool:
    try:
        return os.path.samefile(a, b)
    except OSError:
        return os.path.abspath(a) == os.path.abspath(b)


class PartFile:
    """``<name>.part`` beside the output, renamed to it when whole, removed when not."""

    def __init__(self, path: str | Path) -> None:
        self.final = Path(path)
        self.part = self.final.with_name(self.final.name + ".part")

    def begin(self) -> str:
        """Make it, or OSError; what FFmpeg is to open."""
        self.part.touch()
        return str(self.part.absolute())

    def commit(self) -> None:
        """Flush to disk and give the file its name.

        Raises:
            OutputError: the system refused.
        """
        try:
            with open(self.part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(self.part, self.final)
        except OSError as exc:
            self.discard()
            raise OutputError(f"{self.final}: cannot be written ({exc.strerror}); check the folder and disk") from exc

    def discard(self) -> None:
        """Remove the part; nothing happens where there is none."""
        self.part.unlink(missing_ok=True)


class StandardOutput:
    """Standard output in the place of a PartFile: what is written is gone."""

    def __init__(self) -> None:
        self.final = self.part = STDOUT

    def begin(self) -> str:
        """What FFmpeg is to open."""
        return "pipe:1"

    def commit(self) -> None:
        """There is nothing to do."""

    def discard(self) -> None:
        """There is nothing that could be taken back."""
