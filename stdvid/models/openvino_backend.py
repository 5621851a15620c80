"""The UNet of nano in int8, run by OpenVINO: the same call as the torch network's, about half the time on a CPU."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stdvid.errors import ModelError
from stdvid.models.openvino_cache import compiled_once
from stdvid.models.style_encoder import StyleCode, StyleEncoder

INPUTS = ("x_t", "t", "structure", "tokens", "vector")
"""Of a graph, in this order; its output is x_0."""


class Int8Unet:
    """A compiled graph. Threads may call it side by side; each has a request of its own."""

    def __init__(self, graph: bytes, weights: bytes, threads: int, name: str) -> None:
        """`name`: of the file, for messages. Raises ModelError if it is no graph of nano."""
        self.name = name
        try:
            self._model = compiled_once(graph, weights, threads)
            names = [port.get_any_name() for port in self._model.inputs]
        except (ImportError, RuntimeError, ValueError) as exc:
            words = " ".join(str(exc).split())[:160]
            raise ModelError(f"'{name}' cannot be run here ({words}); OpenVINO has to; use --precision fp32") from exc
        if tuple(names) != INPUTS:
            raise ModelError(f"'{name}' is no graph of nano; make it again: stdvid distill quantize")
        self._own = threading.local()

    def __call__(self, x_t: Tensor, t: Tensor, structure: Tensor, code: StyleCode) -> Tensor:
        """x_0, float32 [N, 48, h, w], as `Nano.forward`.

        The result lies in this thread's request and is overwritten by its next call. ModelError if OpenVINO fails.
        """
        given = call_of(x_t, t, structure, code)
        if not hasattr(self._own, "request"):
            self._own.request = self._model.create_infer_request()
        try:
            results: Any = self._own.request.infer(list(given.values()), share_inputs=True, share_outputs=True)
        except RuntimeError as exc:
            words = " ".join(str(exc).split())[:160]
            raise ModelError(f"'{self.name}' failed ({words}); OpenVINO has to run it; use --precision fp32") from exc
        return torch.from_numpy(results[0])


class Int8Nano(nn.Module):
    """A nano network whose UNet OpenVINO runs; called like `Nano`, and made without what torch needs for a UNet."""

    def __init__(self, style: StyleEncoder, unet: Int8Unet) -> None:
        super().__init__()
        self.style, self.unet = style, unet

    def forward(self, x_t: Tensor, t: Tensor, structure: Tensor, style: StyleCode) -> Tensor:
        """See `Int8Unet`."""
        return self.unet(x_t, t, structure, style)


def call_of(x_t: Tensor, t: Tensor, structure: Tensor, code: StyleCode) -> dict[str, NDArray[np.float32]]:
    """A call of the network as one of its graph."""
    given = (x_t, t.expand(len(x_t)), structure, code.tokens, code.vector)
    return {name: _array(tensor) for name, tensor in zip(INPUTS, given, strict=True)}


def _array(tensor: Tensor) -> NDArray[np.float32]:
    """The same memory, where it can be."""
    array: NDArray[np.float32] = tensor.detach().float().contiguous().numpy()
    return array
