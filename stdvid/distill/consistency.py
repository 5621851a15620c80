"""The distillation loss: one jump of the student agrees with a teacher step and one jump of the target network.

    x_t from the bank, started at x_eta and nowhere else       (or, for the rivals, data noised at a random time)
    x_{t-k} = J_phi(x_t, t -> t-k)                              one guided teacher step
    L = d(J_theta(x_t, t -> s), sg[J_theta-(x_{t-k}, t-k -> s)]),  x_{t-k} itself as target when s = t-k

arXiv 2412.18945, section "single trajectory distillation"; the time s and the source of x_t are the method's policy.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from stdvid.diffusion.denoiser import Guided
from stdvid.diffusion.schedule import Schedule, grid_time, start_index
from stdvid.diffusion.solver import jump
from stdvid.distill.bank import Slot, TrajectoryBank, stack
from stdvid.distill.losses import pseudo_huber
from stdvid.distill.methods import METHODS
from stdvid.distill.settings import StudentLoss
from stdvid.distill.slots import SlotSource
from stdvid.models.nano import Nano
from stdvid.models.style_encoder import StyleCode
from stdvid.models.texture import texture_statistics

FRESH = 1
"""Sets the random numbers of this loss's slots apart from others of the same run."""

X0_LIMIT = 1.1
"""Clean predictions are clamped here before the solver, in training as in sampling."""


@dataclass(frozen=True)
class States:
    """Slots as a batch: `x_t` [N, 48, h, w] at grid `index` [N], `structure` [N, 16, h, w], `reference` [N, 3, S, S]
    with its texture `description`, guidance `scale` [N, 1, 1, 1]."""

    x_t: Tensor
    index: Tensor
    structure: Tensor
    reference: Tensor
    description: Tensor
    scale: Tensor

    @classmethod
    def of(cls, slots: list[Slot], device: torch.device) -> States:
        """Gather slots on a device."""
        x_t, structure, reference = (stack(slots, name, device) for name in ("x_t", "structure", "reference"))
        index = torch.tensor([slot.index for slot in slots], device=device)
        scale = torch.tensor([slot.guidance for slot in slots], device=device).view(-1, 1, 1, 1)
        return cls(x_t, index, structure, reference, texture_statistics(reference), scale)


@dataclass(frozen=True)
class Jump:
    """The student's jump from its slots' states to times `s` [N], where it should have landed (`target`), and the clean
    prediction it went by; latents [N, 48, h, w]. `vector`: the style vectors [N, vector_dim]."""

    slots: list[Slot]
    s: Tensor
    clean: Tensor
    prediction: Tensor
    target: Tensor
    vector: Tensor

    def loss(self) -> Tensor:
        """L_STD, or its like of another method."""
        return pseudo_huber(self.prediction, self.target)


