"""Style distance: how far the texture statistics of two pictures are apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gram(features: Tensor) -> Tensor:
    """Gram matrix over space, [N, C, H, W] -> [N, C, C], divided by H W (Gatys et al., arXiv 1508.06576, eq. 3)."""
    flat = features.flatten(2)
    return flat @ flat.mT / flat.shape[-1]


def gram_distance(features: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
    """Mean over layers of |G - G_ref|_F / |G_ref|_F, shape [N]; 0 is the same texture.

    The two lists hold the same layers; spatial sizes may differ. Differentiable in `features`.
    """
    pairs = zip(features, reference, strict=True)
    return torch.stack([_relative(gram(ours.float()), gram(theirs.float())) for ours, theirs in pairs]).mean(0)


def gram_distances(features: Sequence[Tensor], references: Sequence[Tensor]) -> Tensor:
    """`gram_distance` of each of N pictures to each of M references, [N, M]."""
    pairs = zip(features, references, strict=True)
    layers = [_relative(gram(ours.float())[:, None], gram(theirs.float())[None]) for ours, theirs in pairs]
    return torch.stack(layers).mean(0)


def _relative(g: Tensor, g_ref: Tensor) -> Tensor:
    difference = (g - g_ref).square().sum((-2, -1)).clamp(min=1e-12).sqrt()
    relative: Tensor = difference / (g_ref.norm(dim=(-2, -1)) + 1e-3)
    return relative
