"""The losses of distillation."""

from __future__ import annotations

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


def style_loss(network: nn.Module, images: Tensor, references: Tensor) -> Tensor:
    """Mean Gram distance of `images` [N, 3, H, W] to `references` [N, 3, P, P] by the features of `network`."""
    with torch.no_grad():
        target = network(references)
    return gram_distance(network(images), target).mean()


def structure_loss(images: Tensor, content: Tensor) -> Tensor:
    """Squared error of the structure maps of two batches [N, 3, H, W]."""
    return F.mse_loss(structure_map(images), structure_map(content))


def low_frequency_loss(images: Tensor, content: Tensor) -> Tensor:
    """Squared error of 8x8 block means: colours and light stay where the palette-matched content has them."""
    return F.mse_loss(F.avg_pool2d(images, LOW_FREQUENCY_PX), F.avg_pool2d(content, LOW_FREQUENCY_PX))
