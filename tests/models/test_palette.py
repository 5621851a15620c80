"""Colour transport: against a linear program as referee, and the properties that a picture must keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from stdvid.models import palette as module
from stdvid.models.palette import BINS, NODES, ColourMap, Palette, transport_table

SEEDS = st.integers(0, 10_000)


def picture(seed: int, low: float = -1.0, high: float = 1.0, side: int = 16) -> Tensor:
    """Random colours of a range, [1, 3, side, side]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, side, side, generator=generator) * (high - low) + low


def mean(palette: Palette) -> Tensor:
    return palette.shares @ palette.colours


def flat(*colour: float) -> Tensor:
    return torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 8, 8)


@pytest.mark.parametrize("spread", [1.0, 1.3])
def test_a_table_is_linear_between_its_nodes_and_ends_at_its_border(spread: float) -> None:
    table = torch.rand(3, NODES, NODES, NODES, generator=torch.Generator().manual_seed(0))
    colours = ColourMap(table, torch.zeros(1, 3), posterized=0.0)
    images = ((torch.cat([picture(seed) for seed in (1, 2)]) * spread + 1) * 127.5).round() / 127.5 - 1  # of 8 bits
    places = images.permute(0, 2, 3, 1).flip(-1)[None]
    referee = functional.grid_sample(table[None], places, align_corners=True, padding_mode="border")[0].transpose(0, 1)
    found = colours.apply(images)
    torch.testing.assert_close(found, referee, atol=4e-3, rtol=0)  # OpenCV before 5 knows 32 places between nodes
    for red in (0, NODES - 1):
        nodes = torch.linspace(-1, 1, NODES).repeat(3, 1)[None, :, None]  # from node to node of green and blue
        nodes[:, 0] = nodes[0, 0, 0, red]
        torch.testing.assert_close(colours.apply(nodes)[0, :, 0], table[:, red].diagonal(0, 1, 2))


@given(seed=SEEDS)
@settings(max_examples=15, deadline=None)
def test_no_result_leaves_the_range_of_the_reference(seed: int) -> None:
    images, reference = picture(seed), picture(seed + 1, -0.4, 0.7)
    directions = torch.randn(20, 3, generator=torch.Generator().manual_seed(seed))
    aim = Palette.of(reference)
    moved = ColourMap.between(Palette.of(images), aim).apply(images)
    within = directions @ aim.colours.mT  # a convex hull is the intersection of its half-spaces
    result = torch.einsum("kc,nchw->knhw", directions, moved).flatten(1)
    assert bool((result <= within.amax(1, keepdim=True) + 1e-5).all())
    assert bool((result >= within.amin(1, keepdim=True) - 1e-5).all())


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_a_grey_reference_leaves_no_colour_and_keeps_light_above_dark(seed: int) -> None:
    ramp = torch.linspace(-1, 1, 256).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    images = (ramp * 0.6 + picture(seed, -0.1, 0.1)).clamp(-1, 1)
    moved = ColourMap.between(Palette.of(images), Palette.of(ramp)).apply(images)
    assert float((moved - moved.mean(1, keepdim=True)).abs().max()) < 1e-5
    greys = torch.linspace(-0.6, 0.6, 9).view(1, 1, 1, 9).expand(1, 3, 1, 9)
    steps = ColourMap.between(Palette.of(images), Palette.of(ramp)).apply(greys)[0, 0, 0].diff()
    assert bool((steps > 0).all())


def test_near_colours_go_to_near_colours() -> None:
    """A dark and a light half, a reference of dark blue and light yellow: dark turns blue, light yellow."""
    images = torch.cat([flat(-0.8, -0.8, -0.8), flat(0.8, 0.8, 0.8)], -1)
    reference = torch.cat([flat(-0.9, -0.9, 0.0), flat(0.9, 0.9, 0.0)], -1)
    moved = ColourMap.between(Palette.of(images), Palette.of(reference)).apply(images)
    torch.testing.assert_close(moved, reference, atol=0.02, rtol=0)


def test_shares_of_the_reference_are_aimed_at_but_not_copied() -> None:
    """A half-dark picture under a reference that is 9 parts light: more becomes light, what is darkest stays dark."""
    ramp = torch.linspace(-1, 1, 256).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    reference = torch.where(torch.arange(100).view(1, 1, 10, 10) < 10, -0.9, 0.9).expand(1, 3, 10, 10)
    canvas, paper = (
        float((ColourMap.between(Palette.of(ramp), Palette.of(reference), paper=p).apply(ramp) < 0).float().mean())
        for p in (0.0, 0.9)
    )
    assert 0.15 < paper < canvas < 0.48  # bare paper is to stay bare


