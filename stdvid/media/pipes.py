"""Standard input as a media file: read once, and handed to as many readers as need it.

A run reads its input three times: to see what is in it, to decode it, and to copy sound and subtitles. A pipe gives its
bytes once, so they are kept as long as some reader may still want them: all of them until `seal` says that no reader
will begin any more, and from then on those between the last reader and the first, which is little.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from stdvid.errors import Interrupted

STDIN = STDOUT = Path("-")
"""How standard input and output are written."""

_CHUNK = 1 << 16


def is_pipe(path: str | Path) -> bool:
    """Whether a path means standard input or output."""
    return str(path) == "-"


class Tee:
    """Bytes of a source that cannot be read twice, for several readers, each in its own thread."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """`read(n)` gives up to n bytes, at least one but at the end."""
        self._read = read
        self._lock = threading.Condition()
        self._held = bytearray()
        self._first = 0  # place of the first byte held
        self._ended = self._sealed = self._reading = False
        self._readers: dict[TeeReader, int] = {}

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return len(self._held)

    def reader(self) -> TeeReader:
        """A new reader, from the first byte on; RuntimeError after `seal`."""
        with self._lock:
            if self._sealed:
                raise RuntimeError("a pipe that is sealed has lost its beginning")
            place = TeeReader(self)
            self._readers[place] = 0
            return place

    def seal(self) -> None:
        """No reader will begin any more."""
        with self._lock:
            self._sealed = True
            self._forget()

    def take(self, who: TeeReader, count: int) -> bytes:
        """The next bytes of a reader; none at the end."""
        with self._lock:
            at = self._readers[who]
            while at >= self._first + len(self._held) and not self._ended:
                if self._reading:
                    self._lock.wait()
                    continue
                self._reading = True
                self._lock.release()
                data = b""  # the end for all, should this fail: FFmpeg asks again
                try:
                    data = self._read(max(count, _CHUNK))
                finally:
                    self._ended = not data
                    self._lock.acquire()
                    self._reading = False
                    self._lock.notify_all()
                self._held += data
            begin = at - self._first
            data = bytes(self._held[begin : begin + count])
            self._readers[who] = at + len(data)
            self._forget()
            return data

    def close(self, who: TeeReader) -> None:
        """A reader wants no more."""
        with self._lock:
            self._readers.pop(who, None)
            self._forget()

    def _forget(self) -> None:
        if self._sealed:
            slowest = min(self._readers.values(), default=self._first + len(self._held))
            if slowest - self._first > _CHUNK or not self._readers:
                del self._held[: slowest - self._first]
                self._first = slowest


class TeeReader:
    """One reader of a `Tee`: what PyAV needs of a file that cannot be searched."""

    def __init__(self, tee: Tee) -> None:
        self._tee = tee

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; none at the end."""
        return self._tee.take(self, count)

    def close(self) -> None:
        """Let go."""
        self._tee.close(self)


_standard_input: Tee | None = None
_POLL_S = 0.2


def standard_input(stop: threading.Event | None = None) -> Tee:
    """The one of this process; its readers raise Interrupted when `stop` is set, which the first call may give."""
    global _standard_input
    if _standard_input is None:
        _standard_input = Tee(partial(_read, stop or threading.Event()))
    return _standard_input


def _read(stop: threading.Event, count: int) -> bytes:
    """Up to `count` bytes of standard input; none at its end. Raises Interrupted if `stop` is set while none come."""
    number = sys.stdin.fileno()
    while os.name == "posix" and not select.select([number], [], [], _POLL_S)[0]:
        if stop.is_set():
            raise Interrupted("interrupted; nothing was kept")
    return os.read(number, count)
