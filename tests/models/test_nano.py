"""The network, its codec, the structure map, the palette and the style encoder."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stdvid.models.nano import Nano
from stdvid.models.patches import decode, encode
from stdvid.models.structure import gaussian_blur, structure_map
from stdvid.models.style_encoder import StyleCode, StyleEncoder


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_codec_is_lossless() -> None:
    images = rand(2, 3, 32, 48)
    latents = encode(images)
    assert latents.shape == (2, 48, 8, 12)
    assert torch.equal(decode(latents), images)


def test_network_answers_in_the_shape_of_its_latents(tiny_nano: Nano) -> None:
    x_t, structure = encode(rand(2, 3, 32, 64)), encode(rand(2, 1, 32, 64))
    code = tiny_nano.style(rand(2, 3, 64, 64))
    out = tiny_nano(x_t, torch.tensor([5, 700]), structure, code)
    assert out.shape == x_t.shape
    assert out.dtype == torch.float32
    assert bool(out.isfinite().all())


def test_network_listens_to_time_structure_and_style(tiny_nano: Nano) -> None:
    x_t, structure, t = encode(rand(1, 3, 32, 32)), encode(rand(1, 1, 32, 32)), torch.tensor([300])
    code = tiny_nano.style(rand(1, 3, 64, 64))
    plain = tiny_nano(x_t, t, structure, code)
    assert not torch.allclose(plain, tiny_nano(x_t, t + 400, structure, code), atol=1e-5)
    assert not torch.allclose(plain, tiny_nano(x_t, t, structure * 0, code), atol=1e-5)
    assert not torch.allclose(plain, tiny_nano(x_t, t, structure, tiny_nano.style.null(code)), atol=1e-6)


def test_style_code_has_a_token_for_each_sixteen_pixels(tiny_nano: Nano) -> None:
    encoder = tiny_nano.style
    assert isinstance(encoder, StyleEncoder)
    code = encoder(rand(2, 3, 64, 64))
    assert code.tokens.shape == (2, 16, 16)
    assert code.vector.shape == (2, 16)


def test_style_code_selects_and_expands() -> None:
    ones, zeros = StyleCode(torch.ones(2, 3, 4), torch.ones(2, 5)), StyleCode(torch.zeros(2, 3, 4), torch.zeros(2, 5))
    mixed = ones.select(torch.tensor([True, False]), zeros)
    assert mixed.tokens[:, 0, 0].tolist() == mixed.vector[:, 0].tolist() == [1, 0]
    wide = StyleCode(torch.ones(1, 3, 4), torch.ones(1, 5)).expand(4)
    assert wide.tokens.shape == (4, 3, 4)
    assert wide.vector.shape == (4, 5)


def test_structure_map_marks_edges_and_nothing_else() -> None:
    image = torch.full((1, 3, 64, 64), -0.5)
    image[..., 32:] = 0.5
    edges = structure_map(image)
    assert edges.shape == (1, 1, 64, 64)
    assert float(edges[..., 31:33].min()) > 0
    assert float(edges[..., :20].max()) < -0.9
    assert float(structure_map(torch.zeros(1, 3, 40, 40)).max()) < -0.9


def test_structure_map_forgets_contrast_and_colour() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[..., 32:] = 0.8
    faint, inverted = structure_map(image * 0.5), structure_map(-image)
    torch.testing.assert_close(structure_map(image), inverted)
    assert float((structure_map(image) - faint).abs().max()) < 0.5


@given(sigma=st.floats(0.3, 5.0), size=st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_blur_keeps_a_constant(sigma: float, size: int) -> None:
    image = torch.full((1, 2, size, size), 0.7)
    torch.testing.assert_close(gaussian_blur(image, sigma), image)
