"""Blending as mathematics: exact shares, linearity, symmetry in time; and how little is held meanwhile."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdvid.temporal.blend import FloatFrames, Stitcher, blend_weights, ramp, stitch
from stdvid.temporal.windows import Window, count_windows, gather_windows, plan_windows

SHAPES = st.integers(1, 12).flatmap(lambda window: st.tuples(st.just(window), st.integers(0, window - 1)))


def outputs(n: int, window: int, overlap: int, seed: int) -> list[tuple[Window, FloatFrames]]:
    """Windows that disagree, as a network's do."""
    rng = np.random.default_rng(seed)
    return [(w, rng.random((w.n_frames, 1, 2, 3)) * 255) for w in plan_windows(n, window, overlap)]


def blended(pieces: list[tuple[Window, FloatFrames]], shape: tuple[int, int]) -> FloatFrames:
    return np.stack(list(stitch(pieces, *shape)))


@given(shape=SHAPES)
def test_a_ramp_is_symmetric_positive_and_as_high_as_the_overlap_allows(shape: tuple[int, int]) -> None:
    window, overlap = shape
    weights = ramp(window, overlap)
    assert weights == weights[::-1]
    assert weights[0] == 1
    assert max(weights) == min(overlap + 1, (window + 1) // 2)
    assert all(abs(a - b) <= 1 for a, b in pairwise(weights))


@given(overlap=st.integers(0, 6), extra=st.integers(0, 5), windows=st.integers(2, 4))
def test_shares_rise_in_equal_parts_where_two_windows_meet(overlap: int, extra: int, windows: int) -> None:
    window = 2 * overlap + 1 + extra
    stride = window - overlap
    n = stride * (windows - 1) + window
    shares = blend_weights(plan_windows(n, window, overlap), window, overlap)
    for index in range(1, windows):
        for k in range(overlap):
            assert shares[index * stride + k] == {
                index - 1: Fraction(overlap - k, overlap + 1),
                index: Fraction(k + 1, overlap + 1),
            }
    assert sum(len(share) for share in shares) == windows * window


@given(shape=SHAPES, windows=st.integers(1, 5))
def test_time_has_no_direction(shape: tuple[int, int], windows: int) -> None:
    window, overlap = shape
    n = (window - overlap) * (windows - 1) + window
    shares = blend_weights(plan_windows(n, window, overlap), window, overlap)
    backwards = [{windows - 1 - k: w for k, w in share.items()} for share in reversed(shares)]
    assert shares == backwards


@given(n=st.integers(1, 30), shape=SHAPES, seed=st.integers(0, 99), gain=st.floats(-2, 2))
@settings(deadline=None, max_examples=40)
def test_blending_is_linear(n: int, shape: tuple[int, int], seed: int, gain: float) -> None:
    a, b = outputs(n, *shape, seed), outputs(n, *shape, seed + 1)
    mixed = [(w, x + gain * y) for (w, x), (_, y) in zip(a, b, strict=True)]
    np.testing.assert_allclose(blended(mixed, shape), blended(a, shape) + gain * blended(b, shape), atol=1e-9)


@given(n=st.integers(1, 30), shape=SHAPES, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_a_frame_lies_between_what_its_windows_say(n: int, shape: tuple[int, int], seed: int) -> None:
    pieces = outputs(n, *shape, seed)
    low, high = np.full((n, 1, 2, 3), np.inf), np.full((n, 1, 2, 3), -np.inf)
    for w, frames in pieces:
        low[w.start : w.stop] = np.minimum(low[w.start : w.stop], frames)
        high[w.start : w.stop] = np.maximum(high[w.start : w.stop], frames)
    out = blended(pieces, shape)
    assert bool((out >= low - 1e-9).all())
    assert bool((out <= high + 1e-9).all())


@given(n=st.integers(1, 60), shape=SHAPES)
@settings(deadline=None, max_examples=40)
def test_no_more_than_the_overlap_stays_behind(n: int, shape: tuple[int, int]) -> None:
    stitcher, done = Stitcher(*shape), 0
    for w, frames in outputs(n, *shape, 0):
        done += len(stitcher.add(w, frames))
        assert 0 <= w.stop - done <= shape[1]
    assert len(stitcher.flush()) == n - done


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_type_of_the_frames_is_kept(dtype: type[np.floating]) -> None:
    pieces = [(w, f.astype(dtype)) for w, f in outputs(9, 4, 2, 0)]
    assert {frame.dtype for frame in stitch(pieces, 4, 2)} == {np.dtype(dtype)}


def test_stitching_takes_one_window_at_a_time() -> None:
    asked: list[int] = []

    def source() -> Iterator[tuple[Window, FloatFrames]]:
        for w, frames in outputs(20, 6, 2, 0):
            asked.append(w.index)
            yield w, frames

    frames = stitch(source(), 6, 2)
    assert asked == []
    for number in range(4):
        next(frames)
        assert asked == [0], number
    next(frames)
    assert asked == [0, 1]


class Picture:
    """Something whose life can be watched."""


@given(n=st.integers(1, 40), shape=SHAPES)
@settings(deadline=None, max_examples=20)
def test_gathering_holds_one_window_of_frames(n: int, shape: tuple[int, int]) -> None:
    alive: weakref.WeakSet[Picture] = weakref.WeakSet()
    most = 0

    def source() -> Iterator[Picture]:
        nonlocal most
        for _ in range(n):
            picture = Picture()
            alive.add(picture)
            most = max(most, len(alive))
            yield picture

    windows = 0
    for _, frames in gather_windows(source(), *shape):
        windows += 1
        assert len(frames) == shape[0]
        del frames
    assert windows == count_windows(n, *shape)
    assert most <= shape[0] + 1
