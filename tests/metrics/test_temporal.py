"""Temporal figures on frames whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from stdvid.metrics.temporal import difference_bias, flicker, standing_still, warp_error

RNG = np.random.default_rng(0)
A = RNG.integers(0, 256, (20, 30, 3), np.uint8)
NONE = np.zeros((20, 30), bool)


def flow(x: float, y: float = 0) -> np.ndarray:  # type: ignore[type-arg]
    return np.full((20, 30, 2), (x, y), np.float32)


def test_what_moves_with_the_source_has_no_warp_error() -> None:
    moved = np.roll(A, 3, 1)  # frame t; frame t-1 is A, so the flow to it is -3
    hidden = NONE.copy()
    hidden[:, :3] = True
    assert warp_error(moved, A, flow(-3), hidden) == pytest.approx(0, abs=1e-9)
    assert warp_error(A, A, flow(-3), hidden) > 0.05  # paint that stays where it was


def test_hidden_pixels_do_not_count() -> None:
    other, hidden = A.copy(), NONE.copy()
    other[:5] = 255 - other[:5]
    hidden[:5] = True
    assert warp_error(A, other, flow(0), hidden) == 0
    assert warp_error(A, other, flow(0), NONE) > 0
    assert warp_error(A, other, flow(0), ~NONE) is None


def test_warp_error_by_hand() -> None:
    black, grey = np.zeros_like(A), np.full_like(A, 51)
    assert warp_error(grey, black, flow(0), NONE) == pytest.approx(0.04)


def test_only_change_that_the_source_has_not_counts() -> None:
    source = [np.full_like(A, v) for v in (100, 130)]
    painted = [np.full_like(A, v) for v in (50, 80)]
    assert difference_bias(painted[1], painted[0], source[1], source[0]) == pytest.approx(0, abs=1e-6)
    assert difference_bias(painted[0], painted[0], source[1], source[0]) == pytest.approx(30 / 255)


def test_flicker_is_measured_where_nothing_moves() -> None:
    still = standing_still(A, A, flow(0))
    assert still.all()
    assert not standing_still(A, A, flow(1)).any()
    changed = A.copy()
    changed[4, 4] = 255 - changed[4, 4]
    assert not standing_still(A, changed, flow(0))[4, 4]
    assert flicker(A, A, still) == 0
    assert flicker(np.full_like(A, 51), np.zeros_like(A), still) == pytest.approx(0.2)
    assert flicker(A, A, ~still) is None
