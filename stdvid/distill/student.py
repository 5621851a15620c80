"""The student's task: distillation by a method, the adversarial loss on its jumps, and style on its clean prediction;
each where it has a weight."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from stdvid.diffusion.schedule import grid_time
from stdvid.distill.adversarial import AdversarialTerm
from stdvid.distill.bank import Trajectory
from stdvid.distill.checkpoint import prefixed, under
from stdvid.distill.consistency import ConsistencyLoss
from stdvid.distill.data import step_rng
from stdvid.distill.players import Players
from stdvid.distill.settings import StudentSettings
from stdvid.distill.slots import Slot
from stdvid.distill.style_terms import StyleTerms


class Draws(Protocol):
    """Draws a sample sheet with the averaged weights, uint8 [H, W, 3]."""

    def __call__(self, model: nn.Module, /) -> NDArray[np.uint8]: ...


class StudentTask:
    """See the module; a `Task` of the trainer."""

    def __init__(
        self,
        players: Players[Any],
        consistency: ConsistencyLoss[Any],
        draw_sheet: Draws,
        settings: StudentSettings,
        accelerator: Accelerator,
        facts: dict[str, Any],
        *,
        slot_type: type[Trajectory],
        style_terms: StyleTerms | None = None,
        adversarial: AdversarialTerm | None = None,
    ) -> None:
        """`facts`: what a checkpoint is to say of the network; `slot_type`: of the banks."""
        self.model, self.players, self.consistency = players.trained, players, consistency
        self.settings, self.facts, self._slot_type = settings, facts, slot_type
        self.style_terms, self.adversarial = style_terms, adversarial
        self._draw_sheet, self._accelerator = draw_sheet, accelerator

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum of the terms that have a weight, and the value of each."""
        settings = self.settings
        rng = step_rng(settings.optim.seed, step, self._accelerator.process_index)
        terms: dict[str, tuple[float, Tensor]] = {}
        judged: dict[str, float] = {}
        if settings.loss.distillation > 0:
            jumped = self.consistency(rng, settings.optim.batch)
            terms["distillation"] = (settings.loss.distillation, self.consistency.distance(jumped))
            if self.adversarial is not None:
                value, judged = self.adversarial(jumped, rng)
                terms["adversarial"] = (settings.loss.adversarial, value)
        if self.style_terms is not None:
            terms |= self.style_terms(rng)
        total = torch.zeros((), device=self._accelerator.device)
        for weight, value in terms.values():
            total = total + weight * value
        return total, {name: float(value.detach()) for name, (_, value) in terms.items()} | judged

    def after_step(self, step: int) -> None:
        """Move the target network."""
        if self.settings.loss.distillation > 0:
            self.players.move_target(self.settings.loss.target_decay)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Target network, banks and discriminator."""
        bank, bank_meta = self.consistency.bank.state()
        tensors = {**prefixed("target", self.players.state()), **prefixed("bank", bank)}
        facts = {
            **self.facts,
            "method": self.settings.loss.method,
            "strength": self.settings.loss.strength,
            "start": int(grid_time(self.consistency.start)),
            "bank": bank_meta,
            "begun": [self.consistency.fresh.begun],
        }
        if self.style_terms is not None:
            style_bank, facts["style_bank"] = self.style_terms.bank.state()
            tensors |= prefixed("style_bank", style_bank)
            facts["begun"].append(self.style_terms.fresh.begun)
        if self.adversarial is not None:
            tensors |= prefixed("adversarial", self.adversarial.state())
        return tensors, facts

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.players.restore(under("target", tensors))
        self.consistency.bank.restore(under("bank", tensors), meta["bank"], self._slot_type)
        self.consistency.fresh.begun = meta["begun"][0]
        if self.style_terms is not None and "style_bank" in meta:
            self.style_terms.bank.restore(under("style_bank", tensors), meta["style_bank"], Slot)
            self.style_terms.fresh.begun = meta["begun"][1]
        if self.adversarial is not None:
            self.adversarial.restore(under("adversarial", tensors))

    def sheet(self, model: nn.Module) -> NDArray[np.uint8]:
        """Held-out pairs in 4 steps."""
        return self._draw_sheet(model)
