"""Low-rank adaptation (LoRA, arXiv 2106.09685): a small change to each weight of a frozen network.

    W' = W + up @ down,   up [out, r], down [r, in]        convolutions as matrices [out, in * k * k]

The change is a parametrization of the weight, so every layer type is adapted alike and the network's code knows nothing
of it. `up` starts at 0: an adapted network begins as the network itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_FROZEN, _CHANGE = ".parametrizations.weight.original", ".parametrizations.weight.0."
"""What follows a layer's name in the state dict of an adapted model: its own weight; before a factor's name."""


class LowRank(nn.Module):
    """W -> W + up @ down, shaped like W."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        self.down = nn.Parameter(torch.randn(rank, columns, device=weight.device) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight."""
        return weight + (self.up @ self.down).view_as(weight)


def adapt(model: nn.Module, rank: int) -> None:
    """Freeze `model` and give each linear and convolutional layer a change of `rank`, which alone is trained."""
    model.requires_grad_(False)
    for layer in _layers(model):
        weight = layer.weight
        parametrize.register_parametrization(layer, "weight", LowRank(weight, min(rank, *weight.flatten(1).shape)))


def split_lora(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state dict of an adapted model as that of the frozen network and the changes, "LAYER.up" and "LAYER.down".

    Of a model that is not adapted the changes are empty.
    """
    lora = {name.replace(_CHANGE, "."): value for name, value in state.items() if _CHANGE in name}
    return {name.replace(_FROZEN, ".weight"): v for name, v in state.items() if _CHANGE not in name}, lora


@torch.no_grad()
def apply_lora(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Add changes, named as by `split_lora`, to the weights of a model that is not adapted.

    Raises KeyError or RuntimeError if they are of another architecture.
    """
    layers = dict(model.named_modules())
    for name in sorted({key.rpartition(".")[0] for key in tensors}):
        weight = layers[name].weight
        assert isinstance(weight, Tensor)
        change = tensors[f"{name}.up"].float() @ tensors[f"{name}.down"].float()
        weight += change.view(weight.shape).to(weight)


def _layers(model: nn.Module) -> Iterator[nn.Linear | nn.Conv2d]:
    return (layer for layer in list(model.modules()) if isinstance(layer, nn.Linear | nn.Conv2d))
