"""The structure map: where the edges of a picture are, not what they look like."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

DEFAULT_BLUR_PX = 1.2
"""Standard deviation of the blur before the edge filter; training draws it from .8 to 2.5."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luminance (ITU-R BT.601)."""


def gaussian_blur(x: Tensor, sigma_px: float) -> Tensor:
    """Separable Gaussian blur of float [N, C, H, W], reflected at the border (edge-repeated when too small for it).

    On a CPU by OpenCV, which takes a fifth of the time, where no gradient is wanted.
    """
    radius = math.ceil(2.5 * sigma_px)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=x.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma_px**2))
    kernel = (kernel / kernel.sum()).to(x.dtype)
    channels, reflected = x.shape[1], radius < min(x.shape[-2:])
    if x.device.type == "cpu" and x.dtype == torch.float32 and not x.requires_grad:
        return _filtered(x, kernel.numpy(), cv2.BORDER_REFLECT_101 if reflected else cv2.BORDER_REPLICATE)
    x = F.pad(x, (radius,) * 4, mode="reflect" if reflected else "replicate")
    x = F.conv2d(x, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(x, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def _filtered(x: Tensor, kernel: NDArray[np.float32], border: int) -> Tensor:
    """[N, C, H, W], rows and columns filtered by a `kernel` [n], n odd, beyond a `border` of OpenCV's."""
    planes = x.reshape(-1, *x.shape[-2:]).numpy()
    return torch.from_numpy(
        np.stack([cv2.sepFilter2D(plane, cv2.CV_32F, kernel, kernel, borderType=border) for plane in planes])
    ).view(x.shape)


def luminance(images: Tensor) -> Tensor:
    """[N, 3, H, W] -> [N, 1, H, W]."""
    return (images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def gradient(luma: Tensor) -> Tensor:
    """Sobel's gradient magnitude a pixel of [N, 1, H, W], the same shape; at least 1e-4, where its root is smooth."""
    padded = F.pad(luma, (1, 1, 1, 1), mode="replicate")
    across = _smoothed(padded[..., 2:] - padded[..., :-2])
    down = _smoothed((padded[..., 2:, :] - padded[..., :-2, :]).mT).mT
    return (across.square() + down.square() + 1e-8).sqrt()


def _smoothed(rows: Tensor) -> Tensor:
    """Each row with its neighbours, weighted 1, 2, 1 of 8: [..., H + 2, W] -> [..., H, W]."""
    return (rows[..., :-2, :] + 2 * rows[..., 1:-1, :] + rows[..., 2:, :]) / 8


def structure_map(image: Tensor, blur_px: float = DEFAULT_BLUR_PX) -> Tensor:
    """Edges of `image`, float [N, 3, H, W] in [-1, 1], as float [N, 1, H, W] in [-1, 1]; -1 is flat.

    Luminance, blur, Sobel magnitude divided by its local mean, tanh: the strength of an edge relative to its
    neighbourhood, so contrast and brushwork of the source are mostly gone.
    """
    magnitude = gradient(gaussian_blur(luminance(image), blur_px))
    local_mean = gaussian_blur(magnitude, 8.0) + 0.02
    return torch.tanh(0.7 * magnitude / local_mean) * 2 - 1
