"""Texture statistics: what they tell apart, and what they do not see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stdvid.models.style_encoder import StyleEncoder
from stdvid.models.texture import SIZE, texture_statistics


def stripes(angle: float, period_px: float = 8.0, shift: float = 0.0, side: int = 96) -> Tensor:
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    wave = torch.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period_px + shift)
    return (0.5 * wave).expand(1, 3, -1, -1)


def noise(seed: int, side: int = 96) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def distance(a: Tensor, b: Tensor) -> float:
    return float((texture_statistics(a) - texture_statistics(b)).abs().mean())


@pytest.mark.parametrize(
    "image", [torch.zeros(2, 3, 64, 64), torch.ones(2, 3, 64, 64), noise(0, 64).expand(2, -1, -1, -1)]
)
def test_finite_and_of_the_stated_size_for_any_picture(image: Tensor) -> None:
    described = texture_statistics(image)
    assert described.shape == (2, SIZE)
    assert bool(described.isfinite().all())
    torch.testing.assert_close(described[0], described[1])


def test_another_piece_of_the_same_texture_is_nearer_than_another_texture() -> None:
    same = distance(stripes(0.0), stripes(0.0, shift=2.0))
    assert distance(stripes(0.0), stripes(1.0)) > 3 * same
    assert distance(stripes(0.0), stripes(0.0, period_px=16.0)) > 3 * same
    assert distance(noise(0), stripes(0.0)) > 5 * distance(noise(0), noise(1))


def test_precision_of_the_network_does_not_reach_it() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        described = texture_statistics(noise(0))
    assert described.dtype is torch.float32
    torch.testing.assert_close(described, texture_statistics(noise(0)))


def test_fitted_encoder_hears_textures_at_unit_scale() -> None:
    with torch.random.fork_rng():
        encoder = StyleEncoder(16, 16)
    weight = torch.randn(16, SIZE, generator=torch.Generator().manual_seed(1))
    encoder.texture_to_vector.load_state_dict({"weight": weight})
    crops = torch.cat([noise(k, 128) * 0.1 * (k + 1) for k in range(6)] + [stripes(a, side=128) for a in (0, 1, 2)])
    encoder.fit_texture(crops)
    scaled = (texture_statistics(crops) - encoder.texture_mean) / encoder.texture_std
    torch.testing.assert_close(scaled.mean(0), torch.zeros(SIZE), atol=1e-4, rtol=0)
    assert float(scaled.std(0).max()) < 1.01
    with torch.no_grad():
        before = encoder(crops).vector
        encoder.texture_to_vector.weight.zero_()
        assert not torch.allclose(encoder(crops).vector, before)
    assert {"texture_mean", "texture_std"} <= set(encoder.state_dict())
