"""Tones made out of strokes: as much ink as the tone wants, along the forms, nothing on blank paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stdvid.models.hatching import Pen, directions, outlines, streaks
from stdvid.models.palette import Palette

SIDE = 96


def grey(level: float) -> Tensor:
    return torch.full((1, 3, SIDE, SIDE), level)


def ramp() -> Tensor:
    return torch.linspace(-1, 1, SIDE).expand(1, 3, SIDE, SIDE).contiguous()


def ink_on_paper(share: float) -> Palette:
    """A reference with such a share of ink."""
    return Palette(torch.tensor([[-0.9, -0.9, -0.7], [0.9, 0.9, 0.8]]), torch.tensor([share, 1 - share]))


def stripes(angle: float) -> Tensor:
    """Soft stripes that run at `angle` from the x axis."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    across = x * -math.sin(angle) + y * math.cos(angle)
    return (0.8 * torch.sin(across / 4)).expand(1, 3, SIDE, SIDE)


def ink_share(picture: Tensor) -> float:
    return float((picture[:, :1] < 0).float().mean())


@pytest.mark.parametrize("angle", [0.0, 0.6, math.pi / 2, 2.5])
def test_strokes_lie_along_the_forms(angle: float) -> None:
    along = directions(stripes(angle))[..., 16:-16, 16:-16]
    cosine = along[:, 0] * math.cos(angle) + along[:, 1] * math.sin(angle)
    assert float(cosine.abs().mean()) > 0.99
    torch.testing.assert_close(along.norm(dim=1), torch.ones_like(cosine))


def test_strokes_lie_along_the_diagonal_where_there_is_no_form() -> None:
    along = directions(grey(0.3))
    torch.testing.assert_close(along[:, 0] / along[:, 1], torch.full((1, SIDE, SIDE), -1.0), atol=1e-3, rtol=0)


def test_streaks_are_long_and_evenly_spread() -> None:
    values = streaks(directions(stripes(0.0)))
    assert float((values[..., 6:] - values[..., :-6]).abs().mean()) < 0.5 * float(
        (values[..., 6:, :] - values[..., :-6, :]).abs().mean()
    )
    shares = torch.histc(values, 4, 0, 1) / values.numel()
    assert float((shares - 0.25).abs().max()) < 0.06
    assert torch.equal(values, streaks(directions(stripes(0.0))))


def test_the_darker_the_more_ink() -> None:
    pen = Pen(torch.full((3,), -1.0), torch.ones(3), dark=-1, bright=1, gamma=1)
    shares = [ink_share(pen.draw(grey(level), grey(level))) for level in (-0.95, -0.4, 0.0, 0.3, 0.9)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1  # no speck of paper in what is all ink
    assert shares[-1] == 0
    assert 0.2 < shares[2] < 0.6


def test_a_drawing_has_the_inks_colours_and_no_others() -> None:
    pen = Pen.between(Palette.of(ramp()), ink_on_paper(0.3))
    drawn = pen.draw(ramp(), ramp())
    torch.testing.assert_close(pen.ink, torch.tensor([-0.9, -0.9, -0.7]))
    torch.testing.assert_close(pen.paper, torch.tensor([0.9, 0.9, 0.8]))
    red, blue = drawn[:, 0], drawn[:, 2]
    torch.testing.assert_close(blue, -0.7 + (red + 0.9) / 1.8 * 1.5, atol=1e-5, rtol=0)
    assert float((red.abs() < 0.6).float().mean()) < 0.25


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_a_drawing_is_as_dark_as_the_reference(share: float) -> None:
    drawn = Pen.between(Palette.of(ramp()), ink_on_paper(share)).draw(ramp(), ramp())
    assert ink_share(drawn) == pytest.approx(share, abs=0.08)


def test_outlines_run_along_edges_only() -> None:
    disc = grey(0.6)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    distance = ((x - SIDE / 2) ** 2 + (y - SIDE / 2) ** 2).float().sqrt()
    disc = torch.where(distance < 25, torch.tensor(-0.2), disc)
    lines = outlines(disc)[0, 0]
    rim = (distance - 24).abs() < 1
    assert float(lines[rim].mean()) > 0.7
    assert float(lines[(distance - 25).abs() > 5].max()) < 0.05


def test_one_colour_can_be_drawn() -> None:
    one = Palette.of(grey(0.2))
    drawn = Pen.between(one, one).draw(grey(0.2), grey(0.2))
    assert torch.isfinite(drawn).all()
    torch.testing.assert_close(drawn, grey(0.2), atol=1e-4, rtol=0)
