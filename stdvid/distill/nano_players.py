"""nano as the players of a distillation: three networks, and a style code of each."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from stdvid.distill.bank import stack
from stdvid.distill.slots import Slot
from stdvid.models.nano import Nano
from stdvid.models.patches import decode, encode
from stdvid.models.style_encoder import StyleCode
from stdvid.models.texture import texture_statistics

X0_LIMIT = 1.1
"""Clean predictions are clamped here before the solver, in training as in sampling."""


@dataclass(frozen=True)
class Given:
    """What slots are denoised under: `structure` [N, 16, h, w], `reference` [N, 3, S, S] with its texture
    `description`, and the code `taught` that the teacher has for it."""

    structure: Tensor
    reference: Tensor
    description: Tensor
    taught: StyleCode


class NanoPlayers:
    """See `Players`."""

    def __init__(self, model: Nano, teacher: Nano, accelerator: Accelerator) -> None:
        self.trained, self.phi, self.accelerator = model, teacher, accelerator
        self.theta_minus = copy.deepcopy(model).eval().requires_grad_(False)

    def condition(self, slots: Sequence[Slot]) -> Given:
        """See `Players`."""
        structure, reference = (stack(slots, name, self.accelerator.device) for name in ("structure", "reference"))
        description = texture_statistics(reference)
        with torch.no_grad():
            taught = self._code(self.phi, reference, description)
        return Given(structure, reference, description, taught)

    def teacher(self, x_t: Tensor, t: Tensor, condition: Given, styled: bool) -> Tensor:
        """See `Players`."""
        code = condition.taught if styled else self.phi.style.null(condition.taught)
        return self._x0(self.phi, x_t, t, condition, code)

    def target(self, x_t: Tensor, t: Tensor, condition: Given) -> Tensor:
        """See `Players`."""
        code = self._code(self.theta_minus, condition.reference, condition.description)
        return self._x0(self.theta_minus, x_t, t, condition, code)

    def student(self, x_t: Tensor, t: Tensor, condition: Given, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `Players`."""
        code = self._code(self.trained, condition.reference, condition.description)
        if keep is not None:
            code = code.select(keep, self.trained.style.null(code))
        return self._x0(self.trained, x_t, t, condition, code), code.vector

    @torch.no_grad()
    def move_target(self, decay: float) -> None:
        """See `Players`."""
        pairs = zip(self.theta_minus.parameters(), self.trained.parameters(), strict=True)
        targets, students = map(list, zip(*pairs, strict=True))
        torch._foreach_lerp_(targets, students, 1 - decay)

    def compared(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """See `Players`: as they are."""
        return prediction, target

    def bounded(self, x_0: Tensor) -> Tensor:
        """See `Players`."""
        return x_0.clamp(-X0_LIMIT, X0_LIMIT)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Players`."""
        return decode(latents)

    def encode(self, pictures: Tensor) -> Tensor:
        """See `Players`."""
        return encode(pictures)

    def state(self) -> dict[str, Tensor]:
        """See `Players`."""
        return self.theta_minus.state_dict()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """See `Players`."""
        self.theta_minus.load_state_dict(tensors)

    def _code(self, network: Nano, reference: Tensor, description: Tensor) -> StyleCode:
        with self.accelerator.autocast():
            crops = reference.contiguous(memory_format=torch.channels_last)
            code: StyleCode = network.style(crops, description)
        return code

    def _x0(self, network: Nano, x_t: Tensor, t: Tensor, given: Given, code: StyleCode) -> Tensor:
        with self.accelerator.autocast():
            clean: Tensor = network(x_t, t, given.structure, code)
        return clean
