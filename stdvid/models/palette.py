"""Palette transfer: move a picture's colours to a reference's by their mean and covariance.

The Monge-Kantorovich linear map is the transport of least displacement between two Gaussians, so colours that
already agree stay where they are (Pitie and Kokaram, "The linear Monge-Kantorovitch linear colour mapping", 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_RIDGE = 1e-4
"""Added to covariances: a flat picture has none, and must not blow up."""


@dataclass(frozen=True)
class Palette:
    """Mean [3] and covariance [3, 3] of RGB in [-1, 1], float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, images: Tensor) -> Palette:
        """Statistics over all pixels of `images`, float [N, 3, H, W] in [-1, 1]."""
        total, squares, count = 0, 0, images[:, 0].numel()
        for image in images.detach():  # one at a time: a window of frames in float64 is large
            pixels = image.flatten(1).double()
            total, squares = total + pixels.sum(1), squares + pixels @ pixels.mT
        mean = torch.as_tensor(total) / count
        covariance = torch.as_tensor(squares) / count - mean[:, None] * mean
        return cls(mean, covariance + _RIDGE * torch.eye(3, dtype=torch.float64, device=images.device))

    @classmethod
    def pooled(cls, palettes: Sequence[Palette]) -> Palette:
        """The palette of several pictures put together, each weighing the same."""
        means = torch.stack([p.mean for p in palettes])
        mean = means.mean(0)
        spread = (means - mean).mT @ (means - mean) / len(palettes)
        return cls(mean, torch.stack([p.covariance for p in palettes]).mean(0) + spread)


def _sqrtm(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = vectors @ torch.diag(values.clamp(min=1e-12).sqrt()) @ vectors.mT
    return root


def transfer_palette(images: Tensor, source: Palette, reference: Palette, amount: float = 1.0) -> Tensor:
    """Map `images`, float [N, 3, H, W] in [-1, 1], from `source` to `reference`; `amount` 0..1 of the way.

    Returns the same shape, clamped to [-1, 1]; amount 0 returns the input itself.
    """
    if amount == 0:
        return images
    root = _sqrtm(source.covariance)
    inverse_root = torch.linalg.inv(root)
    matrix = inverse_root @ _sqrtm(root @ reference.covariance @ root) @ inverse_root
    eye = torch.eye(3, dtype=torch.float64, device=matrix.device)
    matrix = ((1 - amount) * eye + amount * matrix).to(images)
    target_mean = ((1 - amount) * source.mean + amount * reference.mean).to(images)
    moved = torch.einsum("ij,njhw->nihw", matrix, images - source.mean.to(images).view(1, 3, 1, 1))
    return (moved + target_mean.view(1, 3, 1, 1)).clamp(-1, 1)
