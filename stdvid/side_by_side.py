"""Painting on the cores of this machine: windows side by side, by threads that compute with a share of the cores each.

A network keeps all cores busy, what is around it one: flow, warping, colours. Windows need nothing of one another but
anchors, so while one waits for a single core, another is there for the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from queue import PriorityQueue
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

from stdvid.errors import Interrupted
from stdvid.painter import Image, Images, Painter

T = TypeVar("T")

_POLL_S = 0.2


@dataclass
class _Task:
    """What a thread is to do; `given` is let go then, as promises hold what waited for them, and it would hold all
    promises before."""

    number: int
    method: Callable[..., Any]
    given: tuple[Any, ...]
    result: Future[Any] = field(default_factory=Future)

    def work(self) -> None:
        """Keep the promise."""
        given, self.given = self.given, ()
        try:
            self.result.set_result(
                self.method(*(part.result() if isinstance(part, Future) else part for part in given))
            )
        except BaseException as exc:  # raised where the result is asked for
            self.result.set_exception(exc)


class ThreadPainter:
    """A `Painter` whose methods return at once, with promises; a context manager.

    A task comes to a thread when all that it was promised is there, the one that was begun first before others: none
    waits in a thread. Results are bit for bit those of one thread after another.
    """

    def __init__(self, painter: Painter, workers: int) -> None:
        """`workers`: how many windows are painted at a time, each with as many of the threads as that leaves it."""
        self.painter, self.ahead = painter, workers
        threads = max(1, torch.get_num_threads() // workers)
        self._pool = ThreadPoolExecutor(workers, "painter", initializer=torch.set_num_threads, initargs=(threads,))
        self._numbers = itertools.count()
        self._ready: PriorityQueue[tuple[int, _Task]] = PriorityQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def network_seconds(self) -> float:
        """Of wall time: windows were painted at the same time."""
        return self.painter.network_seconds / self.ahead

    def look(self, images: Images) -> Any:
        """A task; see `Painter`."""
        return self._begin(self.painter.look, images)

    def ways(self, images: Images) -> Any:
        """A task; see `Painter`."""
        return self._begin(self.painter.ways, images)

    def apart(self, images: Images, index: int, look: Any) -> Any:
        """A task; see `Painter`."""
        return self._begin(self.painter.apart, images, index, look)

    def anchor(self, image: Image, look: Any, first: Any = None, ways: Any = None) -> Any:
        """A task; see `Painter`."""
        return self._begin(self.painter.anchor, image, look, first, ways)

    def between(self, images: Images, look: Any, ways: Any, first: Any, last: Any) -> Any:
        """A task; see `Painter`."""
        return self._begin(self.painter.between, images, look, ways, first, last)

    def chain(self, images: Images, look: Any, before: Any) -> Any:
        """A task, whose two results are promised apart; see `Painter`."""
        both = self._begin(self.painter.chain, images, look, before)
        return self._begin(lambda pair: pair[0], both), self._begin(lambda pair: pair[1], both)

    def value(self, painted: Any) -> Any:
        """What a task has returned; waits for it. Raises what it raised, and Interrupted."""
        while not wait([painted], _POLL_S).done:
            if self.painter.stop.is_set():
                raise Interrupted("interrupted")
        return painted.result()

    def _begin(self, method: Callable[..., Any], *given: Any) -> Future[Any]:
        task = _Task(next(self._numbers), method, given)
        self._when_ready(task)
        return task.result

    def _when_ready(self, task: _Task) -> None:
        for part in task.given:
            if isinstance(part, Future) and not part.done():
                part.add_done_callback(lambda _: self._when_ready(task))
                return
        self._ready.put((task.number, task))
        with suppress(RuntimeError):  # no new tasks after the end: nobody asks for their results
            self._pool.submit(lambda: self._ready.get()[1].work())
