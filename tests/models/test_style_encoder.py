"""The style encoder: tokens and vectors of the right shape, batches that do not mix, codes put together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stdvid.models import texture
from stdvid.models.style_encoder import StyleCode, StyleEncoder


@pytest.fixture
def encoder() -> StyleEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return StyleEncoder(token_dim=8, vector_dim=12)


def crops(n: int, side: int = 64, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(("side", "tokens"), [(64, 16), (80, 25), (128, 64)])
def test_one_token_for_sixteen_pixels_squared_each_normalised(encoder: StyleEncoder, side: int, tokens: int) -> None:
    code = encoder(crops(2, side))
    assert code.tokens.shape == (2, tokens, 8)
    assert code.vector.shape == (2, 12)
    torch.testing.assert_close(code.tokens.mean(-1), torch.zeros(2, tokens), atol=1e-5, rtol=0)
    torch.testing.assert_close(code.tokens.var(-1, correction=0), torch.ones(2, tokens), atol=1e-2, rtol=0)


def test_pictures_of_a_batch_do_not_mix(encoder: StyleEncoder) -> None:
    images = crops(3)
    together, alone = encoder(images), encoder(images[1:2])
    torch.testing.assert_close(together.tokens[1:2], alone.tokens, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together.vector[1:2], alone.vector, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together.vector[0], together.vector[1], atol=1e-3)


def test_every_weight_learns_and_only_dropped_styles_teach_the_null_code(encoder: StyleEncoder) -> None:
    code = encoder(crops(2))
    (code.tokens.square().sum() + code.vector.sum()).backward()
    silent = {name for name, p in encoder.named_parameters() if p.grad is None}
    assert silent == {"null_token", "null_vector"}
    null = encoder.null(code)
    keep = torch.tensor([True, False])
    mixed = StyleCode(code.tokens.detach(), code.vector.detach()).select(keep, null)
    (mixed.tokens.sum() + mixed.vector.sum()).backward()
    assert encoder.null_token.grad is not None
    assert encoder.null_token.grad.unique().tolist() == [16]  # one picture of two, 16 tokens
    assert encoder.null_vector.grad is not None
    assert encoder.null_vector.grad.unique().tolist() == [1]


def test_the_null_code_is_the_same_for_every_style(encoder: StyleEncoder) -> None:
    small, large = encoder.null(encoder(crops(1))), encoder.null(encoder(crops(2, 128)))
    assert small.tokens.shape == (1, 16, 8)
    assert large.tokens.shape == (2, 64, 8)
    assert torch.equal(large.tokens[:, :1].expand(-1, 16, -1)[:1], small.tokens)
    assert torch.equal(large.vector[1:], small.vector)


def test_a_batch_of_several_cannot_be_expanded(encoder: StyleEncoder) -> None:
    code = encoder(crops(2))
    with pytest.raises(RuntimeError, match="expanded size"):
        code.expand(3)
    wide = encoder(crops(1)).expand(3)
    assert torch.equal(wide.vector[0], wide.vector[2])


def test_select_takes_whole_codes_from_either_side(encoder: StyleEncoder) -> None:
    a, b = encoder(crops(4)), encoder(crops(4, seed=1))
    keep = torch.tensor([True, False, False, True])
    mixed = a.select(keep, b)
    for i, ours in enumerate(keep.tolist()):
        assert torch.equal(mixed.tokens[i], (a if ours else b).tokens[i])
        assert torch.equal(mixed.vector[i], (a if ours else b).vector[i])


def test_textures_that_never_vary_are_not_blown_up(encoder: StyleEncoder) -> None:
    encoder.fit_texture(crops(1).expand(5, -1, -1, -1))
    assert encoder.texture_std.unique().tolist() == pytest.approx([0.01])
    torch.testing.assert_close(encoder.texture_mean, texture.texture_statistics(crops(1))[0])
    other = encoder(crops(1, seed=5) * 0.1)
    assert bool(other.vector.isfinite().all())
    with torch.no_grad():  # far from the mean a statistic counts as four standard deviations, not more
        encoder.texture_to_vector.weight.fill_(1)
        loud = encoder(crops(1, seed=5) * 0.1).vector
        encoder.texture_to_vector.weight.zero_()
        heard = loud - encoder(crops(1, seed=5) * 0.1).vector
    assert float(heard.abs().max()) <= 4 * texture.SIZE + 1e-2
