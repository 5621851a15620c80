"""Style distance: how far the texture statistics of two pictures are apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def gram(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """Gram matrix over space, [N, C, H, W] -> [N, C, C], divided by H W (Gatys et al., arXiv 1508.06576, eq. 3).

    `weights` [N, H, W], not all 0: how much each position counts.
    """
    flat = features.flatten(2)
    if weights is None:
        return flat @ flat.mT / flat.shape[-1]
    weighted = flat * weights.flatten(1)[:, None]
    return weighted @ flat.mT / weights.sum((1, 2)).clamp(min=1e-6)[:, None, None]


def gram_distance(features: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
    """Mean over layers of |G - G_ref|_F / |G_ref|_F, shape [N]; 0 is the same texture.

    The two lists hold the same layers; spatial sizes may differ. Differentiable in `features`.
    """
    pairs = zip(features, reference, strict=True)
    return torch.stack([relative(gram(ours.float()), gram(theirs.float())) for ours, theirs in pairs]).mean(0)


def gram_distances(features: Sequence[Tensor], references: Sequence[Tensor]) -> Tensor:
    """`gram_distance` of each of N pictures to each of M references, [N, M]."""
    pairs = zip(features, references, strict=True)
    layers = [relative(gram(ours.float())[:, None], gram(theirs.float())[None]) for ours, theirs in pairs]
    return torch.stack(layers).mean(0)


def relative(g: Tensor, g_ref: Tensor) -> Tensor:
    """|G - G_ref|_F / |G_ref|_F of Gram matrices [..., C, C], shape [...]; differentiable in `g`."""
    difference = (g - g_ref).square().sum((-2, -1)).clamp(min=1e-12).sqrt()
    relative: Tensor = difference / (g_ref.norm(dim=(-2, -1)) + 1e-3)
    return relative


def sliced_wasserstein(features: Sequence[Tensor], reference: Sequence[Tensor], projections: int = 64) -> Tensor:
    """Sliced Wasserstein distance of feature distributions (arXiv 2006.07229, section 3), mean over layers, shape [N].

    Every position of a map [N, C, H, W] is a sample in C dimensions; both sides are projected on the same fixed random
    directions and compared at common quantiles, divided by the mean norm of the reference's samples. Unlike the Gram
    matrix it sees the whole distribution, not its second moments alone.
    """
    distances = []
    for ours, theirs in zip(features, reference, strict=True):
        generator = torch.Generator().manual_seed(ours.shape[1])
        directions = torch.randn(projections, ours.shape[1], generator=generator).to(ours.device)
        directions = directions / directions.norm(dim=1, keepdim=True)
        a, b = (_quantiles(directions @ f.flatten(2).float()) for f in (ours, theirs))
        scale = theirs.flatten(2).float().norm(dim=1).mean(1) / ours.shape[1] ** 0.5
        distances.append((a - b).abs().mean((1, 2)) / (scale + 1e-3))
    return torch.stack(distances).mean(0)


def _quantiles(samples: Tensor, count: int = 256) -> Tensor:
    """`count` evenly spaced quantiles of the last axis, [..., P] -> [..., count]."""
    # NumPy's sort is vectorised: on a CPU many times as fast as torch's
    order = torch.from_numpy(np.argsort(samples.detach().cpu().numpy(), -1)).to(samples.device)
    return F.interpolate(samples.gather(-1, order), count, mode="linear", align_corners=True)
