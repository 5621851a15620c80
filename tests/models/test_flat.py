"""Flat areas of references, and frames made as flat."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from stdvid.models.flat import flatness, flatten, solid
from stdvid.models.palette import Palette, transfer_palette
from stdvid.models.stylizer import to_tensor


def drawing() -> Tensor:
    """Black lines with soft borders on white paper."""
    image = np.full((96, 96, 3), 255, np.uint8)
    for x in range(10, 90, 20):
        cv2.line(image, (x, 5), (x - 6, 90), (0, 0, 0), 3, cv2.LINE_AA)
    return to_tensor(image[None])


def canvas(level: float = 0.15) -> Tensor:
    """Uneven everywhere."""
    return (torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * level).clamp(-1, 1)


def test_prints_are_flat_and_canvas_is_not() -> None:
    assert flatness(drawing()) == 1
    assert flatness(canvas()) == 0
    half = drawing()
    half[..., 20:] = canvas()[..., 20:]
    assert 0 <= flatness(half) < 1
    assert flatness(torch.zeros(1, 3, 1, 1)) == 1


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
    mixed, pure = (transfer_palette(grey, Palette.of(grey), ink, 1.0, f) for f in (0.0, 1.0))

    def middle(picture: Tensor) -> float:
        return float((picture.abs() < 0.7).float().mean())

    assert middle(pure) < 0.7 * middle(mixed)
