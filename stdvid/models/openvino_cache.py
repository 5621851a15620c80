"""Compiled graphs, kept on disk: to read one again takes a fifth of the time of compiling it.

A file is a SHA-256 and what OpenVINO exports, and its name says of what: network, settings, CPU and versions.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from stdvid.models.openvino_graph import compiled, runtime, settings
from stdvid.models.openvino_trial import cache_file

SUFFIX = ".blob"

KEPT = 4
"""Files; of more those that were read last stay."""

_DIGEST_BYTES = 32


def compiled_once(graph: bytes, weights: bytes, threads: int) -> Any:
    """`compiled`, from the cache where it is there and whole; else it is put there, if it can be."""
    hashes = (hashlib.sha256(part).hexdigest() for part in (graph, weights))
    path = cache_file(SUFFIX, sorted(settings(threads).items()), *hashes)
    with suppress(OSError, RuntimeError, ValueError):  # it is not there, or OpenVINO does not read it
        found = path.read_bytes()
        digest, blob = found[:_DIGEST_BYTES], found[_DIGEST_BYTES:]
        if hashlib.sha256(blob).digest() == digest:
            model = runtime().import_model(blob, "CPU", settings(threads))
            with suppress(OSError):  # it is another user's
                os.utime(path)
            return model
    model = compiled(graph, weights, threads)
    with suppress(OSError, RuntimeError):  # then it is compiled again the next time
        _keep(path, model.export_model().getvalue())
    return model


def _keep(path: Path, blob: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        passing.write_bytes(hashlib.sha256(blob).digest() + blob)
        os.replace(passing, path)
    finally:
        passing.unlink(missing_ok=True)
    by_age = sorted(path.parent.glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime)
    for old in by_age[:-KEPT]:
        old.unlink(missing_ok=True)