class ConsistencyLoss:
    """See the module; holds the teacher, the target network and the bank."""

    def __init__(
        self,
        model: Nano,
        teacher: Nano,
        schedule: Schedule,
        source: SlotSource,
        loss: StudentLoss,
        accelerator: Accelerator,
        *,
        crop_px: int,
        seed: int,
    ) -> None:
        self.teacher, self.schedule = teacher, schedule
        self.settings, self.accelerator = loss, accelerator
        self.method = METHODS[loss.method]
        self.target = copy.deepcopy(model).eval().requires_grad_(False)
        self.start = start_index(loss.strength)
        self.bank = TrajectoryBank(
            loss.bank_slots,
            loss.bank_probability,
            refresh=loss.bank_refresh,
            resident=loss.bank_resident,
            device=accelerator.device,
        )
        anywhere = not self.method.single_trajectory or loss.begin == "anywhere"
        self.fresh = source.stream(
            (seed, FRESH), crop_px, lambda rng: int(rng.integers(1, self.start + 1)) if anywhere else self.start
        )

    def __call__(self, model: Nano, rng: np.random.Generator, batch: int) -> Jump:
        """Jumps of `model` from `batch` states; a trajectory of the bank moves one teacher step on."""
        slots = self._draw(rng, batch)
        states = States.of(slots, self.accelerator.device)
        aims = [self.method.aim(rng, slot.index, self.start, self.settings) for slot in slots]
        aim = torch.tensor(aims, device=states.index.device)
        t, previous, s = (torch.as_tensor(grid_time(i)) for i in (states.index, states.index - 1, aim))
        with torch.no_grad():
            x_previous = self._teacher_step(states)
            clean = self._x0(self.target, x_previous, previous.clamp(min=0), states, self._code(self.target, states))
            at_target = (aim == states.index - 1).view(-1, 1, 1, 1)
            # where s = t-k the jump would divide by its own sigma (0 at the clean image): take the state itself
            safe = torch.where(aim == states.index - 1, t, previous)
            jumped = jump(self.schedule, x_previous, clean.clamp(-X0_LIMIT, X0_LIMIT), safe, s)
            target = torch.where(at_target, x_previous, jumped)
        code = self._code(model, states)
        if self.method.drop_style:
            keep = torch.from_numpy(rng.random(batch) >= self.method.drop_style).to(s.device)
            code = code.select(keep, model.style.null(code))
        student_clean = self._x0(model, states.x_t, t, states, code)
        prediction = jump(self.schedule, states.x_t, student_clean, t, s)
        if self.method.single_trajectory and self.settings.states == "bank":
            self.bank.put([slot.moved(x, slot.index - 1) for slot, x in zip(slots, x_previous, strict=True)])
        return Jump(slots, s, student_clean, prediction, target, code.vector)

    def _draw(self, rng: np.random.Generator, batch: int) -> list[Slot]:
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

    def _scattered(self, slots: list[Slot], rng: np.random.Generator) -> list[Slot]:
        """Trajectories walked down by the teacher, each to a uniformly drawn place."""
        places = [int(rng.integers(1, slot.index + 1)) for slot in slots]
        slots = list(slots)
        while moving := [k for k, place in enumerate(places) if slots[k].index > place]:
            moved = self._teacher_step(States.of([slots[k] for k in moving], self.accelerator.device))
            for k, x in zip(moving, moved, strict=True):
                slots[k] = slots[k].moved(x, slots[k].index - 1)
        return slots

    @torch.no_grad()
    def _teacher_step(self, states: States) -> Tensor:
        """x_{t-k} = J_phi(x_t, t -> t-k) of each state under its condition and guidance, [N, 48, h, w]."""
        code = self._code(self.teacher, states)

        def under(used: StyleCode) -> Any:
            return lambda x, time: self._x0(self.teacher, x, time, states, used).clamp(-X0_LIMIT, X0_LIMIT)

        guided = Guided(under(code), under(self.teacher.style.null(code)), states.scale)
        t, s = torch.as_tensor(grid_time(states.index)), torch.as_tensor(grid_time(states.index - 1))
        return jump(self.schedule, states.x_t, guided(states.x_t, t), t, s)

    def _code(self, network: Nano, states: States) -> StyleCode:
        with self.accelerator.autocast():
            crops = states.reference.contiguous(memory_format=torch.channels_last)
            code: StyleCode = network.style(crops, states.description)
        return code

    def _x0(self, network: Nano, x_t: Tensor, t: Tensor, states: States, code: StyleCode) -> Tensor:
        with self.accelerator.autocast():
            clean: Tensor = network(x_t, t, states.structure, code)
        return clean

    @torch.no_grad()
    def after_step(self, model: Nano) -> None:
        """Move the target network toward the student."""
        pairs = zip(self.target.parameters(), model.parameters(), strict=True)
        targets, students = map(list, zip(*pairs, strict=True))
        torch._foreach_lerp_(targets, students, 1 - self.settings.target_decay)
