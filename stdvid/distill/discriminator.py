"""A projected discriminator: small trained heads on the maps of a frozen feature network, EfficientNet-lite or DINOv2.

Heads and their conditioning follow StyleGAN-T (arXiv 2301.09515, section 3.2) for convolutional maps: spectral norm,
local batch norm, and the product of the features with a projection of the condition, here the style vector.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from stdvid.metrics.dino import DinoFeatures
from stdvid.metrics.features import BLOCKS, LiteFeatures
from stdvid.models.parts import at_home_folder
from stdvid.models.sources import is_hub_id

WIDTH = 32
CONDITION_WIDTH = 32
VIRTUAL_BATCH = 8
SHIFT_SHARE, CUTOUT_SHARE = 0.125, 0.4


class LocalBatchNorm(nn.Module):
    """Batch norm over groups of VIRTUAL_BATCH samples, or over a batch that is no multiple; no running statistics."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        groups = len(x) // VIRTUAL_BATCH if len(x) % VIRTUAL_BATCH == 0 else 1
        grouped = x.view(groups, -1, *x.shape[1:])
        mean = grouped.mean((1, 3, 4), keepdim=True)
        variance = grouped.var((1, 3, 4), keepdim=True, unbiased=False)
        normal = ((grouped - mean) * (variance + 1e-5).rsqrt()).view_as(x)
        return normal * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class Head(nn.Module):
    """Logits of one feature map under a condition."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.enter, self.enter_norm = spectral_norm(nn.Conv2d(channels, WIDTH, 1)), LocalBatchNorm(WIDTH)
        self.mix, self.mix_norm = spectral_norm(nn.Conv2d(WIDTH, WIDTH, 3, 1, 1)), LocalBatchNorm(WIDTH)
        self.leave = spectral_norm(nn.Conv2d(WIDTH, CONDITION_WIDTH, 1))
        self.project = nn.Linear(condition_dim, CONDITION_WIDTH)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """`features` [N, C, H, W], `condition` [N, D] -> logits [N, H W]."""
        x = F.leaky_relu(self.enter_norm(self.enter(features)), 0.2)
        x = (x + F.leaky_relu(self.mix_norm(self.mix(x)), 0.2)) / math.sqrt(2)
        wanted = self.project(condition)[:, :, None, None]
        logits: Tensor = (self.leave(x) * wanted).sum(1) / math.sqrt(CONDITION_WIDTH)
        return logits.flatten(1)


class Discriminator(nn.Module):
    """One head for each map of a frozen network; only the heads are trained and kept."""

    def __init__(self, condition_dim: int, network: str = "lite1") -> None:
        """`network`: lite0, lite1 or lite2, else a folder or hub id of a DINOv2 model, which was pulled.

        Raises UsageError or ModelError if it cannot be had.
        """
        super().__init__()
        frozen = (
            LiteFeatures(network)
            if network in BLOCKS
            else DinoFeatures(at_home_folder(network) if is_hub_id(network) else network)
        )
        with torch.no_grad():
            widths = [m.shape[1] for m in frozen(torch.zeros(1, 3, 64, 64))]
        self.heads = nn.ModuleList(Head(width, condition_dim) for width in widths)
        self._frozen = [frozen]  # in a list: no part of parameters and state

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of `images`, float [N, 3, H, W]."""
        network = self._frozen[0]
        if next(network.parameters()).device != images.device:
            network.to(images.device)
        return [m.float() for m in network(images)]

    def forward(self, features: list[Tensor], condition: Tensor) -> Tensor:
        """Logits of all heads and positions, [N, L]."""
        return torch.cat([head(m, condition).float() for head, m in zip(self.heads, features, strict=True)], 1)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift and cut out, differentiably (DiffAugment, arXiv 2006.10738); colours stay, they are part of a style."""
    n, _, height, width = images.shape
    dy, dx = (round(side * SHIFT_SHARE) for side in (height, width))
    padded = F.pad(images, (dx, dx, dy, dy))
    cut_h, cut_w = round(height * CUTOUT_SHARE), round(width * CUTOUT_SHARE)
    out = []
    for k in range(n):
        top, left, y, x = (
            int(torch.randint(high + 1, (), generator=generator)) for high in (2 * dy, 2 * dx, height, width)
        )
        mask = images.new_ones(1, height, width)
        mask[:, max(0, y - cut_h // 2) : y + cut_h // 2, max(0, x - cut_w // 2) : x + cut_w // 2] = 0
        out.append(padded[k, :, top : top + height, left : left + width] * mask)
    return torch.stack(out)


def discriminator_loss(real: Tensor, fake: Tensor, kind: str) -> Tensor:
    """Of logits: "hinge" (arXiv 1705.02894) or "wgan" (arXiv 1701.07875)."""
    real_loss = F.relu(1 - real).mean() if kind == "hinge" else -real.mean()
    return real_loss + fake_loss(fake, kind)


def fake_loss(fake: Tensor, kind: str) -> Tensor:
    """The part of `discriminator_loss` of what should be judged fake."""
    return F.relu(1 + fake).mean() if kind == "hinge" else fake.mean()


def gradient_penalty(logits: Tensor, features: list[Tensor]) -> Tensor:
    """R1: squared norm of the gradient of the real logits by the features that the heads see (arXiv 1801.04406)."""
    gradients = torch.autograd.grad(logits.sum(), features, create_graph=True)
    return torch.stack([g.square().flatten(1).sum(1).mean() for g in gradients]).sum()
