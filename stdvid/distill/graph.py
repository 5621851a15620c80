"""The denoiser of a nano network as one graph of tensors, for a runtime that is not torch.

x_t, structure, t, tokens, vector, what anchors attended to  -->  x_0, what these frames attended to
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from stdvid.models.anchor_attention import looks
from stdvid.models.nano import Nano
from stdvid.models.openvino_backend import INPUTS


class _Slot:
    """What a layer is to see beside its own frames, and what it attended to: the two ends of a wire."""

    seen: Tensor
    kept: Tensor


class _Wired:
    """An attention processor that sees what lies in its slot; the arithmetic is the inner one's."""

    def __init__(self, inner: Any, slot: _Slot) -> None:
        self.inner, self.slot = inner, slot

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: None = None, *args: Any, **options: Any
    ) -> Tensor:
        self.slot.kept = hidden_states
        seen = self.slot.seen.expand(hidden_states.shape[0], -1, -1)
        out: Tensor = self.inner(attn, hidden_states, torch.cat([hidden_states, seen], 1), *args, **options)
        return out


class Graph(nn.Module):
    """`forward` takes and gives tensors alone, in the order of `inputs` and `outputs`."""

    def __init__(self, model: Nano) -> None:
        """`model` is copied; its own attention stays as it is."""
        super().__init__()
        self.unet = copy.deepcopy(model.unet)
        processors = dict(self.unet.attn_processors)
        self.layers = [name for name in processors if looks(name)]
        self.slots = [_Slot() for _ in self.layers]
        for name, slot in zip(self.layers, self.slots, strict=True):
            processors[name] = _Wired(getattr(processors[name], "inner", processors[name]), slot)
        self.unet.set_attn_processor(processors)
        width = int(self.unet.config.block_out_channels[-1])
        self.widths = dict.fromkeys(self.layers, width)
        """Channels of each layer that sees anchors."""
        self.inputs = [*INPUTS, *(f"seen:{name}" for name in self.layers)]
        self.outputs = ["x_0", *(f"kept:{name}" for name in self.layers)]

    def forward(
        self, x_t: Tensor, t: Tensor, structure: Tensor, tokens: Tensor, vector: Tensor, *seen: Tensor
    ) -> tuple[Tensor, ...]:
        """`x_t` [N, 48, h, w], `t` float [N], `structure` [N, 16, h, w], `tokens` [N, L, C], `vector` [N, V]; `seen`:
        of each layer [1, M, C], M 0 without anchors. Gives x_0 [N, 48, h, w] and each layer's tokens
        [N, h w / 16, C]."""
        for slot, tensor in zip(self.slots, seen, strict=True):
            slot.seen = tensor
        latents = torch.cat([x_t, structure], 1)
        x_0 = self.unet(latents, t, encoder_hidden_states=tokens, class_labels=vector, return_dict=False)[0]
        return (x_0, *(slot.kept for slot in self.slots))
