"""The trajectory bank: unfinished teacher trajectories, each with the condition it started under.

Every trajectory starts at x_eta. A training step takes slots out, makes the one teacher step that its loss needs
anyway, and puts them back one step further down; so each state trained on is a true state of a single trajectory, at
one teacher step per training step (arXiv 2412.18945, section "trajectory bank"). A slot holds everything that its
trajectory depends on - x_0, condition, guidance - so no trajectory ever changes its condition on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Generic, Literal, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

S = TypeVar("S", bound="Trajectory")


class Trajectory:
    """A slot: a frozen dataclass of tensors without a batch axis, among them the state `x_t`, and of the `guidance` and
    the grid `index` of x_t."""

    x_t: Tensor
    guidance: float
    index: int

    def moved(self, x_s: Tensor, index: int) -> Self:
        """The same trajectory at a later state, which is copied: a view would keep its whole batch in memory."""
        return _replace(self, x_t=x_s.clone(), index=index)

    def under(self, other: Self) -> Self:
        """This state and index under the condition of another slot: what no trajectory of ours does (an ablation)."""
        return _replace(other, x_t=self.x_t, index=self.index)

    def to(self, device: torch.device) -> Self:
        """The slot with all its tensors on `device`."""
        return _replace(self, **{name: getattr(self, name).to(device) for name in self.tensors()})

    @classmethod
    def tensors(cls) -> list[str]:
        """Names of its tensors."""
        return [f.name for f in fields(cast(Any, cls)) if f.name not in ("guidance", "index")]


def _replace(slot: S, **changes: Any) -> S:
    return cast(S, replace(cast(Any, slot), **changes))


Refresh = Literal["finish", "drop"]


def stack(slots: Sequence[Trajectory], name: str, device: torch.device | str = "cpu") -> Tensor:
    """One tensor field of several slots as a batch on `device`."""
    return torch.stack([getattr(slot, name).to(device) for slot in slots])


class TrajectoryBank(Generic[S]):
    """At most `capacity` slots: the first `resident` of them on `device`, the others in CPU memory."""

    def __init__(
        self,
        capacity: int,
        probability: float,
        *,
        refresh: Refresh = "finish",
        resident: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """`probability`: of drawing a stored slot rather than starting a fresh trajectory, when both can be had.

        `refresh` "finish": a fresh trajectory is started only if there will be room to put it back, so each is walked
        to its end and all times are met equally often. "drop": fresh ones are started whatever the room, and those that
        find none are dropped after their first step, as the paper's released code does.
        """
        self.capacity, self.probability, self.refresh = capacity, probability, refresh
        self.resident, self.device = resident, torch.device(device)
        self.slots: list[S] = []

    def draw(self, n: int, rng: np.random.Generator, fresh: Callable[[], S]) -> list[S]:
        """Take `n` slots out: stored ones, uniformly, or fresh ones at x_eta."""
        drawn: list[S] = []
        for _ in range(n):
            full = self.refresh == "finish" and len(self.slots) + len(drawn) >= self.capacity
            if self.slots and (full or rng.random() < self.probability):
                drawn.append(self.slots.pop(int(rng.integers(len(self.slots)))))
            else:
                drawn.append(fresh())
        return drawn

    def put(self, slots: Sequence[S]) -> None:
        """Put slots back; those that reached the clean image (index 0) are finished and freed.

        With `refresh` "finish" all find room, if no more are put than were drawn, and the first batch fits.
        """
        kept = [slot for slot in slots if slot.index > 0]
        if self.refresh == "drop":
            kept = kept[: max(0, self.capacity - len(self.slots))]
        # by its kind: a card that is asked for as "cuda" is "cuda:0" where tensors are
        room = self.resident - sum(slot.x_t.device.type == self.device.type for slot in self.slots)
        for slot in kept:
            self.slots.append(slot.to(self.device if room > 0 else torch.device("cpu")))
            room -= 1

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and facts for a checkpoint."""
        tensors = {f"{i}.{name}": getattr(slot, name) for i, slot in enumerate(self.slots) for name in slot.tensors()}
        return tensors, {"slots": [[slot.guidance, slot.index] for slot in self.slots]}

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any], kind: type[S]) -> None:
        """Take back what `state` gave, slot for slot, each a `kind`."""
        self.slots = [
            cast(Any, kind)(**{n: tensors[f"{i}.{n}"] for n in kind.tensors()}, guidance=guidance, index=index)
            for i, (guidance, index) in enumerate(meta["slots"])
        ]
