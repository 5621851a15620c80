"""The journal of a run: what is finished, on disk beside the output, so that no frame is painted twice.

    out.mp4.journal/
        journal.json      what counts; replaced whole, and only after the files that it names are there
        frames-N.npz      finished frames of window N, until they are encoded
        segment-N.npz     encoded frames
        state-N.safetensors   what window N + 1 needs of those before it

A run may die at any moment: files that the journal does not name are leftovers, and go. The journal belongs to a key, a
hash of everything that the frames depend on; another key begins another journal.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stdvid.errors import InputError, OutputError
from stdvid.media.frames import Image
from stdvid.media.segments import Segment
from stdvid.media.timing import Slot

FORMAT = 3
_NAME, _LOCK = "journal.json", "lock"

State = Mapping[str, NDArray[Any] | Tensor]
"""Arrays and tensors by name."""

Spooled = list[tuple[Image, Slot]]
"""Finished frames, each for its slot."""


@dataclass
class _Record:
    """The content of journal.json."""

    key: str
    format: int = FORMAT
    windows: int = 0
    frames: int = 0
    state: str = ""
    spool: list[str] = field(default_factory=list)
    spooled: int = 0
    segments: list[str] = field(default_factory=list)
    committed_bytes: int | None = None


class Journal:
    """One run's journal. A context manager: within it no other process can use it.

    Every method raises OutputError if the folder cannot be written; what was recorded before stays whole then.
    """

    def __init__(self, output: Path, key: str) -> None:
        self.output, self.key = output, key
        self.folder = folder_of(output)
        self._record = _Record(key)
        self._lock = FileLock(self.folder / _LOCK)
        self.began_anew = False

    def __enter__(self) -> Self:
        with self._writing():
            self.folder.mkdir(exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout as exc:
                raise OutputError(
                    f"{self.output}: another run is writing it; only one can; wait for it or name another output"
                ) from exc
            try:
                self._begin()
            except BaseException:
                self._lock.release()
                raise
        return self

    def _begin(self) -> None:
        """Read what is there and clear away what belongs to nothing."""
        found = _read(self.folder / _NAME)
        there = found is not None and all((self.folder / name).is_file() for name in _files(found))
        self.began_anew = found is not None and (found.key != self.key or not there)
        if found is not None and not self.began_anew:
            self._record = found
        named = {_NAME, _LOCK, *_files(self._record)}
        for path in self.folder.iterdir():
            if path.name not in named:
                path.unlink()
        if found is None or self.began_anew:
            self._write()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if not (self._record.windows or self._record.committed_bytes is not None):
            self.remove()

    @property
    def windows(self) -> int:
        """Windows that are finished, from the first on."""
        return self._record.windows

    @property
    def frames(self) -> int:
        """Frames of the source that are finished, from the first on."""
        return self._record.frames

    @property
    def spooled(self) -> int:
        """Frames that wait to be encoded."""
        return self._record.spooled

    @property
    def segments(self) -> list[Path]:
        """Files of the encoded segments, in order."""
        return [self.folder / name for name in self._record.segments]

    def state(self) -> dict[str, Tensor]:
        """What the last `add` was given.

        Raises OutputError if the file is damaged.
        """
        if not self._record.state:
            return {}
        try:
            return load_file(self.folder / self._record.state)
        except (OSError, SafetensorError) as exc:
            raise self._damaged() from exc

    def add(self, windows: int, frames: int, finished: Spooled, state: State) -> None:
        """`windows` windows and `frames` frames are finished now, the last of them `finished`."""
        record, number = self._record, windows - 1
        with self._writing():
            name, before = f"state-{number}.safetensors", record.state
            tensors = {key: _tensor(value).detach().cpu().contiguous() for key, value in state.items()}
            self._put(name, lambda path: save_file(tensors, path))
            if finished:
                spool = f"frames-{number}.npz"
                images: NDArray[np.uint8] = np.stack([image for image, _ in finished])
                slots = np.array([(slot.pts, slot.duration) for _, slot in finished], np.int64)
                self._put(spool, lambda path: _save(path, images=images, slots=slots))
                record.spool.append(spool)
                record.spooled += len(finished)
            record.windows, record.frames, record.state = windows, frames, name
            self._write()
            if before:
                (self.folder / before).unlink(missing_ok=True)

    def waiting(self) -> Iterator[tuple[Image, Slot]]:
        """The frames that wait to be encoded, a window at a time in memory."""
        for name in self._record.spool:
            try:
                with np.load(self.folder / name, allow_pickle=False) as arrays:
                    images, slots = arrays["images"], arrays["slots"].tolist()
            except (OSError, ValueError, KeyError, BadZipFile) as exc:
                raise self._damaged() from exc
            for image, (pts, duration) in zip(images, slots, strict=True):
                yield image, Slot(pts, duration)

    def add_segment(self, segment: Segment) -> None:
        """All frames that were waiting are in this segment."""
        record = self._record
        with self._writing():
            name, encoded = f"segment-{len(record.segments)}.npz", record.spool
            self._put(name, segment.save)
            record.segments.append(name)
            record.spool, record.spooled = [], 0
            self._write()
            for old in encoded:
                (self.folder / old).unlink(missing_ok=True)

    def commit(self, size: int) -> None:
        """The whole output, of `size` bytes, is about to get its name."""
        self._record.committed_bytes = size
        with self._writing():
            self._write()

    @property
    def output_is_whole(self) -> bool:
        """Whether the output is there already: the run that wrote it died before it could remove this journal."""
        return _is_whole(self._record, self.output)

    def remove(self) -> None:
        """Remove all of it."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _put(self, name: str, save: Callable[[Path], object]) -> None:
        """Write a file under a passing name, down to the disk, and then give it its own."""
        passing = self.folder / f"{name}.new"
        save(passing)
        with open(passing, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(passing, self.folder / name)

    def _write(self) -> None:
        text = json.dumps(asdict(self._record), indent=1) + "\n"
        self._put(_NAME, lambda path: path.write_text(text, "utf-8"))

    def _damaged(self) -> OutputError:
        return OutputError(
            f"{self.folder}: the journal of an earlier run is damaged; one as it was written is needed; use "
            "--no-resume to begin anew"
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as exc:
            words = getattr(exc, "strerror", None) or str(exc)
            raise OutputError(
                f"{self.folder}: cannot be written ({words}); {self._record.frames} frames are kept there; make room "
                "or change permissions, and run the same command again to go on"
            ) from exc


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's content, in hex; InputError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc.strerror}); a readable file is needed; check the disk") from exc


def folder_of(output: Path) -> Path:
    """Where the journal of an output lies."""
    return output.with_name(output.name + ".journal")


def finished(output: Path) -> bool:
    """Whether the output is whole, written by a run that died before it could remove its journal."""
    record = _read(folder_of(output) / _NAME)
    return record is not None and _is_whole(record, output)


def discard(output: Path) -> None:
    """Remove the journal of an output if there is one that no run uses."""
    folder = folder_of(output)
    if folder.is_dir():
        with suppress(Timeout), FileLock(folder / _LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path) -> _Record | None:
    """The record, or None where there is none that can be read."""
    try:
        record = _Record(**json.loads(path.read_text("utf-8")))
        return record if record.format == FORMAT and all(Path(n).name == n for n in _files(record)) else None
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _is_whole(record: _Record, output: Path) -> bool:
    size = record.committed_bytes
    return size is not None and output.is_file() and output.stat().st_size == size


def _files(record: _Record) -> list[str]:
    return [name for name in (record.state, *record.spool, *record.segments) if name]


def _tensor(value: NDArray[Any] | Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(np.require(value, requirements="W"))


def _save(path: Path, **arrays: NDArray[np.generic]) -> None:
    with open(path, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
