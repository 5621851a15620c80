"""The losses of distillation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

HUBER_C = 1e-3
TEMPERATURE = 0.05


def pseudo_huber(prediction: Tensor, target: Tensor, c: float = HUBER_C) -> Tensor:
    """mean(sqrt(r^2 + c^2) - c), r = prediction - target (arXiv 2310.14189 eq. 7, and the STD loss of 2412.18945)."""
    return ((prediction - target).square() + c * c).sqrt().mean() - c


def contrastive_loss(distances: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Cross entropy of telling each picture's own reference from the others of the batch, by distances [N, N].

    InfoNCE (arXiv 1807.03748, eq. 4): a brush that is the same for every reference cannot be told.
    """
    return F.cross_entropy(-distances / temperature, torch.arange(len(distances), device=distances.device))
