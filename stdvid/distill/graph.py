"""The denoiser of a nano network as one graph of tensors, for a runtime that is not torch.

x_t, t, structure, tokens, vector  -->  x_0
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from stdvid.models.nano import Nano
from stdvid.models.style_encoder import StyleCode


class Graph(nn.Module):
    """`Nano.forward` of tensors alone, in the order of `openvino_backend.INPUTS`."""

    def __init__(self, model: Nano) -> None:
        """`model` is copied: tracing leaves traces."""
        super().__init__()
        self.model = copy.deepcopy(model)

    def forward(self, x_t: Tensor, t: Tensor, structure: Tensor, tokens: Tensor, vector: Tensor) -> Tensor:
        """`x_t` [N, 48, h, w], `t` float [N], `structure` [N, 16, h, w], `tokens` [N, L, C], `vector` [N, V]; gives x_0
        [N, 48, h, w]."""
        x_0: Tensor = self.model(x_t, t, structure, StyleCode(tokens, vector))
        return x_0
