"""How latents lie on pictures, and how matches of pixels become matches of cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stdvid.models.canvas import Canvas
from stdvid.models.latent_stylizer import SIZE_MULTIPLE_PX
from stdvid.models.nano_stylizer import CANVAS
from stdvid.temporal.propagate import KEPT, Match, coarser

OF_A_VAE = Canvas(8, 8, 0, SIZE_MULTIPLE_PX)
sides = st.integers(1, 70)


def test_cells_of_a_vae_are_its_latents() -> None:
    latents = torch.rand(2, 4, 3, 5)
    assert torch.equal(OF_A_VAE.cells(latents), latents)
    assert torch.equal(OF_A_VAE.latents(latents), latents)


@given(st.sampled_from([1, 2, 4]), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_cells_are_where_their_latents_are_and_back(per_side: int, channels: int, height: int, width: int) -> None:
    canvas = Canvas(4 * per_side, 4, 0, 16)
    latents = torch.arange(channels * per_side**2 * height * width).float().view(1, -1, height, width)
    cells = canvas.cells(latents)
    assert cells.shape == (1, channels, per_side * height, per_side * width)
    assert torch.equal(canvas.latents(cells), latents)
    for y in range(height):
        for x in range(width):
            square = cells[0, :, per_side * y : per_side * (y + 1), per_side * x : per_side * (x + 1)]
            assert sorted(square.flatten().tolist()) == sorted(latents[0, :, y, x].tolist())


@given(st.sampled_from([OF_A_VAE, CANVAS]), sides, sides)
def test_padding_is_to_multiples_and_comes_off_again(canvas: Canvas, height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width)
    padded = canvas.pad(images)
    for side, before in zip(padded.shape[-2:], (height, width), strict=True):
        assert side % canvas.multiple_px == 0
        assert 0 <= side - before - 2 * canvas.border_px < canvas.multiple_px
    assert torch.equal(canvas.unpad(padded, height, width), images)


def test_padding_mirrors_and_leaves_what_fits() -> None:
    images = torch.arange(20.0).expand(1, 1, 32, 20)
    assert OF_A_VAE.pad(images)[0, 0, 0].tolist() == [*range(20), *range(18, 6, -1)]
    assert torch.equal(OF_A_VAE.pad(images[..., :16]), images[..., :16])
    small = torch.arange(3.0).expand(1, 1, 16, 3)
    assert OF_A_VAE.pad(small)[0, 0, 0].tolist() == [0, 1, *[2] * 14]  # too small for a mirror


def test_estimates_stay_within_the_limit_if_there_is_one() -> None:
    estimates = torch.tensor([-3.0, 0.5, 3.0])
    assert torch.equal(OF_A_VAE.bounded(estimates), estimates)
    assert Canvas(4, 1, 0, 4, limit=1.5).bounded(estimates).tolist() == [-1.5, 0.5, 1.5]


def matched(height: int, width: int, flow: tuple[float, float] = (0, 0), trust: float = KEPT, gain: float = 1) -> Match:
    moved = np.broadcast_to(np.float32(flow), (height, width, 2)).copy()
    return Match(moved, np.full((height, width, 1), trust, np.float32), gain)


@given(sides, sides, st.sampled_from([1, 2, 8]), st.tuples(st.floats(-99, 99), st.floats(-99, 99)), st.floats(0, KEPT))
def test_a_constant_flow_stays_constant_in_cells(
    height: int, width: int, cell: int, flow: tuple[float, float], trust: float
) -> None:
    found = coarser(matched(height, width, flow, trust, 1.3), cell)
    assert found.flow.shape == (-(-height // cell), -(-width // cell), 2)
    assert found.trust.shape == (*found.flow.shape[:2], 1)
    np.testing.assert_allclose(found.flow, np.broadcast_to(np.float32(flow) / cell, found.flow.shape), atol=1e-4)
    np.testing.assert_allclose(found.trust, trust, atol=1e-5)
    assert found.gain == 1.3
    assert found.flow.dtype == found.trust.dtype == np.float32


def test_cells_are_means_and_the_last_ones_of_what_there_is() -> None:
    match = matched(3, 5)
    match.flow[..., 0] = np.arange(5)
    match.trust[2:] = 0
    found = coarser(match, 2)
    # the last column and the last row are cut: their one pixel counts twice
    np.testing.assert_allclose(found.flow[0, :, 0], [0.25, 1.25, 2.0])
    np.testing.assert_allclose(found.trust[:, 0, 0], [KEPT, 0])
    assert coarser(match, 1) is match


@pytest.mark.parametrize("size", [(16, 16), (17, 31)])
def test_cells_of_a_match_are_as_many_as_those_of_the_picture(size: tuple[int, int]) -> None:
    cells = coarser(matched(*size), OF_A_VAE.cell_px).trust.shape[:2]
    padded = OF_A_VAE.pad(torch.zeros(1, 3, *size)).shape[-2:]
    assert all(0 <= side // 8 - count <= 1 for side, count in zip(padded, cells, strict=True))
