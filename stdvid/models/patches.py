"""Pixels moved to channels and back, by space-to-depth of 4x4: nano's lossless, free codec."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

PATCH_PX = 4
"""Side of the pixel block that becomes one latent position."""

SIZE_MULTIPLE_PX = 16
"""Working width and height must be multiples of this: the patch times two halvings in the network."""


def encode(images: Tensor) -> Tensor:
    """Pixels [N, C, H, W] to latents [N, 16 C, H/4, W/4]; lossless."""
    return F.pixel_unshuffle(images, PATCH_PX)


def decode(latents: Tensor) -> Tensor:
    """Inverse of `encode`."""
    return F.pixel_shuffle(latents, PATCH_PX)
