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


def compiled(graph: bytes, weights: bytes, threads: int) -> Any:
    """The graph, ready to run.

    Raises ImportError without OpenVINO, RuntimeError for a graph that it cannot read.
    """
    return runtime().compile_model(runtime().read_model(graph, weights), "CPU", settings(threads))


def settings(threads: int) -> dict[str, Any]:
    """With which graphs are compiled; ImportError without OpenVINO."""
    return {
        **SAFE,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": rest(),
        "ENABLE_CPU_PINNING": False,  # processes side by side would be held to the same cores
        "ENABLE_HYPER_THREADING": True,
    }


def rest() -> str:
    """The precision of what in a network is not int8: "bf16" or "f32"."""
    return "bf16" if "BF16" in runtime().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def _try(graph: Path, weights: Path, calls: Path, results: Path) -> None:
    model = compiled(graph.read_bytes(), weights.read_bytes(), 2)
    with np.load(calls, allow_pickle=False) as file:
        given: dict[str, dict[str, Any]] = {}
        for key in file.files:
            number, _, name = key.partition("/")
            given.setdefault(number, {})[name] = file[key]
    np.savez(results, **{number: model(call)[0] for number, call in given.items()})
    print(json.dumps({"rest": rest()}))


if __name__ == "__main__":
    _try(*map(Path, sys.argv[1:]))
