"""Whether OpenVINO runs an int8 network here: found out once, in a process of its own, and remembered.

Native code that crashes takes its process with it and cannot be caught. So the first use on a machine is a trial: a few
tiny calls by a child, compared with torch's, which come with the network: torch's UNet would take seconds to import.
The verdict is kept by versions, CPU and hashes of the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray
from safetensors.numpy import load, save_file

from stdvid.models import openvino_graph

TIMEOUT_S = 120.0

TOLERANCE = 0.15
"""Of x_0 from torch's, relative; a sound network is within a fraction of it."""

X_0 = "x_0"

Array = NDArray[np.float32]
Examples = tuple[list[dict[str, Array]], list[Array]]


@dataclass(frozen=True)
class Verdict:
    """`works`, or `why` not; `rest`: the precision of what in the network is not int8."""

    works: bool
    why: str = ""
    rest: str = ""


def save_examples(path: Path, examples: Examples) -> None:
    """For `read_examples`; in half precision."""
    calls, expected = examples
    named = {f"{n}/{name}": value for n, call in enumerate(calls) for name, value in call.items()}
    named |= {f"{n}/{X_0}": value for n, value in enumerate(expected)}
    save_file({name: value.astype(np.float16, order="C") for name, value in named.items()}, path)


def read_examples(data: bytes) -> Examples:
    """Calls and their x_0, of a file."""
    named = {name: value.astype(np.float32) for name, value in load(data).items()}
    expected = [named.pop(f"{n}/{X_0}") for n in range(sum(name.endswith(f"/{X_0}") for name in named))]
    calls: list[dict[str, Array]] = [{} for _ in expected]
    for key, value in named.items():
        number, _, name = key.partition("/")
        calls[int(number)][name] = value
    return calls, expected


def openvino_version() -> str | None:
    """The version of OpenVINO, or None where there is none."""
    try:
        return version("openvino") if find_spec("openvino") else None
    except (PackageNotFoundError, ValueError):
        return None


def verdict(graph: tuple[Path, str], weights: tuple[Path, str], examples: Callable[[], Examples]) -> Verdict:
    """What is remembered of a network, two files and their hashes, or the outcome of a trial now.

    `examples`: gives calls, and their x_0 by torch.
    """
    if openvino_version() is None:
        return Verdict(False, "OpenVINO is not installed")
    path = verdict_file(graph[1], weights[1])
    remembered = _read(path)
    if remembered is None:
        remembered, lasting = _try(graph[0], weights[0], *examples())
        if lasting:
            _write(path, remembered)
    return remembered


def verdict_file(*hashes: str) -> Path:
    """Where the verdict on the network with these hashes is."""
    return cache_file(".json", *hashes)


def cache_file(suffix: str, *facts: Any) -> Path:
    """Where what is known by these facts is kept, for this CPU and these versions."""
    facts = (openvino_version(), platform.platform(), _cpu(), sys.version, os.environ.get("LD_PRELOAD"), *facts)
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    return Path(platformdirs.user_cache_dir("stdvid", appauthor=False)) / "int8" / f"{key}{suffix}"


def _cpu() -> str:
    """Model and abilities of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model", "flags", "Features", "CPU "))}))
    except OSError:
        return f"{platform.machine()} {platform.processor()}"


def _read(path: Path) -> Verdict | None:
    try:
        facts = json.loads(path.read_text("utf-8"))
        sound = isinstance(facts["works"], bool) and isinstance(facts["why"], str) and isinstance(facts["rest"], str)
        return Verdict(**facts) if sound else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write(path: Path, found: Verdict) -> None:
    """Where it cannot be written, the next run tries again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        passing = path.with_name(f"{path.name}.{os.getpid()}.new")
        passing.write_text(json.dumps(asdict(found)) + "\n", "utf-8")
        os.replace(passing, path)


def _try(graph: Path, weights: Path, calls: list[dict[str, Array]], expected: list[Array]) -> tuple[Verdict, bool]:
    """The outcome, and whether it would be the same again."""
    with tempfile.TemporaryDirectory(prefix="stdvid-") as folder:
        given, results = Path(folder, "calls.npz"), Path(folder, "results.npz")
        arrays: dict[str, Any] = {f"{n}/{name}": value for n, call in enumerate(calls) for name, value in call.items()}
        np.savez(given, **arrays)
        command = [sys.executable, "-P", str(openvino_graph.__file__), *map(str, (graph, weights, given, results))]
        paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
        try:
            done = subprocess.run(
                command,
                env={**os.environ, "PYTHONPATH": paths},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            return Verdict(False, f"a trial of OpenVINO did not end ({type(exc).__name__})"), False
        if done.returncode:
            said = " ".join(done.stderr.split())[-160:]
            return Verdict(False, f"OpenVINO failed in a trial (exit code {done.returncode}) {said}".rstrip()), True
        try:
            with np.load(results, allow_pickle=False) as file:
                got = [file[str(n)] for n in range(len(calls))]
            rest = str(json.loads(done.stdout.splitlines()[-1])["rest"])
        except (OSError, ValueError, KeyError, IndexError) as exc:
            return Verdict(False, f"a trial of OpenVINO left no results ({type(exc).__name__})"), False
    error = max(_difference(a, b) for a, b in zip(got, expected, strict=True))
    if error <= TOLERANCE:
        return Verdict(True, rest=rest), True
    return Verdict(False, f"OpenVINO paints something else than torch here (by {error:.0%})"), True


def _difference(found: Array, expected: Array) -> float:
    """Relative, infinite for what is not finite."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.sqrt(((found - expected) ** 2).mean() / max(float((expected**2).mean()), 1e-12)))
