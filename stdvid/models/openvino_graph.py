"""A graph in OpenVINO's format, compiled for the CPU; run as a program, a trial of one in a process of its own.

    python openvino_graph.py GRAPH WEIGHTS CALLS RESULTS      x_0 of calls; native code that crashes ends it alone

Imports nothing of stdvid: a trial is to be short. The settings are one place's, so that what was tried is what runs.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

SAFE = {"SNIPPETS_MODE": "DISABLE"}
"""Compiling snippets ends the process on some CPUs (OpenVINO 2026.4)."""


@functools.cache
def runtime() -> Any:
    """OpenVINO's Core, the only one of the process; ImportError without OpenVINO.

    Each Core gives the thread another stack for signal handlers, and when it goes puts back that which was there before
    it came. Where that was another Core's, which has gone first, the next signal ends the process: Ctrl-C, or a child's
    end.
    """
    # TBB loads a part of itself that allocates by the C library whatever allocator is preloaded, and frees by that one:
    # the process ends with jemalloc. As for sanitizers, it is to leave that be.
    os.environ.setdefault("TBB_ENABLE_SANITIZERS", "1")
    import openvino

    return openvino.Core()


def compiled(graph: bytes, weights: bytes, threads: int) -> tuple[Any, str]:
    """The graph, ready to run, and the precision of what in it is not int8: "bf16" or "f32".

    Raises ImportError without OpenVINO, RuntimeError for a graph that it cannot read.
    """
    core = runtime()
    rest = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    settings = {
        **SAFE,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": rest,
        "ENABLE_CPU_PINNING": False,  # processes side by side would be held to the same cores
        "ENABLE_HYPER_THREADING": True,
    }
    return core.compile_model(core.read_model(graph, weights), "CPU", settings), rest


def _try(graph: Path, weights: Path, calls: Path, results: Path) -> None:
    model, rest = compiled(graph.read_bytes(), weights.read_bytes(), 2)
    with np.load(calls, allow_pickle=False) as file:
        given: dict[str, dict[str, Any]] = {}
        for key in file.files:
            number, _, name = key.partition("/")
            given.setdefault(number, {})[name] = file[key]
    np.savez(results, **{number: model(call)[0] for number, call in given.items()})
    print(json.dumps({"rest": rest}))


if __name__ == "__main__":
    _try(*map(Path, sys.argv[1:]))
