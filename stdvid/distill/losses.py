"""The losses of distillation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stdvid.metrics.style import gram_distance
from stdvid.models.structure import structure_map

HUBER_C = 1e-3
LOW_FREQUENCY_PX = 8


def pseudo_huber(prediction: Tensor, target: Tensor, c: float = HUBER_C) -> Tensor:
    """mean(sqrt(r^2 + c^2) - c), r = prediction - target (arXiv 2310.14189 eq. 7, and the STD loss of 2412.18945)."""
    return ((prediction - target).square() + c * c).sqrt().mean() - c


def style_loss(networks: Sequence[nn.Module], images: Tensor, references: Tensor) -> Tensor:
    """Gram distance of `images` [N, 3, H, W] to `references` [N, 3, P, P], mean over batch and networks."""
    total = images.new_zeros(())
    for network in networks:
        with torch.no_grad():
            target = network(references)
        total = total + gram_distance(network(images), target).mean()
    return total / len(networks)


def structure_loss(images: Tensor, content: Tensor) -> Tensor:
    """Squared error of the structure maps of two batches [N, 3, H, W]."""
    return F.mse_loss(structure_map(images), structure_map(content))


def low_frequency_loss(images: Tensor, content: Tensor) -> Tensor:
    """Squared error of 8x8 block means: colours and light stay where the palette-matched content has them."""
    return F.mse_loss(F.avg_pool2d(images, LOW_FREQUENCY_PX), F.avg_pool2d(content, LOW_FREQUENCY_PX))
