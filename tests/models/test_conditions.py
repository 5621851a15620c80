"""What a window is denoised under: crops, borders, palettes and the null style."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stdvid.diffusion.schedule import cosine
from stdvid.models.nano import Nano
from stdvid.models.nano_stylizer import CANVAS, NanoStylizer
from stdvid.models.palette import Palette
from stdvid.models.style_encoder import style_crops
from stdvid.models.stylizer import to_frames, to_tensor


def picture(height: int, width: int, seed: int = 0, low: int = 0, high: int = 256) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(low, high, (height, width, 3), np.uint8)


@pytest.fixture
def stylizer(tiny_nano: Nano) -> NanoStylizer:
    return NanoStylizer(tiny_nano, cosine())


@pytest.mark.parametrize(("value", "expected"), [(0, -1.0), (255, 1.0), (51, -0.6), (204, 0.6)])
def test_pixel_values_by_hand(value: int, expected: float) -> None:
    tensor = to_tensor(np.full((1, 2, 3, 3), value, np.uint8))
    assert tensor.shape == (1, 3, 2, 3)
    assert tensor.unique().tolist() == pytest.approx([expected])


def test_views_are_taken_and_what_is_out_of_range_is_cut_off() -> None:
    frames = picture(6, 8)[None]
    mirrored = frames[:, ::-1, ::2]
    assert torch.equal(to_tensor(mirrored), to_tensor(mirrored.copy()))
    assert to_frames(torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0]).view(5, 1, 1, 1).expand(-1, 3, -1, -1)).tolist() == [
        [[[v] * 3]] for v in (0, 0, 127.5, 255, 255)
    ]


@given(height=st.integers(1, 70), width=st.integers(1, 70))
@settings(max_examples=25, deadline=None)
def test_the_border_is_numpys_mirror(height: int, width: int) -> None:
    images = torch.arange(2.0 * height * width).view(1, 2, height, width)
    padded = CANVAS.pad(images)
    right, bottom = padded.shape[-1] - width - 16, padded.shape[-2] - height - 16
    assert padded.shape[-1] % 16 == padded.shape[-2] % 16 == 0
    assert 16 <= min(right, bottom) <= max(right, bottom) < 32
    mode = "reflect" if right < width and bottom < height else "edge"
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), (16, bottom), (16, right)), mode)  # type: ignore[call-overload]
    assert np.array_equal(padded.numpy(), expected)
    assert torch.equal(CANVAS.unpad(padded, height, width), images)


def test_crops_stand_where_they_should() -> None:
    ramp = torch.linspace(-1, 1, 200).expand(1, 3, 100, 200)
    crops = style_crops(ramp, 3)  # squares of 50 px, left at 0, 75 and 150
    means = crops.mean((1, 2, 3)).view(3, 3)
    expected = torch.stack([ramp[0, 0, 0, left : left + 50].mean() for left in (0, 75, 150)])
    torch.testing.assert_close(means, expected.expand(3, 3), atol=1e-4, rtol=0)


def test_the_palette_weighs_each_reference_the_same(stylizer: NanoStylizer) -> None:
    large, small = picture(80, 90, 0, 0, 80), picture(20, 20, 1, 170, 256)
    both = stylizer.read_style([large, small]).palette
    parts = [Palette.of(to_tensor(image[None])) for image in (large, small)]
    torch.testing.assert_close(both.shares, torch.cat([part.shares for part in parts]) / 2)
    torch.testing.assert_close(both.colours, torch.cat([part.colours for part in parts]))


def test_structure_comes_from_the_source_whatever_the_colours_become(stylizer: NanoStylizer) -> None:
    style = stylizer.read_style([picture(40, 40, 3)])
    frames = to_tensor(picture(24, 40)[None])
    plain, coloured = (stylizer.condition(frames, style, color) for color in (0.0, 1.0))
    assert plain.x_0.shape == (1, 48, 16, 20)
    assert plain.told.structure.shape == (1, 16, 16, 20)
    assert torch.equal(plain.told.structure, coloured.told.structure)
    assert not torch.allclose(plain.x_0, coloured.x_0)
    assert plain.told.code is style.code


def test_a_given_look_replaces_that_of_the_frames(stylizer: NanoStylizer) -> None:
    style = stylizer.read_style([picture(40, 40, 3, 60, 200)])
    frames = to_tensor(picture(24, 24, 0, 100, 140)[None])
    look = stylizer.look(frames, style, 1.0)
    own, same = stylizer.condition(frames, style, 1.0), stylizer.condition(frames, style, 1.0, look)
    assert torch.equal(own.x_0, same.x_0)
    left = stylizer.condition(frames, style, 0.0)
    there = style.look(style.palette)  # hardly anything moves
    neutral = stylizer.condition(frames, style, 1.0, there)
    assert float((neutral.x_0 - left.x_0).abs().mean()) < 0.2 * float((own.x_0 - left.x_0).abs().mean())


def test_without_guidance_only_the_null_style_is_left(stylizer: NanoStylizer) -> None:
    frames, t = to_tensor(picture(16, 16)[None]), torch.tensor([300])
    x = torch.randn(1, 48, 12, 12, generator=torch.Generator().manual_seed(0))
    a, b = (stylizer.condition(frames, stylizer.read_style([picture(40, 40, s)]), 0.0) for s in (1, 2))
    torch.testing.assert_close(stylizer.denoiser(a, 0.0)(x, t), stylizer.denoiser(b, 0.0)(x, t))
    assert not torch.allclose(stylizer.denoiser(a, 1.0)(x, t), stylizer.denoiser(a, 0.0)(x, t), atol=1e-6)


def test_estimates_are_kept_near_the_range_of_pictures(stylizer: NanoStylizer) -> None:
    conv_out = stylizer.model.unet.conv_out
    conv_out.weight.mul_(1000)
    condition = stylizer.condition(to_tensor(picture(16, 16)[None]), stylizer.read_style([picture(40, 40)]), 0.0)
    x = torch.randn(1, 48, 12, 12, generator=torch.Generator().manual_seed(0))
    out = stylizer.denoiser(condition)(x, torch.tensor([500]))
    assert (float(out.min()), float(out.max())) == pytest.approx((-1.1, 1.1))
