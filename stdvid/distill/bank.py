"""The trajectory bank: unfinished teacher trajectories, each with the condition it started under.

Every trajectory starts at x_eta. A training step takes slots out, makes the one teacher step that its loss needs
anyway, and puts them back one step further down; so each state trained on is a true state of a single trajectory, at
one teacher step per training step (arXiv 2412.18945, section "trajectory bank"). A slot holds everything that its
trajectory depends on - x_0, condition, guidance - so no trajectory ever changes its condition on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Slot:
    """One trajectory, no batch axis: `x_0`, `x_t` [48, h, w], `structure` [16, h, w], `reference` [3, S, S] (the style
    crop that is its condition), `target` [3, P, P] (another crop of that picture), `guidance`, grid `index` of x_t."""

    x_0: Tensor
    x_t: Tensor
    structure: Tensor
    reference: Tensor
    target: Tensor
    guidance: float
    index: int

    def moved(self, x_s: Tensor, index: int) -> Slot:
        """The same trajectory at a later state."""
        return Slot(self.x_0, x_s, self.structure, self.reference, self.target, self.guidance, index)


TENSORS = tuple(f.name for f in fields(Slot) if f.name not in ("guidance", "index"))


def stack(slots: Sequence[Slot], name: str) -> Tensor:
    """One tensor field of several slots as a batch."""
    return torch.stack([getattr(slot, name) for slot in slots])


class TrajectoryBank:
    """At most `capacity` slots in memory."""

    def __init__(self, capacity: int, probability: float) -> None:
        """`probability`: of drawing a stored slot rather than starting a fresh trajectory, when both can be had."""
        self.capacity, self.probability = capacity, probability
        self.slots: list[Slot] = []

    def draw(self, n: int, rng: np.random.Generator, fresh: Callable[[], Slot]) -> list[Slot]:
        """Take `n` slots out: stored ones, uniformly, or fresh ones at x_eta.

        A fresh trajectory is started only if there will be room to put it back, so none is ever dropped.
        """
        drawn: list[Slot] = []
        for _ in range(n):
            full = len(self.slots) + len(drawn) >= self.capacity
            if self.slots and (full or rng.random() < self.probability):
                drawn.append(self.slots.pop(int(rng.integers(len(self.slots)))))
            else:
                drawn.append(fresh())
        return drawn

    def put(self, slots: Sequence[Slot]) -> None:
        """Put slots back; those that reached the clean image (index 0) are finished and freed."""
        self.slots += [slot for slot in slots if slot.index > 0]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and facts for a checkpoint."""
        tensors = {f"{i}.{name}": getattr(slot, name) for i, slot in enumerate(self.slots) for name in TENSORS}
        return tensors, {"slots": [[slot.guidance, slot.index] for slot in self.slots]}

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Take back what `state` gave, slot for slot."""
        self.slots = [
            Slot(**{name: tensors[f"{i}.{name}"] for name in TENSORS}, guidance=guidance, index=index)
            for i, (guidance, index) in enumerate(meta["slots"])
        ]
