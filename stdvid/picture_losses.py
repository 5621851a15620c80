"""What a painted picture is to keep of its content, and to take of its reference besides texture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stdvid.models.structure import LUMA, structure_map

LOW_FREQUENCY_PX = 8
GRAIN_SCALES = 3
STROKE_STD = 0.4


def luminance(images: Tensor) -> Tensor:
    """[N, 3, H, W] -> [N, 1, H, W]."""
    return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def stroke_picture(images: Tensor) -> Tensor:
    """Luminance of mean 0 and standard deviation STROKE_STD, [N, 3, H, W] -> [N, 3, H, W]: strokes without palette."""
    luma = luminance(images)
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
    luma = luminance(images)
    kernel = images.new_tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    bands = []
    for _ in range(GRAIN_SCALES):
        bands.append(F.conv2d(luma, kernel).flatten(1).var(1).clamp(min=1e-4).log())
        luma = F.avg_pool2d(luma, 2)
    return torch.stack(bands, 1)
