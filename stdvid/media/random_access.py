"""Random access to frames, for drawing training clips: decord in a process of its own, with a time-out."""

from __future__ import annotations

import os
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from stdvid.errors import InputError
from stdvid.media.frames import Image
from stdvid.media.opening import input_path


class DecordReader:
    """Frames by number, in any order. For training clips only: decord trusts the header's frame count, and its
    frame numbers can be off on variable-rate video; whoever needs every frame exactly uses PyAVReader.

    Args:
        path: a video file.
        size: (width, height) of the frames; None keeps the file's (rotation is applied by decord).
        timeout_s: longest wait for one answer; then the process is ended and InputError raised.

    Raises:
        InputError: the file cannot be opened, a frame cannot be decoded, or the time ran out.
    """

    def __init__(self, path: str | Path, *, size: tuple[int, int] | None = None, timeout_s: float = 30.0) -> None:
        self.path = Path(path)
        self._timeout_s = timeout_s
        width, height = size or (-1, -1)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stdvid.media.decord_worker", input_path(path), str(width), str(height)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            (self._length,) = struct.unpack("<q", self._receive(8))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """The number of frames that the header claims."""
        return int(self._length)

    def get(self, indices: Sequence[int]) -> Image:
        """Decode the frames with these numbers; uint8 [T,H,W,3] RGB in the order asked for.

        Raises:
            IndexError: a number outside 0..len-1, or none at all.
            InputError: see the class; the reader is closed then.
        """
        if not indices or min(indices) < 0 or max(indices) >= self._length:
            raise IndexError(f"frames {list(indices)}: allowed are 0..{self._length - 1}, at least one")
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(struct.pack(f"<{len(indices) + 1}q", len(indices), *indices))
            pipe.flush()
            count, height, width = struct.unpack("<3q", self._receive(24))
            pixels = self._receive(count * height * width * 3)
        except BrokenPipeError as exc:
            self.close()
            raise InputError(f"{self.path}: decord has ended; open the file again") from exc
        except BaseException:
            self.close()
            raise
        return np.frombuffer(pixels, np.uint8).reshape(count, height, width, 3)

    def close(self) -> None:
        """End the process; safe to call twice."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _receive(self, size: int) -> bytearray:
        pipe = self._process.stdout
        assert pipe is not None
        deadline = time.monotonic() + self._timeout_s
        data = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while len(data) < size:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise InputError(
                        f"{self.path}: decord gave no answer within {self._timeout_s:g} s; it hangs on files whose "
                        "header claims more frames than there are; leave this file out"
                    )
                piece = os.read(pipe.fileno(), min(1 << 20, size - len(data)))
                if not piece:
                    raise InputError(f"{self.path}: decord cannot read it ({self._complaint()}); leave this file out")
                data += piece
        return data

    def _complaint(self) -> str:
        errors = self._process.stderr
        lines = errors.read().decode(errors="replace").strip().splitlines() if errors else []
        return lines[-1] if lines else "no reason given"
