"""The loop: from x_eta, exactly at t_eta, to the clean image in exactly N denoiser steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stdvid.diffusion.denoiser import Denoiser
from stdvid.diffusion.schedule import Schedule
from stdvid.diffusion.solver import step


@dataclass(frozen=True)
class SampleStep:
    """State after step `index` (0-based) from time `t` to time `s`: the estimate `x_0` and the new state `x`."""

    index: int
    t: int
    s: int
    x_0: Tensor
    x: Tensor


def sample(
    denoiser: Denoiser,
    x: Tensor,
    times: Sequence[int],
    schedule: Schedule,
    *,
    gamma: float = 0.0,
    noise: Callable[[int], Tensor] | None = None,
    refine_x0: Callable[[Tensor, int], Tensor] | None = None,
) -> Iterator[SampleStep]:
    """Denoise `x`, float [N, C, H, W] at time times[0], down to times[-1], yielding after each step.

    `times` falls strictly (see `sampling_times`); len(times) - 1 steps are taken. `noise(index)` supplies the
    randomness of step `index` when gamma > 0. `refine_x0(x_0, t)` may replace each estimate before the solver sees it.
    """
    for index, (t, s) in enumerate(itertools.pairwise(times)):
        x_0 = denoiser(x, x.new_full((x.shape[0],), t).long())
        if refine_x0 is not None:
            x_0 = refine_x0(x_0, t)
        x = step(schedule, x, x_0, t, s, gamma, noise(index) if noise is not None and gamma > 0 else None)
        yield SampleStep(index, t, s, x_0, x)


def sample_last(steps: Iterator[SampleStep]) -> Tensor:
    """Run a sampler to its end and return the final state, float [N, C, H, W]."""
    final: Tensor | None = None
    with torch.no_grad():
        for state in steps:
            final = state.x
    if final is None:
        raise ValueError("the sampler took no step")
    return final
