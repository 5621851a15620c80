"""Overlapping windows over a clip, planned in integers; for a known length and for a stream of unknown length.

Window k starts at frame k * stride, with stride = window - overlap. The last one may reach past the end: the frames it
lacks are repeats of the last frame (`Window.pad`), to be thrown away after the model has seen them. No frame is ever
dropped, and the plan of a stream is the plan of the same number of frames known beforehand.

    n = 10, window = 4, overlap = 1        0 1 2 3
                                                 3 4 5 6
                                                       6 7 8 9

Each shot has a plan of its own: no window crosses a cut. With a lead its first frame comes before, as a window of its
own, so that it need not wait for others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from stdvid.errors import UsageError

F = TypeVar("F")


@dataclass(frozen=True)
class Window:
    """Frames start..stop-1 of the clip, followed by `pad` repeats of frame stop-1.

    Attributes:
        index: 0, 1, 2, ... in the order of time, within its shot.
        start: first frame.
        stop: one past the last real frame.
        pad: how many repeated frames fill the window up; 0 but for the last window of a shot.
        shot: first frame of its shot.
    """

    index: int
    start: int
    stop: int
    pad: int = 0
    shot: int = 0

    def __post_init__(self) -> None:
        if self.index < 0 or not 0 <= self.shot <= self.start < self.stop or self.pad < 0:
            raise ValueError(f"not a window: {self}")

    @property
    def n_frames(self) -> int:
        """Real frames, without the padding."""
        return self.stop - self.start

    @property
    def size(self) -> int:
        """Frames that the model sees, padding included."""
        return self.n_frames + self.pad


def check_overlap(window: int, overlap: int) -> None:
    """Raise `UsageError` unless 1 <= window and 0 <= overlap < window (in frames)."""
    if window < 1:
        raise UsageError(f"window of {window} frames; allowed: 1 or more; widen the window")
    if not 0 <= overlap < window:
        raise UsageError(
            f"overlap of {overlap} frames with a window of {window}; allowed: 0 to {window - 1}; "
            "lower the overlap or widen the window"
        )


def count_windows(n_frames: int, window: int, overlap: int) -> int:
    """How many windows cover `n_frames` frames.

    Raises:
        UsageError: the overlap is not smaller than the window, or there is no frame.
    """
    check_overlap(window, overlap)
    if n_frames < 1:
        raise UsageError(f"{n_frames} frames to cover; at least 1 is needed")
    return 1 + -(-max(0, n_frames - window) // (window - overlap))


def plan_windows(n_frames: int | None, window: int, overlap: int) -> Iterator[Window]:
    """Windows that cover a clip, in order of time.

    Args:
        n_frames: frames in the clip; None for "unknown", which yields full windows without end.
        window: frames in a window.
        overlap: frames that a window shares with the one before it.

    Raises:
        UsageError: the overlap is not smaller than the window, or there is no frame. Raised at the call.
    """
    check_overlap(window, overlap)
    count = None if n_frames is None else count_windows(n_frames, window, overlap)
    return _plan(n_frames, count, window, window - overlap)


def _plan(n_frames: int | None, count: int | None, window: int, stride: int) -> Iterator[Window]:
    index = 0
    while count is None or index < count:
        start = index * stride
        stop = start + window if n_frames is None else min(start + window, n_frames)
        yield Window(index, start, stop, start + window - stop)
        index += 1


def gather_shots(
    frames: Iterable[tuple[int, F]], window: int, overlap: int, lead: bool = False
) -> Iterator[tuple[Window, list[F]]]:
    """`gather_windows` for a stream of (number of its shot, frame): the windows of one shot after those of another.

    Raises:
        UsageError: the overlap is not smaller than the window. Raised at the call.
    """
    check_overlap(window, overlap)
    return _gather_shots(frames, window, overlap, lead)


def _gather_shots(
    frames: Iterable[tuple[int, F]], window: int, overlap: int, lead: bool
) -> Iterator[tuple[Window, list[F]]]:
    first = 0
    for _, shot in itertools.groupby(frames, key=lambda numbered: numbered[0]):
        for piece, held in gather_windows((frame for _, frame in shot), window, overlap, first, lead):
            yield piece, held
        first = piece.stop


def gather_windows(
    frames: Iterable[F], window: int, overlap: int, first: int = 0, lead: bool = False
) -> Iterator[tuple[Window, list[F]]]:
    """Cut a stream of frames of unknown length into windows, holding no more than one window of frames.

    Args:
        frames: anything, one item a frame; read only as far as the next window needs.
        window: frames in a window.
        overlap: frames that a window shares with the one before it.
        first: number of the first frame.
        lead: before the others comes a window of the first frame alone.

    Yields:
        (window, its frames): always exactly `window` frames, the last one repeated at the tail. With a lead the frames
        of the next window come along, without repeats.
        Nothing for an empty stream.

    Raises:
        UsageError: the overlap is not smaller than the window. Raised at the call.
    """
    check_overlap(window, overlap)
    pieces = _gather(frames, window, overlap, first)
    return _led(pieces) if lead else pieces


def _led(pieces: Iterator[tuple[Window, list[F]]]) -> Iterator[tuple[Window, list[F]]]:
    for piece, held in pieces:
        if piece.index == 0:
            yield replace(piece, stop=piece.start + 1, pad=0), held[: piece.n_frames]
        if piece.index or piece.n_frames > 1:
            yield replace(piece, index=piece.index + 1), held


def _gather(frames: Iterable[F], window: int, overlap: int, first: int) -> Iterator[tuple[Window, list[F]]]:
    held: list[F] = []
    index, start, covered = 0, first, first
    for frame in frames:
        held.append(frame)
        if len(held) == window:
            covered = start + window
            yield Window(index, start, covered, shot=first), list(held)
            del held[: window - overlap]
            index, start = index + 1, start + window - overlap
    total = start + len(held)
    if total > covered:
        pad = window - len(held)
        yield Window(index, start, total, pad, first), held + [held[-1]] * pad