def test_the_plan_is_the_optimal_one_when_entropy_and_slack_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the assignment of least cost, found by SciPy."""
    optimize = pytest.importorskip("scipy.optimize")
    monkeypatch.setattr(module, "ENTROPY", 2e-3)
    monkeypatch.setattr(module, "_ITERATIONS", 4.0)
    axis = (torch.arange(BINS) + 0.5) * 2 / BINS - 1
    grid = torch.cartesian_prod(axis, axis, axis)
    order = torch.randperm(len(grid), generator=torch.Generator().manual_seed(0))
    ours, theirs = grid[order[:8]], grid[order[8:16]]
    potential = module._potential(*(Palette(c, torch.full((8,), 1 / 8)) for c in (ours, theirs)), 1e4)
    chosen = (potential - torch.cdist(ours, theirs).square()).argmax(1)
    rows, columns = optimize.linear_sum_assignment(torch.cdist(ours, theirs).square().numpy())
    np.testing.assert_array_equal(chosen.numpy()[rows], columns)


@given(seed=SEEDS, amount=st.floats(0.01, 1))
@settings(max_examples=15, deadline=None)
def test_part_of_the_way_is_the_straight_line(seed: int, amount: float) -> None:
    images = picture(seed)
    source, reference = Palette.of(images), Palette.of(picture(seed + 7, -0.5, 0.9))
    whole, part = (ColourMap.between(source, reference).apply(images, a) for a in (1.0, amount))
    torch.testing.assert_close(part, (1 - amount) * images + amount * whole, atol=1e-6, rtol=0)
    assert ColourMap.between(source, reference).apply(images, 0.0) is images


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_one_map_for_all_frames_whatever_their_number(seed: int) -> None:
    frames = torch.cat([picture(seed), picture(seed + 1)])
    source, reference = Palette.of(frames), Palette.of(picture(seed + 2, -0.2, 0.8))
    together = ColourMap.between(source, reference).apply(frames)
    alone = torch.cat([ColourMap.between(source, reference).apply(frame[None]) for frame in frames])
    torch.testing.assert_close(together, alone, atol=0, rtol=0)


def test_the_table_is_smooth() -> None:
    """Neighbouring nodes, 1/8 apart, are not torn apart: no banding, no flicker from noise."""
    table = transport_table(Palette.of(picture(0)), Palette.of(torch.cat([flat(-1, -1, -1), flat(1, 1, 1)], -1)))
    for axis in (1, 2, 3):
        assert float(table.diff(dim=axis).abs().max()) < 0.7
    rough = transport_table(Palette.of(picture(0)), Palette.of(picture(1)))
    assert float(rough.diff(dim=1).abs().max()) < 0.4


def test_a_flat_picture_and_a_flat_reference_are_no_trouble() -> None:
    grey = flat(0.4, 0.4, 0.4)
    assert bool(ColourMap.between(Palette.of(grey), Palette.of(picture(0))).apply(grey).isfinite().all())
    moved = ColourMap.between(Palette.of(picture(0)), Palette.of(grey)).apply(picture(0))
    torch.testing.assert_close(moved, grey.mean((2, 3), keepdim=True).expand_as(moved), atol=1e-5, rtol=0)


def test_a_palette_by_hand() -> None:
    images = torch.cat([flat(-1, -1, -1), flat(1, 1, 1), flat(1, 1, 1), flat(1, 1, 0.9)], -1)
    palette = Palette.of(images)
    assert palette.shares.tolist() == [0.25, 0.75]
    torch.testing.assert_close(palette.colours, torch.tensor([[-1.0, -1, -1], [1, 1, 1 - 0.1 / 3]]))


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (3, 3, 9, 31)])
def test_a_palette_does_not_depend_on_the_order_of_pixels(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 2 - 1
    a, b = Palette.of(images), Palette.of(images.flip(-1, -2))
    torch.testing.assert_close((a.colours, a.shares), (b.colours, b.shares))


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_pooled_palettes_weigh_each_picture_the_same(seed: int) -> None:
    palettes = [Palette.of(picture(seed + k, side=6 + 5 * k)) for k in range(3)]
    pooled = Palette.pooled(palettes)
    torch.testing.assert_close(mean(pooled), torch.stack([mean(p) for p in palettes]).mean(0))
    assert float(pooled.shares.sum()) == pytest.approx(1)
    # neither the order nor the parting of one colour into two entries changes where colours go
    source = Palette.of(picture(seed + 9))
    tables = [transport_table(source, Palette.pooled(p)) for p in (palettes, palettes[::-1], palettes + palettes)]
    torch.testing.assert_close(tables[0], tables[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(tables[0], tables[2], atol=1e-4, rtol=0)


@pytest.mark.parametrize("level", [-1.0, 1.0])
def test_a_picture_of_one_colour_takes_the_nearest_of_the_reference(level: float) -> None:
    reference = Palette.of(torch.tensor([[-0.9, -0.8, -0.9], [0.9, 0.1, 0.2], [0.9, 0.9, 0.7]]).mT.reshape(1, 3, 1, 3))
    picture = torch.full((1, 3, 8, 8), level)
    moved = ColourMap.between(Palette.of(picture), reference).apply(picture)
    assert (moved - level).abs().max() < 0.35
