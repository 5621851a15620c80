"""The losses of distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stdvid.models.structure import LUMA, structure_map

HUBER_C = 1e-3
LOW_FREQUENCY_PX = 8
GRAIN_SCALES = 3
STROKE_STD = 0.4
TEMPERATURE = 0.05


def pseudo_huber(prediction: Tensor, target: Tensor, c: float = HUBER_C) -> Tensor:
    """mean(sqrt(r^2 + c^2) - c), r = prediction - target (arXiv 2310.14189 eq. 7, and the STD loss of 2412.18945)."""
    return ((prediction - target).square() + c * c).sqrt().mean() - c


def contrastive_loss(distances: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Cross entropy of telling each picture's own reference from the others of the batch, by distances [N, N].

    InfoNCE (arXiv 1807.03748, eq. 4): a brush that is the same for every reference cannot be told.
    """
    return F.cross_entropy(-distances / temperature, torch.arange(len(distances), device=distances.device))


def stroke_picture(images: Tensor) -> Tensor:
    """Luminance of mean 0 and standard deviation STROKE_STD, [N, 3, H, W] -> [N, 3, H, W]: strokes without palette."""
    luma = (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    luma = luma - luma.mean((2, 3), keepdim=True)
    return (luma / (luma.std((2, 3), keepdim=True) + 0.05) * STROKE_STD).expand(-1, 3, -1, -1)


def structure_loss(images: Tensor, content: Tensor) -> Tensor:
    """Squared error of the structure maps of two batches [N, 3, H, W]."""
    return F.mse_loss(structure_map(images), structure_map(content))


def low_frequency_loss(images: Tensor, content: Tensor) -> Tensor:
    """Squared error of 8x8 block means: colours and light stay where the palette-matched content has them."""
    return F.mse_loss(F.avg_pool2d(images, LOW_FREQUENCY_PX), F.avg_pool2d(content, LOW_FREQUENCY_PX))


def grain_loss(images: Tensor, content: Tensor, references: Tensor) -> Tensor:
    """Squared error of log grain against the mean of content and references, batches [N, 3, H, W].

    Gram matrices alone reward a fine grid of dots in every picture; this says how fine and how strong it may be.
    """
    aim = (grain(content) + grain(references)) / 2
    return F.mse_loss(grain(images), aim)


def grain(images: Tensor) -> Tensor:
    """Log variance of the Laplacian of luminance at full, half and quarter size: [N, 3, H, W] -> [N, 3]."""
    luma = (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    kernel = images.new_tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    bands = []
    for _ in range(GRAIN_SCALES):
        bands.append(F.conv2d(luma, kernel).flatten(1).var(1).clamp(min=1e-4).log())
        luma = F.avg_pool2d(luma, 2)
    return torch.stack(bands, 1)
