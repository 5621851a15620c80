"""The student's task: distillation by a method, the adversarial loss on its jumps, and style on its clean prediction;
each where it has a weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from stdvid.diffusion.schedule import Schedule, grid_time
from stdvid.distill.adversarial import AdversarialTerm
from stdvid.distill.checkpoint import prefixed, under
from stdvid.distill.consistency import ConsistencyLoss
from stdvid.distill.data import step_rng
from stdvid.distill.settings import StudentSettings
from stdvid.distill.sheets import Sheet
from stdvid.distill.slots import SlotSource
from stdvid.distill.style_terms import StyleTerms
from stdvid.models.nano import Nano


class StudentTask:
    """See the module; a `Task` of the trainer."""

    def __init__(
        self,
        model: Nano,
        teacher: Nano,
        architecture: dict[str, Any],
        schedule: Schedule,
        source: SlotSource,
        sheet: Sheet,
        settings: StudentSettings,
        accelerator: Accelerator,
    ) -> None:
        self.model, self.architecture, self.schedule, self.settings = model, architecture, schedule, settings
        self._sheet, self._device = sheet, accelerator.device
        self.consistency = ConsistencyLoss(
            model,
            teacher,
            schedule,
            source,
            settings.loss,
            accelerator,
            crop_px=settings.data.crop_px,
            seed=settings.optim.seed,
        )
        self.style_terms = StyleTerms(schedule, source, settings.loss, accelerator, seed=settings.optim.seed)
        self.adversarial: AdversarialTerm | None = None
        if settings.loss.adversarial > 0:
            vector_dim, seed = architecture["vector_dim"], settings.optim.seed
            self.adversarial = AdversarialTerm(
                schedule, vector_dim, self.consistency.start, settings.loss, seed, accelerator
            )

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum of the terms that have a weight, and the value of each."""
        settings = self.settings
        rng = step_rng(settings.optim.seed, step)
        terms: dict[str, tuple[float, Tensor]] = {}
        judged: dict[str, float] = {}
        if settings.loss.distillation > 0:
            jumped = self.consistency(self.model, rng, settings.optim.batch)
            terms["distillation"] = (settings.loss.distillation, jumped.loss())
            if self.adversarial is not None:
                value, judged = self.adversarial(jumped, rng)
                terms["adversarial"] = (settings.loss.adversarial, value)
        if settings.loss.style > 0:
            terms |= self.style_terms(self.model, rng)
        total = torch.zeros((), device=self._device)
        for weight, value in terms.values():
            total = total + weight * value
        return total, {name: float(value.detach()) for name, (_, value) in terms.items()} | judged

    def after_step(self, step: int) -> None:
        """Move the target network."""
        if self.settings.loss.distillation > 0:
            self.consistency.after_step(self.model)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Target network, banks and discriminator."""
        bank, bank_meta = self.consistency.bank.state()
        style_bank, style_meta = self.style_terms.bank.state()
        tensors = {
            **prefixed("target", self.consistency.target.state_dict()),
            **prefixed("bank", bank),
            **prefixed("style_bank", style_bank),
        }
        if self.adversarial is not None:
            tensors |= prefixed("adversarial", self.adversarial.state())
        facts = {
            "architecture": self.architecture,
            "method": self.settings.loss.method,
            "strength": self.settings.loss.strength,
            "start": int(grid_time(self.consistency.start)),
            "bank": bank_meta,
            "style_bank": style_meta,
            "begun": [self.consistency.fresh.begun, self.style_terms.fresh.begun],
        }
        return tensors, facts

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.consistency.target.load_state_dict(under("target", tensors))
        self.consistency.bank.restore(under("bank", tensors), meta["bank"])
        self.style_terms.bank.restore(under("style_bank", tensors), meta["style_bank"])
        self.consistency.fresh.begun, self.style_terms.fresh.begun = meta["begun"]
        if self.adversarial is not None:
            self.adversarial.restore(under("adversarial", tensors))

    def sheet(self, model: Nano) -> NDArray[np.uint8]:
        """Held-out pairs in 4 steps."""
        return self._sheet.draw(model, self.schedule, steps=4)
