"""Texture statistics: what a picture's strokes are like, measured by a fixed bank of filters.

Energy, sparseness and co-occurrence of oriented filter responses at several scales, and the distribution of colours:
the families of statistics from which textures can be synthesised (Portilla and Simoncelli, "A parametric texture model
based on joint statistics of complex wavelet coefficients", 2000). Nothing here is trained.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ORIENTATIONS = 6
SCALES = 4
_FILTER_PX = 7
_FLOOR = 1e-5

_OPPONENT = ((0.57, 0.57, 0.57), (0.85, -0.85, 0.0), (0.43, 0.43, -0.85))
"""Rows: lightness, red-green, yellow-blue."""

_PAIRS = ORIENTATIONS * (ORIENTATIONS - 1) // 2
SIZE = 15 + SCALES * (3 * ORIENTATIONS * 2 + _PAIRS)
"""Numbers in a description."""


def texture_statistics(images: Tensor) -> Tensor:
    """Describe `images`, float [N, 3, S, S] in [-1, 1], S >= 56: float32 [N, SIZE], finite for any picture."""
    with torch.autocast(images.device.type, enabled=False):  # logarithms of small numbers
        x = torch.einsum("ij,njhw->nihw", images.new_tensor(_OPPONENT, dtype=torch.float32), images.float())
        parts = [_colours(x)]
        bank = _oriented_filters().to(x)
        for _ in range(SCALES):
            parts.append(_strokes(x, bank))
            x = F.avg_pool2d(x, 2)
        return torch.cat(parts, 1)


def _colours(x: Tensor) -> Tensor:
    """Mean, log variance, correlation, skewness and log kurtosis of three channels, [N, 15]."""
    flat = x.flatten(2)
    mean = flat.mean(2, keepdim=True)
    covariance = (flat - mean) @ (flat - mean).mT / flat.shape[2]
    variance = covariance.diagonal(dim1=1, dim2=2).clamp(min=_FLOOR)
    correlation = covariance / (variance[:, :, None] * variance[:, None]).sqrt()
    z = (flat - mean) / variance.sqrt()[..., None]
    skewness, kurtosis = (z**3).mean(2).clamp(-3, 3), (z**4).mean(2).clamp(1, 20)
    return torch.cat([mean[..., 0], variance.log(), correlation[:, [0, 0, 1], [1, 2, 2]], skewness, kurtosis.log()], 1)


def _strokes(x: Tensor, bank: Tensor) -> Tensor:
    """Log energy and sparseness of each orientation and channel, and which orientations meet in lightness."""
    n, channels = x.shape[:2]
    responses = F.conv2d(x.flatten(0, 1)[:, None], bank)
    responses = responses.view(n, channels, ORIENTATIONS, 2, *responses.shape[2:])
    energy = responses.square().sum(3)  # of the even and the odd filter: free of phase; [N, C, orientation, h, w]
    magnitude = energy.sqrt()
    sparseness = magnitude.std((3, 4)) / (magnitude.mean((3, 4)) + 1e-3)
    light = magnitude[:, 0].flatten(2)
    light = light - light.mean(2, keepdim=True)
    light = light / (light.std(2, keepdim=True) + 1e-4)
    meeting = light @ light.mT / light.shape[2]
    i, j = torch.triu_indices(ORIENTATIONS, ORIENTATIONS, 1)
    log_energy = energy.mean((3, 4)).clamp(min=_FLOOR).log()
    return torch.cat([log_energy.flatten(1), sparseness.flatten(1), meeting[:, i, j]], 1)


def _oriented_filters() -> Tensor:
    """First and second derivatives of an elongated Gaussian, zero mean, norm 1: [2 ORIENTATIONS, 1, 7, 7]."""
    axis = torch.arange(_FILTER_PX, dtype=torch.float32) - _FILTER_PX // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    filters = []
    for orientation in range(ORIENTATIONS):
        angle = math.pi * orientation / ORIENTATIONS
        across, along = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        envelope = torch.exp(-(across**2) / (2 * 1.2**2) - along**2 / (2 * 2.0**2))
        for kernel in (-across * envelope, (across**2 / 1.2**2 - 1) * envelope):
            kernel = kernel - kernel.mean()
            filters.append(kernel / kernel.norm())
    return torch.stack(filters)[:, None]
