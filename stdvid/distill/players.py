"""The networks of a distillation as its loss sees them: teacher phi, student theta, target theta-; all predict x_0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from stdvid.distill.bank import Trajectory

S = TypeVar("S", bound=Trajectory, contravariant=True)

Condition = Any
"""What a batch of slots is denoised under, of the players' own kind."""


class Players(Protocol[S]):
    """States are batches [N, ...] of the slots' x_t, times int [N]; predictions have the shape of the states."""

    @property
    def trained(self) -> nn.Module:
        """What the optimizer moves."""
        ...

    def condition(self, slots: Sequence[S]) -> Condition:
        """What these slots are denoised under."""
        ...

    def teacher(self, x_t: Tensor, t: Tensor, condition: Condition, styled: bool) -> Tensor:
        """The teacher's x_0, with or without what guidance pushes toward."""
        ...

    def target(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The target network's x_0."""
        ...

    def student(self, x_t: Tensor, t: Tensor, condition: Condition, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """The student's x_0, with gradients, and a vector of its style [N, D]; where `keep` [N] is False, unguided."""
        ...

    def move_target(self, decay: float) -> None:
        """Move the target network toward the student."""
        ...

    def compared(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """What the distance is taken of."""
        ...

    def bounded(self, x_0: Tensor) -> Tensor:
        """Clean predictions within what the solver is to see."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [N, ...] as pictures [M, 3, H, W], with gradients."""
        ...

    def encode(self, pictures: Tensor) -> Tensor:
        """Inverse of `decode`."""
        ...

    def state(self) -> dict[str, Tensor]:
        """The target network."""
        ...

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        ...
