"""Colour transport against the closed form of optimal transport between Gaussians."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stdvid.models.palette import Palette, transfer_palette

SEEDS = st.integers(0, 10_000)
SIDE = 12


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(seed: int, spread: float = 0.08) -> Palette:
    """A palette whose pixels stay far from the ends of the range."""
    mixing = spread * (torch.eye(3, dtype=torch.float64) + 0.4 * randn(3, 3, seed=seed).clamp(-1, 1))
    covariance = mixing @ mixing.mT + 2e-4 * torch.eye(3, dtype=torch.float64)
    return Palette(0.1 * randn(3, seed=seed + 1).clamp(-2, 2), covariance)


def picture_of(palette: Palette, seed: int) -> Tensor:
    """Pixels, float64 [1, 3, H, W], with exactly the palette's mean and covariance."""
    pixels = randn(3, SIDE * SIDE, seed=seed).clamp(-2, 2)
    pixels -= pixels.mean(1, keepdim=True)
    whitening = torch.linalg.inv(torch.linalg.cholesky(pixels @ pixels.mT / pixels.shape[1]))
    coloured = torch.linalg.cholesky(palette.covariance) @ whitening @ pixels + palette.mean[:, None]
    return coloured.view(1, 3, SIDE, SIDE)


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    pixels = images[0].flatten(1)
    return pixels.mean(1), torch.cov(pixels, correction=0)


def matrix_of(source: Palette, reference: Palette) -> Tensor:
    """The linear part of the map, read off from three small steps away from the source's mean."""
    step = 0.05
    points = source.mean.view(1, 3, 1) + step * torch.eye(3, dtype=torch.float64)[None]
    moved = transfer_palette(points[:, :, None], source, reference)[0, :, 0]
    return (moved - reference.mean[:, None]) / step


def root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.sqrt()) @ vectors.mT


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_transport_of_gaussians_is_exact(seed: int) -> None:
    source, reference = gaussian(seed), gaussian(seed + 7)
    moved = transfer_palette(picture_of(source, seed + 3), source, reference)
    mean, covariance = moments(moved)
    torch.testing.assert_close(mean, reference.mean, atol=1e-9, rtol=0)
    torch.testing.assert_close(covariance, reference.covariance, atol=1e-9, rtol=1e-6)


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_no_other_transport_moves_colours_less(seed: int) -> None:
    source, reference = gaussian(seed), gaussian(seed + 7)
    picture = picture_of(source, seed + 3)
    cost = float((transfer_palette(picture, source, reference) - picture).square().sum(1).mean())
    half = root(source.covariance)
    cross = root(half @ reference.covariance @ half)
    wasserstein = (source.mean - reference.mean).square().sum() + (
        source.covariance + reference.covariance - 2 * cross
    ).trace()
    assert cost == pytest.approx(float(wasserstein), rel=1e-6)
    cholesky = torch.linalg.cholesky(reference.covariance) @ torch.linalg.inv(torch.linalg.cholesky(source.covariance))
    rival = torch.einsum("ij,njhw->nihw", cholesky, picture - source.mean.view(1, 3, 1, 1))
    rival = rival + reference.mean.view(1, 3, 1, 1)
    torch.testing.assert_close(moments(rival)[1], reference.covariance, atol=1e-9, rtol=1e-6)  # as good a match
    assert cost <= float((rival - picture).square().sum(1).mean()) + 1e-9


@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_the_map_is_symmetric_and_positive_and_the_way_back_undoes_it(seed: int) -> None:
    source, reference = gaussian(seed), gaussian(seed + 7)
    there, back = matrix_of(source, reference), matrix_of(reference, source)
    torch.testing.assert_close(there, there.mT, atol=1e-8, rtol=1e-8)
    assert float(torch.linalg.eigvalsh(there).min()) > 0
    torch.testing.assert_close(back @ there, torch.eye(3, dtype=torch.float64), atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    ("source", "reference", "gains"),
    [
        ((0.01, 0.01, 0.01), (0.04, 0.01, 0.0025), (2.0, 1.0, 0.5)),
        ((0.09, 0.04, 0.01), (0.01, 0.01, 0.01), (1 / 3, 0.5, 1.0)),
        ((0.02, 0.03, 0.05), (0.02, 0.03, 0.05), (1.0, 1.0, 1.0)),
    ],
)
def test_independent_channels_are_scaled_each_by_itself(
    source: tuple[float, ...], reference: tuple[float, ...], gains: tuple[float, ...]
) -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    ours, theirs = (Palette(zero, torch.diag(torch.tensor(v, dtype=torch.float64))) for v in (source, reference))
    torch.testing.assert_close(matrix_of(ours, theirs), torch.diag(torch.tensor(gains, dtype=torch.float64)))


@given(seed=SEEDS, amount=st.floats(0.01, 1))
@settings(max_examples=15, deadline=None)
def test_part_of_the_way_is_the_straight_line(seed: int, amount: float) -> None:
    source, reference = gaussian(seed), gaussian(seed + 7)
    picture = picture_of(source, seed)
    whole, part = (transfer_palette(picture, source, reference, a) for a in (1.0, amount))
    torch.testing.assert_close(part, (1 - amount) * picture + amount * whole, atol=1e-9, rtol=0)


def test_its_own_palette_leaves_a_picture_alone_and_any_result_is_in_range() -> None:
    images = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(0)) * 2 - 1
    own = Palette.of(images)
    torch.testing.assert_close(transfer_palette(images, own, own), images, atol=1e-5, rtol=0)
    wild = Palette(torch.full((3,), 0.9, dtype=torch.float64), 4 * torch.eye(3, dtype=torch.float64))
    moved = transfer_palette(images, own, wild)
    assert (float(moved.min()), float(moved.max())) == (-1, 1)
    assert moved.dtype == images.dtype


@given(seed=SEEDS, gain=st.floats(0.2, 1), offset=st.floats(-0.3, 0.3))
@settings(max_examples=15, deadline=None)
def test_statistics_follow_channels_and_affine_changes(seed: int, gain: float, offset: float) -> None:
    images = 0.3 * randn(2, 3, 6, 7, seed=seed)
    plain, order = Palette.of(images), torch.tensor([2, 0, 1])
    turned, changed = Palette.of(images[:, order]), Palette.of(gain * images + offset)
    torch.testing.assert_close(turned.mean, plain.mean[order])
    torch.testing.assert_close(turned.covariance, plain.covariance[order][:, order])
    ridge = 1e-4 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(changed.mean, gain * plain.mean + offset)
    torch.testing.assert_close(changed.covariance - ridge, gain**2 * (plain.covariance - ridge), atol=1e-12, rtol=1e-6)


def test_pooled_palettes_by_hand() -> None:
    none = torch.zeros(3, 3, dtype=torch.float64)
    left, right = (Palette(torch.tensor([s, 0.0, 0.5], dtype=torch.float64), none) for s in (-1.0, 1.0))
    pooled = Palette.pooled([left, right])
    assert pooled.mean.tolist() == [0, 0, 0.5]
    assert pooled.covariance.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_pooling_one_is_the_same_and_the_order_does_not_matter(seed: int) -> None:
    palettes = [gaussian(seed + k) for k in range(3)]
    alone, forth, back = (Palette.pooled(p) for p in (palettes[:1], palettes, palettes[::-1]))
    torch.testing.assert_close((alone.mean, alone.covariance), (palettes[0].mean, palettes[0].covariance))
    torch.testing.assert_close((forth.mean, forth.covariance), (back.mean, back.covariance))
