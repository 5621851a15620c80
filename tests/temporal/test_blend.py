"""The stitcher gives back as many frames as it got, in order, without seams, and holds no more than the overlap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdvid.errors import UsageError
from stdvid.temporal.blend import FloatFrames, Stitcher, blend_weights, ramp, stitch
from stdvid.temporal.windows import Window, gather_windows, plan_windows

SHAPES = st.integers(1, 12).flatmap(lambda window: st.tuples(st.just(window), st.integers(0, window - 1)))


def clip(n: int, seed: int = 0) -> FloatFrames:
    return np.random.default_rng(seed).random((n, 2, 3, 3), dtype=np.float32)


def cut(frames: FloatFrames, window: int, overlap: int) -> list[tuple[Window, FloatFrames]]:
    return [(w, np.stack(f)) for w, f in gather_windows(list(frames), window, overlap)]


@given(n=st.integers(1, 60), shape=SHAPES)
def test_weights_of_a_frame_sum_to_one_and_are_positive(n: int, shape: tuple[int, int]) -> None:
    window, overlap = shape
    shares = blend_weights(plan_windows(n, window, overlap), window, overlap)
    assert len(shares) == n
    assert all(sum(share.values()) == 1 for share in shares)
    assert all(weight > 0 for share in shares for weight in share.values())


@given(n=st.integers(1, 60), shape=SHAPES)
@settings(deadline=None)
def test_what_agrees_comes_back_exactly_and_in_order(n: int, shape: tuple[int, int]) -> None:
    frames = clip(n)
    out = np.stack(list(stitch(cut(frames, *shape), *shape)))
    assert out.dtype == frames.dtype
    assert np.array_equal(out, frames)


@given(n=st.integers(1, 40), shape=SHAPES, value=st.floats(0, 255, width=32))
@settings(deadline=None)
def test_constant_in_is_constant_out_exactly(n: int, shape: tuple[int, int], value: float) -> None:
    frames = np.full((n, 1, 1, 3), value, np.float32)
    out = np.stack(list(stitch(cut(frames, *shape), *shape)))
    assert out.shape == frames.shape
    assert np.array_equal(out, frames)


@given(n=st.integers(1, 40), shape=SHAPES, seed=st.integers(0, 99))
@settings(deadline=None)
def test_what_differs_is_the_weighted_mean(n: int, shape: tuple[int, int], seed: int) -> None:
    window, overlap = shape
    rng = np.random.default_rng(seed)
    pieces = [(w, rng.random((window, 1, 2, 3))) for w in plan_windows(n, window, overlap)]
    out = np.stack(list(stitch(pieces, window, overlap)))
    expected = np.zeros((n, 1, 2, 3))
    for frame, share in enumerate(blend_weights(plan_windows(n, window, overlap), window, overlap)):
        for index, weight in share.items():
            expected[frame] += float(weight) * pieces[index][1][frame - pieces[index][0].start]
    np.testing.assert_allclose(out, expected, atol=1e-12)


@given(n=st.integers(1, 80), shape=SHAPES)
@settings(deadline=None)
def test_frames_come_as_soon_as_no_later_window_touches_them(n: int, shape: tuple[int, int]) -> None:
    window, overlap = shape
    stitcher = Stitcher(window, overlap)
    given_back = 0
    for piece, frames in cut(clip(n), window, overlap):
        given_back += len(stitcher.add(piece, frames))
        assert given_back == min((piece.index + 1) * (window - overlap), piece.stop)
    assert given_back + len(stitcher.flush()) == n
    assert stitcher.flush() == []


@given(n=st.integers(1, 80), shape=SHAPES)
@settings(deadline=None)
def test_of_windows_that_agree_all_comes_at_once_and_the_first_alone(n: int, shape: tuple[int, int]) -> None:
    window, overlap = shape
    frames = clip(n)
    stitcher = Stitcher(window, overlap, agree=True)
    if overlap != 1:  # of other plans there is no lead
        pieces = cut(frames, window, overlap)
    else:
        held = gather_windows(list(frames), window, overlap, lead=True)
        pieces = ((piece, np.stack(images[: piece.n_frames])) for piece, images in held)
    out: list[FloatFrames] = []
    for piece, images in pieces:
        out += stitcher.add(piece, images)
        assert len(out) == piece.stop
    assert not stitcher.flush()
    np.testing.assert_array_equal(np.stack(out), frames)


def test_a_step_between_windows_becomes_a_linear_ramp() -> None:
    pieces = [(w, np.full((8, 1, 1, 3), float(w.index))) for w in plan_windows(12, 8, 4)]
    out = [float(frame[0, 0, 0]) for frame in stitch(pieces, 8, 4)]
    assert out == pytest.approx([0] * 4 + [0.2, 0.4, 0.6, 0.8] + [1] * 4)


def test_padding_may_be_there_or_trimmed() -> None:
    frames = clip(5)
    trimmed = [(w, f[: w.n_frames]) for w, f in cut(frames, 4, 1)]
    assert trimmed[-1][1].shape[0] < 4
    assert np.array_equal(np.stack(list(stitch(trimmed, 4, 1))), frames)


def test_input_arrays_are_left_alone() -> None:
    pieces = cut(clip(10), 4, 2)
    before = [f.copy() for _, f in pieces]
    for frame in stitch(pieces, 4, 2):
        frame[...] = -1
    assert all(np.array_equal(a, f) for a, (_, f) in zip(before, pieces, strict=True))


def test_ramp_is_symmetric_and_flat_in_the_middle() -> None:
    assert ramp(8, 3) == [1, 2, 3, 4, 4, 3, 2, 1]
    assert ramp(4, 0) == [1, 1, 1, 1]
    assert ramp(5, 4) == [1, 2, 3, 2, 1]


def test_windows_out_of_turn_are_refused() -> None:
    pieces = cut(clip(10), 4, 1)
    stitcher = Stitcher(4, 1)
    with pytest.raises(ValueError, match="out of turn"):
        stitcher.add(*pieces[1])
    stitcher.add(*pieces[0])
    with pytest.raises(ValueError, match="out of turn"):
        stitcher.add(*pieces[0])
    with pytest.raises(ValueError, match="out of turn"):
        Stitcher(4, 2).add(Window(0, 1, 5), pieces[0][1])


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (np.zeros((4, 2, 2, 3), np.uint8), "float"),
        (np.zeros((3, 2, 2, 3)), "shape"),
        (np.zeros((4, 2, 2, 4)), "shape"),
        (np.zeros((4, 2, 3)), "shape"),
    ],
)
def test_wrong_arrays_are_refused(frames: FloatFrames, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Stitcher(4, 1).add(Window(0, 0, 4), frames)


def test_a_change_of_size_is_refused() -> None:
    stitcher = Stitcher(4, 1)
    stitcher.add(Window(0, 0, 4), np.zeros((4, 2, 2, 3)))
    with pytest.raises(ValueError, match="size must not change"):
        stitcher.add(Window(1, 3, 7), np.zeros((4, 2, 3, 3)))


def test_impossible_overlap_is_refused() -> None:
    with pytest.raises(UsageError, match="overlap of 4"):
        Stitcher(4, 4)
