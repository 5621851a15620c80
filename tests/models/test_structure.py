"""The structure map and its blur against OpenCV, and what they do not see."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stdvid.models.structure import LUMA, gaussian_blur, structure_map

SEEDS = st.integers(0, 10_000)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def opencv_blur(plane: np.ndarray, sigma: float, border: int) -> np.ndarray:
    side = 2 * math.ceil(2.5 * sigma) + 1
    return cv2.GaussianBlur(plane, (side, side), sigma, borderType=border)


@given(seed=SEEDS, sigma=st.floats(0.3, 3.0), height=st.integers(9, 24), width=st.integers(9, 24))
@settings(max_examples=20, deadline=None)
def test_blur_agrees_with_opencv(seed: int, sigma: float, height: int, width: int) -> None:
    images = rand(1, 2, height, width, seed=seed)
    ours = gaussian_blur(images, sigma)
    for channel in range(2):
        theirs = opencv_blur(images[0, channel].numpy(), sigma, cv2.BORDER_REFLECT_101)
        np.testing.assert_allclose(ours[0, channel].numpy(), theirs, atol=2e-6)


@pytest.mark.parametrize("shape", [(24, 31), (4, 30)])
def test_with_a_gradient_it_is_the_same_blur(shape: tuple[int, int]) -> None:
    images = rand(2, 3, *shape)
    torch.testing.assert_close(gaussian_blur(images.clone().requires_grad_(), 2.0).detach(), gaussian_blur(images, 2.0))


@pytest.mark.parametrize("shape", [(4, 30), (30, 4), (1, 1)])
def test_pictures_smaller_than_the_blur_repeat_their_border(shape: tuple[int, int]) -> None:
    image = rand(1, 1, *shape)
    theirs = opencv_blur(np.pad(image[0, 0].numpy(), 5, mode="edge"), 2.0, cv2.BORDER_CONSTANT)[5:-5, 5:-5]
    np.testing.assert_allclose(gaussian_blur(image, 2.0)[0, 0].numpy(), theirs, atol=1e-6)


def test_a_point_becomes_the_bell_curve() -> None:
    image = torch.zeros(1, 1, 21, 21)
    image[..., 10, 10] = 1
    bell = torch.exp(-(torch.arange(-10.0, 11) ** 2) / (2 * 1.5**2)) * (torch.arange(-10, 11).abs() <= 4)
    bell = bell / bell.sum()
    torch.testing.assert_close(gaussian_blur(image, 1.5)[0, 0], torch.outer(bell, bell))


@given(seed=SEEDS, sigma=st.floats(0.4, 2.5))
@settings(max_examples=10, deadline=None)
def test_blur_is_linear_and_never_overshoots(seed: int, sigma: float) -> None:
    a, b = rand(1, 1, 16, 18, seed=seed), rand(1, 1, 16, 18, seed=seed + 1)
    both = gaussian_blur(2 * a - b, sigma)
    torch.testing.assert_close(both, 2 * gaussian_blur(a, sigma) - gaussian_blur(b, sigma), atol=1e-5, rtol=0)
    blurred = gaussian_blur(a, sigma)
    assert float(a.min()) - 1e-6 <= float(blurred.min()) <= float(blurred.max()) <= float(a.max()) + 1e-6
    assert float(blurred.std()) < float(a.std())


def test_the_map_is_what_opencv_would_make_of_it() -> None:
    image = rand(1, 3, 40, 48) * 0.8
    luma = np.tensordot(np.array(LUMA, np.float32), image[0].numpy(), 1)
    blurred = opencv_blur(luma, 1.2, cv2.BORDER_REFLECT_101)
    dx, dy = (
        cv2.Sobel(blurred, cv2.CV_32F, *order, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
        for order in ((1, 0), (0, 1))
    )
    magnitude = np.sqrt(dx**2 + dy**2 + 1e-8)
    local_mean = opencv_blur(magnitude, 8.0, cv2.BORDER_REFLECT_101) + 0.02
    expected = 2 * np.tanh(0.7 * magnitude / local_mean) - 1
    np.testing.assert_allclose(structure_map(image)[0, 0].numpy(), expected, atol=1e-4)


@given(seed=SEEDS, offset=st.floats(-0.5, 0.5), gain=st.floats(0.05, 1))
@settings(max_examples=20, deadline=None)
def test_brightness_is_forgotten_and_the_range_is_kept(seed: int, offset: float, gain: float) -> None:
    image = gain * gaussian_blur(rand(1, 3, 24, 28, seed=seed), 1.0)
    edges = structure_map(image)
    assert edges.shape == (1, 1, 24, 28)
    assert -1 <= float(edges.min()) <= float(edges.max()) <= 1
    torch.testing.assert_close(structure_map(image + offset), edges, atol=1e-3, rtol=0)
    torch.testing.assert_close(structure_map(-image), edges, atol=1e-5, rtol=0)


def test_contrast_is_mostly_forgotten() -> None:
    image = gaussian_blur(rand(1, 3, 48, 48), 2.0) * 3
    strong, weak = structure_map(image), structure_map(0.5 * image)
    assert float((strong - weak).abs().mean()) < 0.25 * float((strong + 1).mean())
    assert float(weak.sub(strong).max()) <= 1e-5  # less contrast is never more edge


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_the_map_turns_and_flips_with_the_picture(seed: int) -> None:
    image = rand(1, 3, 24, 32, seed=seed)
    edges = structure_map(image)
    torch.testing.assert_close(structure_map(image.flip(-1)), edges.flip(-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(structure_map(image.rot90(1, (-2, -1))), edges.rot90(1, (-2, -1)), atol=1e-4, rtol=0)


def test_colours_of_one_luminance_have_no_edge_between_them() -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[:, 0, :, :16] = 0.4 / LUMA[0] * LUMA[1]
    image[:, 1, :, 16:] = 0.4
    assert float(structure_map(image).max()) < -0.98
    image[:, 1, :, 16:] = -0.4
    assert float(structure_map(image)[..., 15:17].min()) > 0


def test_a_wider_blur_sees_only_what_is_coarse() -> None:
    x = torch.arange(48.0)
    stripes = 0.5 * torch.sin(2 * math.pi * x / 4).expand(1, 3, 48, 48)
    levels = [float(structure_map(stripes, blur_px).mean()) for blur_px in (0.8, 1.2, 2.5)]
    assert levels[0] > levels[1] > levels[2]
    assert levels[2] < -0.85
