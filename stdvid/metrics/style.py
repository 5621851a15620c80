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
    distances = []
    for ours, theirs in zip(features, reference, strict=True):
        g, g_ref = gram(ours.float()), gram(theirs.float())
        difference = ((g - g_ref) ** 2).sum((1, 2)).clamp(min=1e-12).sqrt()
        distances.append(difference / (g_ref.norm(dim=(1, 2)) + 1e-3))
    return torch.stack(distances).mean(0)
