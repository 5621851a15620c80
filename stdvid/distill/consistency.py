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

X0_LIMIT = 1.1
"""Clean predictions are clamped here before the solver, in training as in sampling."""


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
        self, model: Nano, teacher: Nano, schedule: Schedule, source: SlotSource, loss: StudentLoss, device: Accelerator
    ) -> None:
        self.teacher, self.schedule, self.source, self.settings, self.accelerator = (
            teacher,
            schedule,
            source,
            loss,
            device,
        )
        self.method = METHODS[loss.method]
        self.target = copy.deepcopy(model).eval().requires_grad_(False)
        self.start = start_index(loss.strength)
        self.bank = TrajectoryBank(loss.bank_slots, loss.bank_probability)

    def __call__(self, model: Nano, rng: np.random.Generator, batch: int, crop_px: int) -> Jump:
        """Jumps of `model` from `batch` states; a trajectory of the bank moves one teacher step on."""
        slots = self._draw(rng, batch, crop_px)
        device = self.accelerator.device
        x_t, structure, reference = (stack(slots, name).to(device) for name in ("x_t", "structure", "reference"))
        index = torch.tensor([slot.index for slot in slots], device=device)
        aims = [self.method.aim(rng, slot.index, self.start, self.settings) for slot in slots]
        aim = torch.tensor(aims, device=device)
        t, previous, s = (torch.as_tensor(grid_time(i)) for i in (index, index - 1, aim))
        scale = torch.tensor([slot.guidance for slot in slots], device=device).view(-1, 1, 1, 1)
        with torch.no_grad():
            x_previous = jump(self.schedule, x_t, self._guided(x_t, t, structure, reference, scale), t, previous)
            code = self._code(self.target, reference)
            clean = self._x0(self.target, x_previous, previous.clamp(min=0), structure, code)
            at_target = (aim == index - 1).view(-1, 1, 1, 1)
            # where s = t-k the jump would divide by its own sigma (0 at the clean image): take the state itself
            safe = torch.where(aim == index - 1, t, previous)
            jumped = jump(self.schedule, x_previous, clean.clamp(-X0_LIMIT, X0_LIMIT), safe, s)
            target = torch.where(at_target, x_previous, jumped)
        code = self._code(model, reference)
        if self.method.drop_style:
            keep = torch.from_numpy(rng.random(batch) >= self.method.drop_style).to(device)
            code = code.select(keep, model.style.null(code))
        student_clean = self._x0(model, x_t, t, structure, code)
        prediction = jump(self.schedule, x_t, student_clean, t, s)
        if self.method.single_trajectory:
            self.bank.put([slot.moved(x, slot.index - 1) for slot, x in zip(slots, x_previous.cpu(), strict=True)])
        return Jump(slots, s, student_clean, prediction, target, code.vector)

    def _draw(self, rng: np.random.Generator, batch: int, crop_px: int) -> list[Slot]:
        if self.method.single_trajectory:
            return self.bank.draw(batch, rng, lambda: self.source.draw(rng, crop_px, self.start))
        return [self.source.draw(rng, crop_px, int(rng.integers(1, self.start + 1))) for _ in range(batch)]

    def _code(self, network: Nano, reference: Tensor) -> StyleCode:
        with self.accelerator.autocast():
            code: StyleCode = network.style(reference.contiguous(memory_format=torch.channels_last))
        return code

    def _x0(self, network: Nano, x_t: Tensor, t: Tensor, structure: Tensor, code: StyleCode) -> Tensor:
        with self.accelerator.autocast():
            clean: Tensor = network(x_t, t, structure, code)
        return clean

    def _guided(self, x_t: Tensor, t: Tensor, structure: Tensor, reference: Tensor, scale: Tensor) -> Tensor:
        code = self._code(self.teacher, reference)

        def under(used: StyleCode) -> Any:
            return lambda x, time: self._x0(self.teacher, x, time, structure, used).clamp(-X0_LIMIT, X0_LIMIT)

        return Guided(under(code), under(self.teacher.style.null(code)), scale)(x_t, t)

    @torch.no_grad()
    def after_step(self, model: Nano) -> None:
        """Move the target network toward the student."""
        pairs = zip(self.target.parameters(), model.parameters(), strict=True)
        targets, students = map(list, zip(*pairs, strict=True))
        torch._foreach_lerp_(targets, students, 1 - self.settings.target_decay)
