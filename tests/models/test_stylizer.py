"""Around the network at inference: reading styles, padding, conditions, guidance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stdvid.diffusion.schedule import cosine
from stdvid.models.nano import Nano
from stdvid.models.nano_stylizer import CANVAS, NanoStylizer
from stdvid.models.patches import decode
from stdvid.models.precision import fast_dtype
from stdvid.models.style_encoder import style_crops
from stdvid.models.stylizer import to_frames, to_tensor

TOLERANCE = 2e-5 if fast_dtype(torch.device("cpu")) is torch.float32 else 5e-2
"""Of a network call against one in float32; bfloat16 keeps 8 bits."""


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_pixels_survive_the_way_to_tensors_and_back() -> None:
    frames = picture(8, 12)[None]
    back = to_frames(to_tensor(frames))
    assert back.dtype == np.float32
    np.testing.assert_array_equal(np.rint(back).astype(np.uint8), frames)


@pytest.mark.parametrize(("height", "width"), [(16, 32), (17, 30), (1, 1), (33, 64), (153, 271)])
def test_padding_surrounds_the_picture_and_comes_off_again(height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    padded = CANVAS.pad(images)
    assert padded.shape[-2] % 16 == padded.shape[-1] % 16 == 0
    assert 32 <= padded.shape[-2] - height < 48
    assert torch.equal(CANVAS.unpad(padded, height, width), images)


def test_padding_mirrors_what_is_large_enough_and_repeats_the_border_of_the_rest() -> None:
    images = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(CANVAS.pad(images)[..., 15, 16:-16], images[..., 1, :])
    small = images[..., :8, :8]
    assert torch.equal(CANVAS.pad(small)[..., 0, 16:24], small[..., 0, :])


def test_a_style_is_scaled_from_no_style_on_its_way_and_beyond(tiny_nano: Nano) -> None:
    stylizer = NanoStylizer(tiny_nano, cosine())
    torch.nn.init.normal_(tiny_nano.style.null_vector, generator=torch.Generator().manual_seed(0))
    null, one = tiny_nano.style.null_vector, stylizer.read_style([picture(40, 60)]).code
    for scale in (0.0, 0.5, 1.0, 2.0):
        code = stylizer.read_style([picture(40, 60)], scale).code
        torch.testing.assert_close(code.vector, null + scale * (one.vector - null))
        assert torch.equal(code.tokens, one.tokens)


@pytest.mark.parametrize("shape", [(64, 64), (50, 200), (200, 50), (7, 9)])
def test_style_crops_cover_any_picture(shape: tuple[int, int]) -> None:
    reference = torch.zeros(1, 3, *shape)
    reference[..., -1] = 1.0
    crops = style_crops(reference, 3)
    assert crops.shape == (9, 3, 128, 128)
    assert float(crops.max()) > 0.5  # the right border is seen


def test_reading_a_style_is_deterministic_and_several_make_one(tiny_nano: Nano) -> None:
    stylizer = NanoStylizer(tiny_nano, cosine())
    a, b = picture(40, 60), picture(80, 50, 1)
    one, again, both = stylizer.read_style([a]), stylizer.read_style([a]), stylizer.read_style([a, b])
    assert torch.equal(one.code.tokens, again.code.tokens)
    assert both.code.tokens.shape[1] == 2 * one.code.tokens.shape[1]
    middle = (one.code.vector + stylizer.read_style([b]).code.vector) / 2
    torch.testing.assert_close(both.code.vector, middle)


def test_colour_zero_keeps_the_source_and_one_takes_the_reference(tiny_nano: Nano) -> None:
    stylizer = NanoStylizer(tiny_nano, cosine())
    frames = to_tensor(picture(32, 32)[None]) * 0.3
    style = stylizer.read_style([np.full((40, 40, 3), 200, np.uint8)])
    kept = CANVAS.unpad(decode(stylizer.condition(frames, style, 0.0).x_0), 32, 32)
    moved = CANVAS.unpad(decode(stylizer.condition(frames, style, 1.0).x_0), 32, 32)
    torch.testing.assert_close(kept, frames)
    assert float((moved.mean() - (200 / 127.5 - 1)).abs()) < 0.02


def test_guidance_one_is_the_plain_network(tiny_nano: Nano) -> None:
    stylizer = NanoStylizer(tiny_nano, cosine())
    condition = stylizer.condition(to_tensor(picture(32, 32)[None]), stylizer.read_style([picture(40, 40, 1)]), 1.0)
    x, t = torch.randn(condition.x_0.shape, generator=torch.Generator().manual_seed(0)), torch.tensor([400])
    plain = stylizer.denoiser(condition)(x, t)
    direct = tiny_nano(x, t, condition.told.structure, condition.told.code).clamp(-1.1, 1.1)
    torch.testing.assert_close(plain, direct, atol=TOLERANCE, rtol=0)
    assert plain.dtype is torch.float32
    assert not torch.allclose(plain, stylizer.denoiser(condition, 3.0)(x, t), atol=TOLERANCE)


def test_a_frame_does_not_depend_on_its_batch(tiny_nano: Nano) -> None:
    stylizer = NanoStylizer(tiny_nano, cosine())
    frames = to_tensor(np.stack([picture(32, 32, s) for s in (0, 1, 2)]))
    style = stylizer.read_style([picture(40, 40, 3)])
    x, t = torch.randn(3, 48, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([400])
    look = stylizer.look(frames, style, 1.0)
    together = stylizer.denoiser(stylizer.condition(frames, style, 1.0, look))(x, t.expand(3))
    alone = stylizer.denoiser(stylizer.condition(frames[1:2], style, 1.0, look))(x[1:2], t)
    torch.testing.assert_close(together[1:2], alone, atol=TOLERANCE, rtol=0)
