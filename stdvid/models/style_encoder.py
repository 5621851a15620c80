"""The style encoder: pictures of a style to a code of tokens (local) and a vector (statistics)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdvid.models import texture

STYLE_CROP_PX = 128
"""Side of the square crops that the encoder is trained on and reads a reference in."""

_WIDTHS = (48, 64, 96, 160)


@dataclass(frozen=True)
class StyleCode:
    """What the denoiser knows of a style: `tokens` [N, L, token_dim] to attend to, `vector` [N, vector_dim]."""

    tokens: Tensor
    vector: Tensor

    def expand(self, n: int) -> StyleCode:
        """The same code for a batch of `n`; only a code of batch 1 can be expanded."""
        return StyleCode(self.tokens.expand(n, -1, -1), self.vector.expand(n, -1))

    def scaled(self, scale: float, null: StyleCode) -> StyleCode:
        """This code, its vector `scale` times as far from the null style's: guidance without a second network call."""
        return StyleCode(self.tokens, torch.lerp(null.vector, self.vector, scale))

    def select(self, keep: Tensor, other: StyleCode) -> StyleCode:
        """This code where `keep` (bool [N]) is true, `other`'s elsewhere."""
        return StyleCode(
            torch.where(keep.view(-1, 1, 1), self.tokens, other.tokens),
            torch.where(keep.view(-1, 1), self.vector, other.vector),
        )


class _Level(nn.Module):
    """Two convolutions, the first halving the size; gives normalised features and the raw ones for statistics."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(width_in, width_out, 3, 2, 1)
        self.norm_down = nn.GroupNorm(8, width_out)
        self.conv = nn.Conv2d(width_out, width_out, 3, 1, 1)
        self.norm = nn.GroupNorm(8, width_out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.conv(F.silu(self.norm_down(self.down(x))))
        return F.silu(self.norm(raw)), raw


def _statistics(features: Tensor) -> Tensor:
    """Mean and log standard deviation over space: [N, C, H, W] -> [N, 2C], float32."""
    features = features.float()
    return torch.cat([features.mean((2, 3)), features.std((2, 3)).clamp(min=1e-4).log()], 1)


class StyleEncoder(nn.Module):
    """A small CNN trained with the denoiser: statistics of every level make the vector, the last map the tokens.

    The vector also hears the texture statistics, which no training had to find.
    """

    def __init__(self, token_dim: int = 128, vector_dim: int = 256) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3 * 4, _WIDTHS[0], 3, 1, 1)
        self.levels = nn.ModuleList(_Level(a, b) for a, b in itertools.pairwise(_WIDTHS))
        self.to_token = nn.Linear(_WIDTHS[-1], token_dim)
        self.token_norm = nn.LayerNorm(token_dim)
        self.to_vector = nn.Linear(2 * sum(_WIDTHS), vector_dim)
        self.texture_to_vector = nn.Linear(texture.SIZE, vector_dim, bias=False)
        self.texture_mean: Tensor
        self.texture_std: Tensor
        self.register_buffer("texture_mean", torch.zeros(texture.SIZE))
        self.register_buffer("texture_std", torch.ones(texture.SIZE))
        self.null_token = nn.Parameter(torch.zeros(1, 1, token_dim))
        self.null_vector = nn.Parameter(torch.zeros(1, vector_dim))

    def forward(self, crops: Tensor, description: Tensor | None = None) -> StyleCode:
        """Encode `crops`, float [N, 3, S, S] in [-1, 1], S a multiple of 16 from 64; gives (S/16)^2 tokens each.

        `description`: their texture statistics [N, texture.SIZE], where they are known already.
        """
        features = self.stem(F.pixel_unshuffle(crops, 2))
        statistics = [_statistics(features)]
        for level in self.levels:
            features, raw = level(features)
            statistics.append(_statistics(raw))
        tokens = self.token_norm(self.to_token(features.flatten(2).transpose(1, 2)))
        if description is None:
            description = texture.texture_statistics(crops)
        described = (description - self.texture_mean) / self.texture_std
        vector = self.to_vector(torch.cat(statistics, 1)) + self.texture_to_vector(described.clamp(-4, 4))
        return StyleCode(tokens, vector.to(tokens.dtype))

    @property
    def hears_texture(self) -> bool:
        """Whether the scale of the texture statistics has been set."""
        return bool((self.texture_std != 1).any())

    @torch.no_grad()
    def fit_texture(self, crops: Tensor) -> None:
        """Set the scale of the texture statistics to that of `crops`, [N, 3, S, S] of many pictures."""
        described = texture.texture_statistics(crops)
        self.texture_mean.copy_(described.mean(0))
        self.texture_std.copy_(described.std(0).clamp(min=0.01))

    def null(self, like: StyleCode) -> StyleCode:
        """The learned "no style" code, shaped like another (for classifier-free guidance)."""
        return StyleCode(self.null_token.expand_as(like.tokens), self.null_vector.expand_as(like.vector))


def style_crops(pictures: Tensor, per_side: int) -> Tensor:
    """A grid of squares, half the short side wide, of each of N pictures [N, 3, H, W]: [N per_side^2, 3, S, S].

    The same crops every time: reading a reference draws nothing at random.
    """
    height, width = pictures.shape[-2:]
    crops = []
    side = max(1, min(height, width) // 2)
    for i in range(per_side):
        for j in range(per_side):
            top, left = ((length - side) * k // max(1, per_side - 1) for length, k in ((height, i), (width, j)))
            crop = pictures[..., top : top + side, left : left + side]
            crops.append(F.interpolate(crop, (STYLE_CROP_PX,) * 2, mode="bilinear", antialias=True))
    return torch.stack(crops, 1).flatten(0, 1)


def read_style(encoder: StyleEncoder, pictures: Tensor, per_side: int) -> StyleCode:
    """The style of each of N pictures [N, 3, H, W], in `style_crops`: their tokens together, their vectors averaged."""
    crops = style_crops(pictures, per_side).contiguous(memory_format=torch.channels_last)
    code: StyleCode = encoder(crops)
    tokens = code.tokens.reshape(len(pictures), -1, code.tokens.shape[-1])
    return StyleCode(tokens, code.vector.view(len(pictures), -1, code.vector.shape[-1]).mean(1))
