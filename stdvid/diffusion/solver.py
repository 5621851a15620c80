"""One step along a trajectory, t -> s."""

from __future__ import annotations

from torch import Tensor

from stdvid.diffusion.denoiser import eps_from_x0
from stdvid.diffusion.schedule import CLEAN, Schedule


def jump(schedule: Schedule, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """DDIM step (arXiv 2010.02502 eq. 12, no noise): x_s = alpha(s) x_0 + sigma(s) eps.

    `x_t`: [N, C, H, W] at times `t` [N], `x_0`: the denoiser's estimate, `s` [N] with s < t.
    """
    alpha_t, sigma_t = schedule.alpha_sigma(t, x_t.ndim)
    alpha_s, sigma_s = schedule.alpha_sigma(s, x_t.ndim)
    return alpha_s * x_0 + sigma_s * eps_from_x0(x_0, x_t, alpha_t, sigma_t)


def step(
    schedule: Schedule, x_t: Tensor, x_0: Tensor, t: int, s: int, gamma: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """Strategic stochastic sampling of TCD (arXiv 2402.19159 alg. 4): jump to (1 - gamma) s, then re-noise to s.

    gamma 0 is a plain DDIM step. `noise`, shaped like `x_t`, is needed when gamma > 0; the last step, to the clean
    image, adds none: it ends at `x_0`.
    """
    if s == CLEAN:
        return x_0
    times = x_t.new_full((x_t.shape[0],), t).long()
    if gamma == 0:
        return jump(schedule, x_t, x_0, times, times.new_full(times.shape, s))
    if noise is None:
        raise ValueError("gamma > 0 needs noise")
    between = times.new_full(times.shape, int((1 - gamma) * s))
    x_between = jump(schedule, x_t, x_0, times, between)
    alpha_b, _ = schedule.alpha_sigma(between, x_t.ndim)
    alpha_s, _ = schedule.alpha_sigma(times.new_full(times.shape, s), x_t.ndim)
    ratio = alpha_s / alpha_b
    return ratio * x_between + (1 - ratio**2).sqrt() * noise
