"""Blend overlapping windows into one sequence without seams, holding no more than one window of frames.

A frame that several windows cover is their weighted mean. Weights are whole numbers that rise by one a frame over the
overlap, stay, and fall again; divided by their sum at each frame they add up to exactly one. The mean is accumulated as
``m += (x - m) * w / sum(w)``, so windows that agree on a pixel give exactly that pixel, whatever the weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stdvid.temporal.windows import Window, check_overlap

FloatFrames = NDArray[np.floating]


def ramp(window: int, overlap: int) -> list[int]:
    """Weight of each frame of a window before normalization: 1, 2, ... up to overlap + 1 at most, and down again.

    Raises:
        UsageError: the overlap is not smaller than the window.
    """
    check_overlap(window, overlap)
    return [min(j + 1, window - j, overlap + 1) for j in range(window)]


def blend_weights(windows: Iterable[Window], window: int, overlap: int) -> list[dict[int, Fraction]]:
    """For every frame of a clip, the share of each window in it: {window index: weight}, summing to one exactly.

    Args:
        windows: the plan of the clip, in order.
        window: frames in a window.
        overlap: frames that neighbours share.
    """
    weights = ramp(window, overlap)
    shares: list[dict[int, int]] = []
    for piece in windows:
        shares.extend({} for _ in range(len(shares), piece.stop))
        for frame in range(piece.start, piece.stop):
            shares[frame][piece.index] = weights[frame - piece.start]
    return [{k: Fraction(w, sum(share.values())) for k, w in share.items()} for share in shares]


class Stitcher:
    """Takes the windows of one clip in order and gives back its frames in order, each exactly once.

        stitcher = Stitcher(window=16, overlap=4)
        for window, frames in outputs:
            yield from stitcher.add(window, frames)
        yield from stitcher.flush()

    A frame is handed out as soon as no later window can touch it; at most `overlap` frames stay behind. Nothing is
    blended across a cut: the first window of a shot finishes the shot before it.
    """

    def __init__(self, window: int, overlap: int, *, agree: bool = False) -> None:
        """`window` and `overlap` in frames, as in the plan. Where windows `agree` on the frames that they share, the
        first to have one is asked alone, and nothing stays behind.

        Raises:
            UsageError: the overlap is not smaller than the window.
        """
        self._ramp = ramp(window, overlap)
        self._overlap, self._agree = overlap, agree
        self._next_index = 0
        self._next_start = 0
        self._shot = 0
        self._first = 0  # clip index of the first frame held
        self._mean: list[FloatFrames] = []
        self._weight: list[int] = []

    def add(self, window: Window, frames: FloatFrames) -> list[FloatFrames]:
        """Blend one window in.

        Args:
            window: the next window of the plan.
            frames: float [T, H, W, 3] with T = `window.size`, or `window.n_frames` if the padding is gone already.

        Returns:
            The frames that are now finished, float [H, W, 3] of the given dtype, in order.

        Raises:
            ValueError: a window out of turn, or an array of the wrong shape or type.
        """
        finished: list[FloatFrames] = []
        if window.index == 0 and window.shot == self._first + len(self._mean):
            finished = self.flush()
            self._next_index, self._next_start, self._shot = 0, window.shot, window.shot
        if (window.index, window.shot, window.start) != (self._next_index, self._shot, self._next_start):
            raise ValueError(f"{window} out of turn; window {self._next_index} from {self._next_start} is next")
        if not np.issubdtype(frames.dtype, np.floating):
            raise ValueError(f"frames of {frames.dtype}; a float array is needed to blend")
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.shape[0] not in (window.size, window.n_frames):
            raise ValueError(f"frames of shape {frames.shape}; [{window.size}, H, W, 3] is needed for {window}")
        if self._mean and self._mean[0].shape != frames.shape[1:]:
            raise ValueError(
                f"frames of shape {frames.shape[1:]} after {self._mean[0].shape}; the size must not change"
            )
        for offset in range(window.n_frames):
            if window.start + offset >= self._first:
                self._blend(window.start + offset - self._first, frames[offset], self._ramp[offset])
        self._next_index += 1
        self._next_start = window.start + window.size - self._overlap
        done = (window.stop if self._agree else self._next_start) - self._first
        return finished + self._take(min(done, len(self._mean)))

    def flush(self) -> list[FloatFrames]:
        """The frames still held, after the last window."""
        return self._take(len(self._mean))

    def state(self) -> dict[str, NDArray[Any]]:
        """Where it is and copies of the frames held, by name: for `restore`."""
        numbers = np.array([self._next_index, self._next_start, self._shot, self._first, *self._weight], np.int64)
        return {"stitch": numbers, **{f"stitch.{n}": mean.copy() for n, mean in enumerate(self._mean)}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state` (arrays, or tensors) of a stitcher of the same window and overlap."""
        numbers = np.asarray(state["stitch"]).tolist()
        self._next_index, self._next_start, self._shot, self._first, *self._weight = numbers
        self._mean = [np.asarray(state[f"stitch.{n}"]).copy() for n in range(len(self._weight))]

    def _blend(self, position: int, frame: FloatFrames, weight: int) -> None:
        if position == len(self._mean):
            self._mean.append(frame.copy())
            self._weight.append(weight)
            return
        self._weight[position] += weight
        mean = self._mean[position]
        mean += (frame - mean) * frame.dtype.type(weight / self._weight[position])

    def _take(self, count: int) -> list[FloatFrames]:
        done = self._mean[:count]
        del self._mean[:count], self._weight[:count]
        self._first += count
        return done


def stitch(outputs: Iterable[tuple[Window, FloatFrames]], window: int, overlap: int) -> Iterator[FloatFrames]:
    """The finished frames, float [H, W, 3], of a stream of (window, float [T, H, W, 3]); see `Stitcher`."""
    stitcher = Stitcher(window, overlap)
    for piece, frames in outputs:
        yield from stitcher.add(piece, frames)
    yield from stitcher.flush()
