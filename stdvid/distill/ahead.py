"""Training items made ahead of their use, by processes of their own: pictures are cut while a GPU trains."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import cv2
from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")

AHEAD = 4
"""Items that each process makes ahead."""


@dataclass(frozen=True)
class _Items(Dataset[T]):
    make: Callable[[int], T]

    def __getitem__(self, number: int) -> T:
        return self.make(number)


class Ahead(Generic[T]):
    """Items by number. `make(number)` may depend on nothing else, so that any number of processes gives the same."""

    def __init__(self, make: Callable[[int], T], workers: int = 0) -> None:
        """`workers` 0 makes each item when it is asked for, in this process."""
        self.make, self.workers = make, workers
        self._next = -1
        self._items: Iterator[T] = iter(())

    def take(self, number: int) -> T:
        """The item of that number; fast when numbers follow one another."""
        if self.workers == 0:
            return self.make(number)
        if number != self._next:
            cv2.setNumThreads(1)  # before the processes part: OpenCV's threads do not survive it
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that there are fewer cores: as many as were asked for
                self._items = iter(
                    DataLoader(
                        _Items(self.make),
                        batch_size=None,
                        sampler=itertools.count(number),
                        num_workers=self.workers,
                        prefetch_factor=AHEAD,
                    )
                )
        self._next = number + 1
        return next(self._items)
