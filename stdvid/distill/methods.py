"""The distillation methods as policies of one trainer: where the state comes from, and which time it is sent to.

All share the teacher's guided solver step, the solver, the pseudo-Huber distance and the stopped target network:

    d( J_theta(x_t, t -> s),  sg[ J_theta-(x_{t-k}, t-k -> s) ] )

LCM's boundary scalings c_skip and c_out (arXiv 2310.04378, section 3) are left out: with its constants c_skip is below
1e-5 at every time of the solver grid, and the clean image itself is the target at the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stdvid.distill.settings import MethodName, StudentLoss

Aim = Callable[[np.random.Generator, int, int, StudentLoss], int]
"""(rng, index i of the state, start index, settings) -> index of the target time, 0 <= s < i."""


def within_window(rng: np.random.Generator, i: int, start: int, loss: StudentLoss) -> int:
    """U{max(0, i-R), ..., i-1}, R = ceil(i_eta rate): the error of a jump grows with its length."""
    return int(rng.integers(max(0, i - math.ceil(start * loss.window_rate)), i))


def clean(rng: np.random.Generator, i: int, start: int, loss: StudentLoss) -> int:
    """Always the clean image."""
    return 0


def anywhere(rng: np.random.Generator, i: int, start: int, loss: StudentLoss) -> int:
    """U{0, ..., i-1}."""
    return int(rng.integers(0, i))


def phase_edge(rng: np.random.Generator, i: int, start: int, loss: StudentLoss) -> int:
    """The lower edge of the phase that holds i."""
    return _below(i, _edges(start, loss.phases))


def near_schedules(rng: np.random.Generator, i: int, start: int, loss: StudentLoss) -> int:
    """The nearest time below i of the schedules of 4 to 8 steps, moved down at random by up to 30 %."""
    point = _below(i, {edge for steps in range(4, 9) for edge in _edges(start, steps)})
    return round(point * (1 - 0.3 * rng.random()))


def _edges(start: int, parts: int) -> set[int]:
    return {round(start * k / parts) for k in range(parts + 1)}


def _below(i: int, edges: set[int]) -> int:
    return max(edge for edge in edges if edge < i)


@dataclass(frozen=True)
class Method:
    """One method. `paper`: arXiv number. `gamma`: of the sampler that it is made for."""

    paper: str
    single_trajectory: bool
    """States come from the bank of trajectories started at x_eta, not from data noised at a random time."""
    aim: Aim
    gamma: float = 0.0
    drop_style: float = 0.0
    """Share of the student's calls without the style."""


METHODS: dict[MethodName, Method] = {
    "std": Method("2412.18945", True, within_window),
    "lcm": Method("2310.04378", False, clean, gamma=1.0),
    "tcd": Method("2402.19159", False, anywhere, gamma=0.3),
    "pcm": Method("2405.18407", False, phase_edge),
    "tdd": Method("2409.01347", False, near_schedules, gamma=0.2, drop_style=0.2),
}
