"""Decoding and encoding beside the network: one thread each, joined to it by bounded queues."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from stdvid.errors import InputError

T = TypeVar("T")

POLL_S = 0.2
"""How often it is seen to a thread that gives nothing."""

PARTING_S = 1.0
"""A thread that is not needed any more and does nothing for so long, as it hangs in the system, is left behind."""


class _End:
    """Marks the end of a stream, with the exception that ended it if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Prefetch(Iterator[T]):
    """`items` in order, while a thread computes up to `depth` of them ahead, from now on.

    If `pulse` returns the same for `patience_s` seconds while an item is awaited, it has stalled: InputError. Meanwhile
    `check` is called again and again, and may raise.

    An exception in the thread is raised here, in its turn. To be closed: then the thread ends at its next item, and the
    generator behind `items` is closed in the thread that ran it.
    """

    def __init__(
        self,
        items: Iterable[T],
        depth: int,
        pulse: Callable[[], object] = object,
        patience_s: float = math.inf,
        check: Callable[[], object] = object,
    ) -> None:
        self._ahead: queue.Queue[T | _End] = queue.Queue(depth)
        self._pulse, self._patience_s, self._check = pulse, patience_s, check
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._produce, args=[items], name="stdvid-decode", daemon=True)
        self._thread.start()

    def __next__(self) -> T:
        if self._abandoned.is_set():
            raise StopIteration
        try:
            item = _next(self._ahead, self._pulse, self._patience_s, self._check)
        except BaseException:
            self.close()
            raise
        if not isinstance(item, _End):
            return item
        self.close()
        raise item.error or StopIteration

    def close(self) -> None:
        """No more items are wanted."""
        self._abandoned.set()
        last: object = None
        while self._thread.is_alive() and (now := self._pulse()) != last:
            last = now
            self._thread.join(PARTING_S)

    def _hand_over(self, item: T | _End) -> bool:
        while not self._abandoned.is_set():
            try:
                self._ahead.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _produce(self, items: Iterable[T]) -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not self._hand_over(item):
                    break
            self._hand_over(_End())
        except BaseException as exc:
            self._hand_over(_End(exc))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()


def _next(ahead: queue.Queue[T], pulse: Callable[[], object], patience_s: float, check: Callable[[], object]) -> T:
    since, before = time.monotonic(), pulse()
    while True:
        try:
            return ahead.get(timeout=min(POLL_S, patience_s))
        except queue.Empty:
            check()
            if (now := pulse()) != before:
                since, before = time.monotonic(), now
            if time.monotonic() - since >= patience_s:
                raise InputError(
                    f"the input gave no frame for {patience_s:g} s; one that can be read is needed; check the disk, or "
                    "wait longer with --limit stall=N"
                ) from None


class Background(Generic[T]):
    """Calls `consume(item)` in a thread, in order, at most `depth` items behind. A context manager.

    Leaving it normally waits until all is consumed; leaving it by an exception drops what is waiting. An exception in
    `consume` is raised from the next `put`, or on leaving.
    """

    def __init__(self, consume: Callable[[T], None], depth: int) -> None:
        self._consume = consume
        self._waiting: queue.Queue[T | _End] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._drop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stdvid-encode", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._drop.set()
        self._waiting.put(_End())
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def put(self, item: T) -> None:
        """Hand over one item; waits while the queue is full."""
        if self._error is not None:
            raise self._error
        self._waiting.put(item)

    def _run(self) -> None:
        while not isinstance(item := self._waiting.get(), _End):
            if self._error is None and not self._drop.is_set():
                try:
                    self._consume(item)
                except BaseException as exc:
                    self._error = exc
