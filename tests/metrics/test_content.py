"""Edges and sharpness: values by hand, and what they must not depend on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdvid.metrics.content import Image, edge_correlation, laplacian_variance, sharpness_ratio

SEEDS = st.integers(0, 10_000)


def grey(luma: np.ndarray) -> Image:
    return np.repeat(luma[..., None], 3, axis=2).astype(np.uint8)


def blobs(seed: int, low: int = 0, high: int = 256) -> Image:
    coarse = np.random.default_rng(seed).integers(low, high, (8, 10, 3), np.uint8)
    return cv2.resize(coarse, (80, 64), interpolation=cv2.INTER_CUBIC)


def test_laplacian_variance_of_one_bright_pixel() -> None:
    luma = np.zeros((10, 10))
    luma[4, 5] = 255
    assert laplacian_variance(grey(luma)) == pytest.approx((4**2 + 4 * 1) * 255**2 / 100)


def test_laplacian_variance_of_a_ramp_is_that_of_its_mirrored_borders() -> None:
    luma = np.tile(10 * np.arange(8), (4, 1))
    assert laplacian_variance(grey(luma)) == pytest.approx(2 * 20**2 / 8)  # +20 left, -20 right, 0 between


@pytest.mark.parametrize(("low", "high"), [(0, 0), (128, 128), (255, 255)])
def test_a_flat_picture_has_no_sharpness_and_no_edges(low: int, high: int) -> None:
    flat = np.full((16, 16, 3), (low, high, low), np.uint8)
    assert laplacian_variance(flat) == 0
    assert sharpness_ratio(flat, flat) == 0
    assert edge_correlation(flat, blobs(0)[:16, :16]) == edge_correlation(blobs(0)[:16, :16], flat) == 0


def test_half_the_contrast_is_a_quarter_of_the_sharpness() -> None:
    luma = 2 * np.random.default_rng(0).integers(0, 128, (32, 32))
    assert sharpness_ratio(grey(luma // 2), grey(luma)) == pytest.approx(0.25)


@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_edge_correlation_is_symmetric_bounded_and_knows_no_left_and_right(seed: int) -> None:
    a, b = blobs(seed), blobs(seed + 1)
    found = edge_correlation(a, b)
    assert -1 <= found <= 1
    assert edge_correlation(b, a) == pytest.approx(found)
    assert edge_correlation(a[:, ::-1].copy(), b[:, ::-1].copy()) == pytest.approx(found, abs=1e-4)
    assert edge_correlation(a[::-1].copy(), b[::-1].copy()) == pytest.approx(found, abs=1e-4)


@given(seed=SEEDS, gain=st.floats(0.4, 1.0), offset=st.integers(0, 60))
@settings(max_examples=15, deadline=None)
def test_edges_do_not_change_with_brightness_and_contrast(seed: int, gain: float, offset: int) -> None:
    image = blobs(seed, 40, 190)
    changed = np.rint(np.clip(image * gain + offset, 0, 255)).astype(np.uint8)
    assert edge_correlation(changed, image) > 0.99
    assert edge_correlation(255 - image, image) == pytest.approx(1, abs=1e-3)


def test_edges_elsewhere_are_other_edges() -> None:
    luma = np.zeros((64, 64))
    luma[:, 32:] = 200
    upright, lying = grey(luma), grey(luma.T)
    assert abs(edge_correlation(upright, lying)) < 0.3
    assert edge_correlation(np.roll(upright, 20, axis=1), upright) < 0.7
