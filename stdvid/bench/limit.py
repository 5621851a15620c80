"""How near a network comes to what a CPU can multiply: its operations a second, over those of large matrices."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from stdvid.media.reader import PyAVReader
from stdvid.models.allocator import keep_freed_memory
from stdvid.models.bundle import Bundle
from stdvid.models.openvino_graph import runtime
from stdvid.models.stylizer import to_tensor
from stdvid.painter import read_reference
from stdvid.stylize import Plan

ROUNDS = 7

SIDE, PRODUCTS = 2048, 4
"""Of the matrices, and how many are multiplied one after another."""


def flop_share(planned: Plan) -> float | None:
    """Of a network by itself, in calls for one frame, all threads on it; None for models of the hub."""
    if not isinstance(planned.model, Bundle):
        return None
    call, product = network_call(planned), matrix_products(planned.precision)
    seconds = [math.inf, math.inf]
    for _ in range(ROUNDS):  # in turn: what else runs on the machine hits both
        seconds = [min(least, _seconds(work)) for least, work in zip(seconds, (call, product), strict=True)]
    rates = planned.model.call_flops(*planned.size) / seconds[0], 2 * SIDE**3 * PRODUCTS / seconds[1]
    return rates[0] / rates[1]


def network_call(planned: Plan) -> Callable[[], object]:
    """A call of the network of a plan for the first frame of its clip."""
    with PyAVReader(planned.job.source, size=planned.size) as reader:
        image = next(iter(reader)).image
    keep_freed_memory()  # as painting does
    stylizer = planned.model.load(planned.network, planned.device)
    with torch.no_grad():
        style = stylizer.read_style([read_reference(path) for path in planned.job.styles])
        condition = stylizer.condition(to_tensor(image[None]), style, 1.0)
    denoiser, t = stylizer.denoiser(condition), torch.tensor(planned.times[:1])

    def call() -> None:
        with torch.no_grad():
            denoiser(condition.x_0, t)

    return call


def matrix_products(precision: str) -> Callable[[], object]:
    """Products of PRODUCTS pairs of matrices [SIDE, SIDE] in a precision; in int8 by OpenVINO, which runs the network
    too: a chain of layers of quantized numbers."""
    if precision == "int8":
        return _int8_products()
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left, right = (torch.ones(SIDE, SIDE, dtype=dtype) for _ in range(2))

    def call() -> None:
        for _ in range(PRODUCTS):
            torch.mm(left, right)

    return call


def _int8_products() -> Callable[[], object]:
    core = runtime()  # first: it says how OpenVINO is to be loaded
    from openvino import Model
    from openvino import opset13 as ops

    def quantized(x: Any) -> Any:
        return ops.fake_quantize(x, *(np.float32(end) for end in (-1, 1, -1, 1)), 256)

    rng = np.random.default_rng(0)
    given = ops.parameter([SIDE, SIDE], np.float32)
    out = quantized(given)
    for _ in range(PRODUCTS):
        weights = ops.constant(rng.integers(-127, 128, (SIDE, SIDE), np.int8))
        scaled = ops.multiply(ops.convert(weights, np.float32), ops.constant(np.float32(1 / (127 * math.sqrt(SIDE)))))
        out = quantized(ops.matmul(out, scaled, False, True))
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    request = core.compile_model(Model([out], [given]), "CPU", settings).create_infer_request()
    x = rng.uniform(-1, 1, (SIDE, SIDE)).astype(np.float32)
    return lambda: request.infer([x], share_inputs=True, share_outputs=True)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
