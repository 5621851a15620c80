"""Noise schedules and the time grids that training and sampling walk.

A variance-preserving schedule maps an integer time t to (alpha, sigma) with alpha^2 + sigma^2 = 1.
Time -1 is the clean image: (1, 0). Times run from T-1 (almost pure noise) down to -1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stdvid.errors import UsageError

CLEAN = -1
"""The time of the clean image, one below the first noisy time."""

SOLVER_STEPS = 50
"""N of the solver grid: the teacher's trajectory is walked in N equal steps over all of [0, T) (arXiv 2412.18945)."""


@dataclass(frozen=True)
class Schedule:
    """alpha(t) and sigma(t) of a variance-preserving diffusion, t = -1, 0, ..., T-1.

    ``alphas_cumprod`` is float64 [T], the products of (1 - beta), so alpha(t)^2 in the notation of the paper.
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        a = self.alphas_cumprod
        if a.ndim != 1 or not bool(((a > 0) & (a < 1)).all()) or not bool((a.diff() < 0).all()):
            raise UsageError(
                f"alphas_cumprod of shape {list(a.shape)} is not a schedule; a falling 1-D sequence in (0, 1) is"
            )

    @property
    def train_steps(self) -> int:
        """T, the number of noisy times."""
        return int(self.alphas_cumprod.shape[0])

    def alpha_sigma(self, t: Tensor, ndim: int = 4) -> tuple[Tensor, Tensor]:
        """Look up alpha and sigma, float32, each of shape [N, 1, ...] with `ndim` axes, for times `t` of shape [N]."""
        squared = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod]).to(t.device)[t.long() + 1]
        shape = (-1,) + (1,) * (ndim - 1)
        return squared.sqrt().float().view(shape), (1 - squared).sqrt().float().view(shape)

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha(t) x_0 + sigma(t) noise; `x_0`, `noise`: [N, C, H, W], `t`: [N]."""
        alpha, sigma = self.alpha_sigma(t, x_0.ndim)
        return alpha * x_0 + sigma * noise


def cosine(train_steps: int = 1000) -> Schedule:
    """Squared-cosine schedule (Nichol and Dhariwal, arXiv 2102.09672, eq. 17), betas capped at .999."""
    t = torch.linspace(0, 1, train_steps + 1, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    return Schedule(torch.cumprod((f[1:] / f[:-1]).clamp(min=1e-3), 0))


def scaled_linear(train_steps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> Schedule:
    """Schedule of Stable Diffusion: betas linear in their square root."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, train_steps, dtype=torch.float64) ** 2
    return Schedule(torch.cumprod(1 - betas, 0))


SCHEDULES = {"cosine": cosine, "scaled_linear": scaled_linear}


def grid_time(i: int | Tensor, train_steps: int = 1000, solver_steps: int = SOLVER_STEPS) -> int | Tensor:
    """t_i = i T/N - 1: the time of index i of the solver grid; index 0 is the clean image."""
    return i * train_steps // solver_steps - 1


def start_index(strength: float, solver_steps: int = SOLVER_STEPS) -> int:
    """i_eta = ceil(N eta): where a trajectory of strength eta in (0, 1] starts on the solver grid."""
    if not 0 < strength <= 1:
        raise UsageError(f"strength {strength:g} is out of range; allowed is 0 < strength <= 1")
    return math.ceil(round(solver_steps * strength, 9))


def published_times(
    strength: float, steps: int, train_steps: int = 1000, solver_steps: int = SOLVER_STEPS
) -> list[int]:
    """The times of the published recipe: of `steps` times spread over the whole solver grid the last int(steps *
    strength), and then time 0, not the clean image.

    It is what an image-to-image pipeline of diffusers walks with TCD's scheduler (arXiv 2402.19159): 11 steps of
    strength .75 are 8, from 739. Raises UsageError if no step is left, or there are more than the grid has.
    """
    taken = min(int(steps * strength), steps)
    if not 1 <= taken <= steps <= solver_steps:
        raise UsageError(
            f"{steps} published steps of strength {strength:g} are {taken}; allowed are 1 to {solver_steps} steps, and "
            "one left at least; raise --steps or --strength"
        )
    grid = [i * train_steps // solver_steps - 1 for i in range(solver_steps, 0, -1)]
    return [*[grid[k * solver_steps // steps] for k in range(steps)][steps - taken :], 0]


def sampling_times(start: int, steps: int) -> list[int]:
    """The `steps` + 1 times of a sampler, from exactly `start` down to the clean image, evenly spaced.

    Raises UsageError if there are fewer times than steps.
    """
    if not 1 <= steps <= start + 1:
        raise UsageError(f"{steps} steps from time {start}; allowed are 1 to {start + 1}")
    return [round((start + 1) * (1 - k / steps)) - 1 for k in range(steps + 1)]
