"""The UNet of nano in int8, run by OpenVINO: the same call as the torch network's, about half the time on a CPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.errors import ModelError
from stdvid.models.anchor_attention import Memory
from stdvid.models.openvino_graph import compiled
from stdvid.models.style_encoder import StyleCode

INPUTS = ("x_t", "t", "structure", "tokens", "vector")
"""Of a graph; then, of each layer that sees anchors, "seen:" and its name. Outputs are x_0 and, of each, "kept:"."""


class Int8Unet:
    """A compiled graph. Threads may call it side by side; each has a request of its own."""

    def __init__(self, graph: bytes, weights: bytes, threads: int, name: str) -> None:
        """`name`: of the file, for messages. Raises ModelError if it is no graph of nano."""
        self.name = name
        try:
            self._model, _ = compiled(graph, weights, threads)
            names = [port.get_any_name() for port in self._model.inputs]
            kept = [port.get_any_name() for port in self._model.outputs]
        except (ImportError, RuntimeError, ValueError) as exc:
            words = " ".join(str(exc).split())[:160]
            raise ModelError(f"'{name}' cannot be run here ({words}); OpenVINO has to; use --precision fp32") from exc
        self.layers = [name.removeprefix("seen:") for name in names[len(INPUTS) :]]
        if [*INPUTS, *(f"seen:{layer}" for layer in self.layers)] != names or [
            "x_0",
            *(f"kept:{layer}" for layer in self.layers),
        ] != kept:
            raise ModelError(f"'{name}' is no graph of nano; make it again: stdvid distill quantize")
        self._widths = [int(port.get_partial_shape()[2].get_length()) for port in self._model.inputs[len(INPUTS) :]]
        self._own = threading.local()

    def __call__(
        self,
        x_t: Tensor,
        t: Tensor,
        structure: Tensor,
        code: StyleCode,
        anchors: Sequence[Memory] = (),
        keep: Memory | None = None,
    ) -> Tensor:
        """x_0, float32 [N, 48, h, w], as `Nano.forward`; `anchors` and `keep` as in `AnchorAttention.looking`.

        The result lies in this thread's request and is overwritten by its next call. ModelError if OpenVINO fails.
        """
        time, layers = int(t[0]), dict(zip(self.layers, self._widths, strict=True))
        call = call_of(x_t, t, structure, code, layers, anchors)
        if not hasattr(self._own, "request"):
            self._own.request = self._model.create_infer_request()
        try:
            results: Any = self._own.request.infer(list(call.values()), share_inputs=True, share_outputs=True)
        except RuntimeError as exc:
            words = " ".join(str(exc).split())[:160]
            raise ModelError(f"'{self.name}' failed ({words}); OpenVINO has to run it; use --precision fp32") from exc
        if keep is not None:
            for number, layer in enumerate(self.layers, 1):
                keep[time, layer] = torch.from_numpy(results[number].copy())
        return torch.from_numpy(results[0])


def call_of(
    x_t: Tensor, t: Tensor, structure: Tensor, code: StyleCode, layers: Mapping[str, int], anchors: Sequence[Memory]
) -> dict[str, NDArray[np.float32]]:
    """A call of the network as one of its graph; `layers`: those that see anchors, with their widths."""
    time = int(t[0])
    given = dict(zip(INPUTS, (x_t, t.expand(len(x_t)), structure, code.tokens, code.vector), strict=True))
    for layer, width in layers.items():
        kept = [memory[time, layer] for memory in anchors]
        given[f"seen:{layer}"] = torch.cat(kept, 1) if kept else torch.empty(1, 0, width)
    return {name: _array(tensor) for name, tensor in given.items()}


def _array(tensor: Tensor) -> NDArray[np.float32]:
    """The same memory, where it can be."""
    array: NDArray[np.float32] = tensor.detach().float().contiguous().numpy()
    return array
