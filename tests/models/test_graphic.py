"""How graphic references are, and frames simplified for them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from stdvid.models.graphic import Graphic, even, flatten, solid
from stdvid.models.palette import ColourMap, Palette, main_colours, posterize
from stdvid.models.stylizer import to_tensor


def drawing() -> Tensor:
    """Black lines with soft borders on white paper."""
    image = np.full((96, 96, 3), 255, np.uint8)
    for x in range(10, 90, 20):
        cv2.line(image, (x, 5), (x - 6, 90), (0, 0, 0), 2, cv2.LINE_AA)
    return to_tensor(image[None])


def canvas(level: float = 0.15) -> Tensor:
    """Uneven everywhere."""
    return (torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * level).clamp(-1, 1)


def washes() -> Tensor:
    """Shading on white paper."""
    ramp = torch.linspace(-1, 0.4, 48).expand(1, 3, 48, 48)
    return torch.cat([torch.ones(1, 3, 48, 48), ramp], 3)


def kind(picture: Tensor) -> tuple[float, float, float]:
    judged = Graphic.of(picture)
    return judged.flatness, judged.linework, judged.hatched


def test_drawings_are_graphic_and_canvas_is_not() -> None:
    assert kind(drawing()) == (1, 1, 1)
    assert kind(canvas()) == (0, 0, 0)
    areas = torch.full((1, 3, 48, 96), -0.8)
    areas[..., 48:] = 0.2
    assert kind(areas) == (1, 1, 0)
    assert Graphic.of(torch.zeros(1, 3, 1, 1)).hatched == 0
    assert Graphic.of(torch.ones(1, 3, 8, 8)).hatched == 0
    assert Graphic.mean([Graphic(1, 1, 0, 0), Graphic(0, 0, 1, 0)]) == Graphic(0.5, 0.5, 0.5, 0)


def test_paper_does_not_make_a_watercolour_flat() -> None:
    assert kind(washes()) == (0, 0, 0)
    assert Graphic.of(washes()).paper == pytest.approx(0.5, abs=0.05)
    grey = torch.cat([torch.zeros(1, 3, 48, 48), washes()[..., 48:]], 3)
    assert Graphic.of(grey).flatness == 1  # a plain area that is painted, beside shading


def test_frames_are_left_alone_for_a_painting() -> None:
    picture = canvas()
    assert torch.equal(Graphic(0, 0, 0, 0).simplify(picture), picture)
    assert torch.equal(Graphic(1, 1, 0, 0).simplify(picture, 0), picture)
    assert not torch.equal(Graphic(1, 0, 0, 0).simplify(picture), picture)


def test_even_light_keeps_what_is_fine() -> None:
    fine = 0.1 * torch.sin(torch.arange(128.0)).expand(1, 3, 128, 128)
    picture = torch.where(torch.arange(128) < 64, -0.6, 0.6) + fine
    lit = even(picture, 1.0)
    dark, bright = lit[..., 8:32], lit[..., 96:120]
    assert 0 < float(bright.mean() - dark.mean()) < 0.6
    assert float(dark.std(3).mean()) == pytest.approx(float(fine[..., 8:32].std(3).mean()), rel=0.2)
    assert torch.equal(even(picture, 0.0), picture)


def test_flattening_smooths_and_keeps_edges() -> None:
    picture = canvas(0.05)
    picture[..., 48:] += 1
    flat = flatten(picture, 1.0)
    assert float(flat[..., 10:38].std()) < 0.4 * float(picture[..., 10:38].std())
    step = flat[..., 50:54].mean() - flat[..., 42:46].mean()
    assert float(step) == pytest.approx(1, abs=0.1)
    assert torch.equal(flatten(picture, 0.0), picture)
    between = flatten(picture, 0.5)
    torch.testing.assert_close(between, (picture + flat) / 2)


def test_soft_borders_go_to_one_side() -> None:
    picture = drawing()
    assert float((picture.abs() < 0.9).float().mean()) > 0.05
    toggled = solid(picture, 1.0)
    assert float((toggled.abs() < 0.9).float().mean()) < 0.02
    assert abs(float(toggled.mean() - picture.mean())) < 0.1
    assert set(toggled.unique().tolist()) <= set(picture.unique().tolist())  # no colour that was not there
    assert torch.equal(solid(picture, 0.0), picture)


def test_colours_of_a_flat_reference_are_not_mixed() -> None:
    grey = torch.linspace(-1, 1, 96).expand(1, 3, 96, 96).contiguous()
    ink = Palette.of(solid(drawing(), 1.0))
    mixed, pure = (ColourMap.between(Palette.of(grey), ink, flatness=f).apply(grey) for f in (0.0, 1.0))

    def middle(picture: Tensor) -> float:
        return float((picture.abs() < 0.7).float().mean())

    assert middle(pure) < 0.8 * middle(mixed)


def test_main_colours_are_those_of_the_areas() -> None:
    picture = torch.zeros(1, 3, 32, 32)
    picture[..., :16] = torch.tensor([0.9, -0.8, 0.1]).view(1, 3, 1, 1)
    picture[:, :, :8, 16:] = torch.tensor([-0.9, 0.5, 0.5]).view(1, 3, 1, 1)
    colours = main_colours(Palette.of(picture))
    assert len(colours) == 3
    for wanted in picture.flatten(2)[0].unique(dim=1).mT:
        assert float((colours - wanted).norm(dim=1).min()) < 1e-3
    near = posterize(picture + 0.1, colours)
    torch.testing.assert_close(near, picture, atol=0.01, rtol=0)
    assert len(main_colours(Palette.of(canvas(0.5)))) == 7


def test_cel_pictures_are_posterized_and_pen_drawings_are_not() -> None:
    assert Graphic(1, 0, 0, 0).posterized == 1
    assert Graphic(1, 1, 1, 0).posterized == 0
    assert Graphic(0, 0, 0, 0).posterized == 0
    grey = torch.linspace(-1, 1, 96).expand(1, 3, 96, 96).contiguous()
    few = Palette(torch.tensor([-0.8, 0.0, 0.8])[:, None].expand(3, 3), torch.full((3,), 1 / 3))
    flat = ColourMap.between(Palette.of(grey), few, posterized=1.0).apply(grey)
    distance = (flat[:, :1, 0] - torch.tensor([-0.8, 0.0, 0.8]).view(1, 3, 1)).abs().amin(1)
    assert float((distance < 0.05).float().mean()) > 0.8
