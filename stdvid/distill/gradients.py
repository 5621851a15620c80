"""Data-parallel training: every process has its own data, all take the same step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch import nn


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace each gradient by its mean over all processes; alone, nothing happens. All have the same parameters."""
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    mean = accelerator.reduce(torch.cat([g.flatten().float() for g in gradients]), "mean")
    for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
