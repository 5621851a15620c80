"""Windows cover every frame, are all of one size, and are the same for a list and for a stream."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdvid.errors import UsageError
from stdvid.temporal.windows import (
    Window,
    check_overlap,
    count_windows,
    gather_windows,
    plan_windows,
)

SHAPES = st.integers(1, 24).flatmap(lambda window: st.tuples(st.just(window), st.integers(0, window - 1)))


@given(n=st.integers(1, 200), shape=SHAPES)
def test_plan_covers_every_frame_with_full_windows(n: int, shape: tuple[int, int]) -> None:
    window, overlap = shape
    plan = list(plan_windows(n, window, overlap))
    assert {f for w in plan for f in range(w.start, w.stop)} == set(range(n))
    assert all(w.size == window for w in plan)
    assert [w.index for w in plan] == list(range(len(plan)))
    assert len(plan) == count_windows(n, window, overlap)
    assert all(w.pad == 0 for w in plan[:-1])


@given(n=st.integers(1, 200), shape=SHAPES)
def test_plan_overlaps_as_asked_and_has_no_window_too_many(n: int, shape: tuple[int, int]) -> None:
    window, overlap = shape
    plan = list(plan_windows(n, window, overlap))
    assert all(b.start - a.start == window - overlap for a, b in pairwise(plan))
    assert all(w.stop < n for w in plan[:-1]), "a window after the clip's end was reached"
    assert plan[-1].stop == n


@given(n=st.integers(0, 120), shape=SHAPES)
def test_stream_has_the_plan_of_the_known_length(n: int, shape: tuple[int, int]) -> None:
    window, overlap = shape
    pieces = list(gather_windows(iter(range(n)), window, overlap))
    assert [w for w, _ in pieces] == (list(plan_windows(n, window, overlap)) if n else [])
    for w, frames in pieces:
        assert frames == list(range(w.start, w.stop)) + [n - 1] * w.pad


@given(shape=SHAPES)
def test_unknown_length_yields_full_windows_without_end(shape: tuple[int, int]) -> None:
    window, overlap = shape
    plan = list(islice(plan_windows(None, window, overlap), 5))
    assert plan == list(plan_windows(4 * (window - overlap) + window, window, overlap))
    assert all(w.pad == 0 for w in plan)


def test_stream_reads_no_further_than_the_next_window_needs() -> None:
    read: list[int] = []

    def frames() -> Iterator[int]:
        for i in range(100):
            read.append(i)
            yield i

    pieces = gather_windows(frames(), window=8, overlap=2)
    assert read == []
    next(pieces)
    assert len(read) == 8
    next(pieces)
    assert len(read) == 14


def test_windows_given_away_do_not_change_afterwards() -> None:
    pieces = gather_windows(iter(range(20)), window=8, overlap=2)
    _, first = next(pieces)
    next(pieces)
    assert first == list(range(8))


@given(n=st.integers(1, 80), window=st.integers(2, 20))
def test_a_lead_is_the_first_frame_and_the_plan_goes_on_as_without(n: int, window: int) -> None:
    (lead, ahead), *rest = gather_windows(range(n), window, 1, lead=True)
    assert (lead.index, lead.start, lead.stop, lead.pad) == (0, 0, 1, 0)
    assert ahead == list(range(min(n, window)))
    plain = list(gather_windows(range(n), window, 1)) if n > 1 else []
    assert [(piece.start, piece.stop, piece.pad, held) for piece, held in rest] == [
        (piece.start, piece.stop, piece.pad, held) for piece, held in plain
    ]
    assert [piece.index for piece, _ in rest] == list(range(1, len(plain) + 1))


def test_clip_shorter_than_the_window_is_padded() -> None:
    assert list(plan_windows(3, 8, 2)) == [Window(index=0, start=0, stop=3, pad=5)]
    [(window, frames)] = gather_windows("abc", 8, 2)
    assert (window.n_frames, window.size, frames) == (3, 8, list("abcccccc"))


def test_example_of_the_docstring() -> None:
    assert [(w.start, w.stop, w.pad) for w in plan_windows(10, 4, 1)] == [(0, 4, 0), (3, 7, 0), (6, 10, 0)]
    assert [(w.start, w.stop, w.pad) for w in plan_windows(11, 4, 1)] == [(0, 4, 0), (3, 7, 0), (6, 10, 0), (9, 11, 2)]


@pytest.mark.parametrize(("window", "overlap"), [(4, 4), (4, 5), (4, -1), (0, 0), (-3, 0)])
def test_impossible_overlap_is_refused_at_the_call(window: int, overlap: int) -> None:
    for call in (
        lambda: check_overlap(window, overlap),
        lambda: plan_windows(10, window, overlap),
        lambda: plan_windows(None, window, overlap),
        lambda: gather_windows([1], window, overlap),
    ):
        with pytest.raises(UsageError, match="window"):
            call()


def test_nothing_to_cover_is_refused() -> None:
    with pytest.raises(UsageError, match="0 frames"):
        plan_windows(0, 4, 1)


@pytest.mark.parametrize("values", [(-1, 0, 1, 0), (0, 2, 2, 0), (0, -1, 2, 0), (0, 0, 2, -1)])
def test_window_checks_itself(values: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="not a window"):
        Window(*values)
