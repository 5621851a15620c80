"""The distillation loss: one jump of the student agrees with a teacher step and one jump of the target network.

    x_t from the bank, started at x_eta and nowhere else       (or, for the rivals, data noised at a random time)
    x_{t-k} = J_phi(x_t, t -> t-k)                              one guided teacher step
    L = d(J_theta(x_t, t -> s), sg[J_theta-(x_{t-k}, t-k -> s)]),  x_{t-k} itself as target when s = t-k

arXiv 2412.18945, section "single trajectory distillation"; the time s and the source of x_t are the method's policy,
the networks are `Players`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from stdvid.diffusion.denoiser import Denoiser, Guided
from stdvid.diffusion.schedule import Schedule, grid_time, start_index
from stdvid.diffusion.solver import jump
from stdvid.distill.bank import Trajectory, TrajectoryBank, stack
from stdvid.distill.losses import pseudo_huber
from stdvid.distill.methods import METHODS
from stdvid.distill.players import Condition, Players
from stdvid.distill.settings import StudentLoss
from stdvid.distill.slots import SlotStream

S = TypeVar("S", bound=Trajectory)

FRESH = 1
"""Sets the random numbers of this loss's slots apart from others of the same run."""


@dataclass(frozen=True)
class Jump(Generic[S]):
    """The student's jump from its slots' states to times `s` [N], where it should have landed (`target`), and the clean
    prediction it went by; latents [N, ...]. `vector`: of the styles, [N, D]."""

    slots: list[S]
    s: Tensor
    clean: Tensor
    prediction: Tensor
    target: Tensor
    vector: Tensor


@dataclass(frozen=True)
class States(Generic[S]):
    """Slots as a batch: `x_t` [N, ...] at grid `index` [N], their `condition`, guidance `scale` [N, 1, ...]."""

    x_t: Tensor
    index: Tensor
    condition: Condition
    scale: Tensor


def beginnings(loss: StudentLoss) -> Callable[[np.random.Generator], int]:
    """Draws the grid index that a slot begins at: that of x_eta, or for the rivals any up to there."""
    start = start_index(loss.strength)
    if METHODS[loss.method].single_trajectory and loss.begin == "eta":
        return lambda rng: start
    return lambda rng: int(rng.integers(1, start + 1))


class ConsistencyLoss(Generic[S]):
    """See the module; holds the players and the bank."""

    def __init__(
        self,
        players: Players[S],
        schedule: Schedule,
        fresh: SlotStream[S],
        loss: StudentLoss,
        device: torch.device,
    ) -> None:
        """`fresh`: slots that begin as `beginnings` says."""
        self.players, self.schedule, self.fresh, self.settings, self.device = players, schedule, fresh, loss, device
        self.method = METHODS[loss.method]
        self.start = start_index(loss.strength)
        self.bank: TrajectoryBank[S] = TrajectoryBank(
            loss.bank_slots,
            loss.bank_probability,
            refresh=loss.bank_refresh,
            resident=loss.bank_resident,
            device=device,
        )

    def __call__(self, rng: np.random.Generator, batch: int) -> Jump[S]:
        """Jumps of the student from `batch` states; a trajectory of the bank moves one teacher step on."""
        players = self.players
        slots = self._draw(rng, batch)
        states = self._states(slots)
        aims = [self.method.aim(rng, slot.index, self.start, self.settings) for slot in slots]
        aim = torch.tensor(aims, device=states.index.device)
        t, previous, s = (torch.as_tensor(grid_time(i)) for i in (states.index, states.index - 1, aim))
        with torch.no_grad():
            x_previous = self._teacher_step(states)
            clean = players.target(x_previous, previous.clamp(min=0), states.condition)
            at_target = _along(aim == states.index - 1, x_previous)
            # where s = t-k the jump would divide by its own sigma (0 at the clean image): take the state itself
            safe = torch.where(aim == states.index - 1, t, previous)
            jumped = jump(self.schedule, x_previous, players.bounded(clean), safe, s)
            target = torch.where(at_target, x_previous, jumped)
        keep = None
        if self.method.drop_style:
            keep = torch.from_numpy(rng.random(batch) >= self.method.drop_style).to(s.device)
        student_clean, vector = players.student(states.x_t, t, states.condition, keep)
        prediction = jump(self.schedule, states.x_t, student_clean, t, s)
        if self.method.single_trajectory and self.settings.states == "bank":
            self.bank.put([slot.moved(x, slot.index - 1) for slot, x in zip(slots, x_previous, strict=True)])
        return Jump(slots, s, student_clean, prediction, target, vector)

    def distance(self, jumped: Jump[S]) -> Tensor:
        """L_STD, or its like of another method."""
        return pseudo_huber(*self.players.compared(jumped.prediction, jumped.target))

    def _states(self, slots: Sequence[S]) -> States[S]:
        x_t = stack(slots, "x_t", self.device)
        index = torch.tensor([slot.index for slot in slots], device=self.device)
        scale = torch.tensor([slot.guidance for slot in slots], device=self.device)
        return States(x_t, index, self.players.condition(slots), _along(scale, x_t))

    def _draw(self, rng: np.random.Generator, batch: int) -> list[S]:
        """States to train on: of single trajectories from the bank or walked there now, or data noised at any time."""
        fresh = self.fresh
        if not self.method.single_trajectory:
            return [fresh() for _ in range(batch)]
        if self.settings.states == "rollout":
            return self._scattered([fresh() for _ in range(batch)], rng)
        if self.settings.bank_stagger and not self.bank.slots:
            for first in range(0, self.settings.bank_slots, batch):
                count = min(batch, self.settings.bank_slots - first)
                self.bank.put(self._scattered([fresh() for _ in range(count)], rng))
        drawn = self.bank.draw(batch, rng, fresh)
        return drawn if self.settings.bank_condition else [slot.under(fresh()) for slot in drawn]

    def _scattered(self, slots: list[S], rng: np.random.Generator) -> list[S]:
        """Trajectories walked down by the teacher, each to a uniformly drawn place."""
        places = [int(rng.integers(1, slot.index + 1)) for slot in slots]
        slots = list(slots)
        while moving := [k for k, place in enumerate(places) if slots[k].index > place]:
            moved = self._teacher_step(self._states([slots[k] for k in moving]))
            for k, x in zip(moving, moved, strict=True):
                slots[k] = slots[k].moved(x, slots[k].index - 1)
        return slots

    @torch.no_grad()
    def _teacher_step(self, states: States[S]) -> Tensor:
        """x_{t-k} = J_phi(x_t, t -> t-k) of each state under its condition and guidance, [N, ...]."""
        players = self.players

        def teacher(styled: bool) -> Denoiser:
            return lambda x, time: players.bounded(players.teacher(x, time, states.condition, styled))

        guided = Guided(teacher(True), teacher(False), states.scale)
        t, s = torch.as_tensor(grid_time(states.index)), torch.as_tensor(grid_time(states.index - 1))
        return jump(self.schedule, states.x_t, guided(states.x_t, t), t, s)


def _along(values: Tensor, like: Tensor) -> Tensor:
    """[N] as [N, 1, ...] with as many axes as `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))
