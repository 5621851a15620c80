"""Flat areas: how far a reference is made of them, and frames brought as far.

Prints, ink drawings and cel pictures are of few colours in plain areas. A photograph in their palette keeps its soft
shading and blur, which none of them has; so it is flattened first, as far as the reference is flat.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stdvid.models.structure import LUMA

PLAIN = 0.01
"""Luminance gradient a pixel, of values in [-1, 1], below which a place is plain."""

SOME, MUCH = 0.16, 0.29
"""Shares of plain places: canvas and brush leave less than SOME, prints and drawings have more than MUCH."""

EDGE_SIGMA_PX, EDGE_SIGMA = 20.0, 0.12
"""Reach of the edge-preserving filter, in pixels and in colours from 0 to 1."""


def flatness(reference: Tensor) -> float:
    """How far a picture, float [1, 3, H, W] in [-1, 1], is made of flat areas: 0 (a painting) to 1 (a print)."""
    luma = (reference * reference.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    sobel = reference.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).view(1, 1, 3, 3) / 8
    padded = F.pad(luma, (1, 1, 1, 1), mode="replicate")
    gradient = (F.conv2d(padded, sobel).square() + F.conv2d(padded, sobel.mT).square()).sqrt()
    share = float((gradient < PLAIN).float().mean())
    return min(1.0, max(0.0, (share - SOME) / (MUCH - SOME)))


def flatten(images: Tensor, amount: float) -> Tensor:
    """Smooth what lies between the edges of `images`, float [N, 3, H, W] in [-1, 1]; `amount` 0..1, 0 is no change.

    Domain transform (Gastal and Oliveira, "Domain transform for edge-aware image and video processing", 2011).
    """
    if amount == 0:
        return images
    pixels = ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    smooth = [
        cv2.edgePreservingFilter(
            np.ascontiguousarray(picture), flags=cv2.RECURS_FILTER, sigma_s=EDGE_SIGMA_PX, sigma_r=EDGE_SIGMA
        )
        for picture in pixels
    ]
    flat = torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2).to(images) / 127.5 - 1
    return torch.lerp(images, flat, amount)


def solid(image: Tensor, amount: float) -> Tensor:
    """Bring soft borders of lines and areas, float [1, 3, H, W], to one of their sides; `amount` 0..1.

    Toggle mapping (Kramer and Bruckner, "Iterations of a non-linear transformation for enhancement of digital images",
    1975): each place takes the colour of its darkest or of its brightest neighbour, whichever is nearer in light.
    """
    height, width = image.shape[-2:]
    for _ in range(2):
        near = F.unfold(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3).view(3, 9, -1)
        luma = torch.einsum("c,cnp->np", image.new_tensor(LUMA), near)
        (dark, darkest), (bright, brightest) = luma.min(0), luma.max(0)
        chosen = torch.where(bright - luma[4] < luma[4] - dark, brightest, darkest)
        toggled = near.gather(1, chosen.expand(3, 1, -1)).view(1, 3, height, width)
        image = torch.lerp(image, toggled, amount)
    return image
