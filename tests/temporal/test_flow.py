"""Flow, warping and occlusion on scenes whose motion is known exactly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stdvid.temporal.flow import DisFlow, Flow, Image, occluded, warp

HEIGHT, WIDTH, SQUARE = 96, 128, 40


def texture(height: int, width: int, seed: int) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def scene(x: int, y: int = 30) -> Image:
    """A textured square over a resting background, its left upper corner at (x, y)."""
    image = texture(HEIGHT, WIDTH, 1)
    image[y : y + SQUARE, x : x + SQUARE] = texture(SQUARE, SQUARE, 2)
    return image


def exact(x: int, move: int, y: int = 30) -> Flow:
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[y : y + SQUARE, x : x + SQUARE, 0] = move
    return flow


def test_the_flow_of_a_moving_square_is_found() -> None:
    flow = DisFlow()(scene(30), scene(36))
    inside = flow[34:66, 34:66]
    np.testing.assert_allclose(np.median(inside, (0, 1)), [6, 0], atol=0.3)
    assert np.abs(flow[:20]).max() < 0.5


def test_a_shifted_picture_is_warped_back() -> None:
    image = texture(HEIGHT, WIDTH, 0)
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[..., 0], flow[..., 1] = 5, -3
    back = warp(np.roll(image, (-3, 5), (0, 1)), flow)
    assert np.array_equal(back[8:-8, 8:-8], image[8:-8, 8:-8])
    assert back.dtype == np.uint8
    halves = warp(np.arange(8, dtype=np.float32).reshape(1, 8, 1), np.full((1, 8, 2), (0.5, 0), np.float32))
    np.testing.assert_allclose(halves[0, :7, 0], np.arange(7) + 0.5)


def test_what_the_square_uncovers_has_no_match() -> None:
    # from the frame at 36 back to the frame at 30: the square left the columns 30..35 behind it
    hidden = occluded(exact(36, -6), exact(30, 6))
    uncovered = hidden[34:66, 30:36]
    assert uncovered.all()
    assert not hidden[40:60, 42:70].any()
    assert not hidden[:25].any()


def test_what_leaves_the_picture_has_no_match() -> None:
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[..., 0] = 10
    hidden = occluded(flow, -flow)
    assert hidden[:, -10:].all()
    assert not hidden[:, :-11].any()


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (17, 16), (33, 70)])
def test_pictures_of_any_size_have_a_flow(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    flow = DisFlow()(image, image)
    assert flow.shape == (*shape, 2)
    assert np.abs(flow).max() < 0.5


def test_the_same_frames_give_the_same_flow() -> None:
    assert np.array_equal(DisFlow()(scene(30), scene(33)), DisFlow()(scene(30), scene(33)))
