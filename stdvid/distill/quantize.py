"""A network of a bundle in int8, for CPUs: quantized after training by NNCF, on the states that painting meets.

    torch UNet -> graph of OpenVINO -> ranges of all tensors over real calls -> int8
        -> STUDENT.int8.xml, .bin, STUDENT.trial.safetensors, manifest

Weights and inputs of convolutions, linear layers and attention become int8. What the time and the style vector become
(embeddings and what they scale features by) does not: it costs nothing, and is where int8 is felt.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stdvid.distill.calibration import Call, calls
from stdvid.distill.data import Pool
from stdvid.distill.graph import Graph
from stdvid.errors import ModelError, UsageError
from stdvid.models.allocator import keep_freed_memory
from stdvid.models.bundle import MANIFEST, Bundle, entry_facts, read_bundle, sha256_of
from stdvid.models.nano_stylizer import trial_calls
from stdvid.models.network import NetworkEntry, Quantized
from stdvid.models.openvino_backend import INPUTS
from stdvid.models.openvino_graph import SAFE, runtime
from stdvid.models.openvino_trial import Examples, save_examples

PAIRS = 72
"""Pictures that are painted."""

CALLS = 96
"""Calls of these that ranges are taken from."""

EXACT = ".*(time_embedding|class_embedding|time_emb_proj).*"
"""What is not quantized, by name."""


def quantize(source: str, photos: Pool, styles: Pool, pairs: int = PAIRS) -> Iterator[tuple[NetworkEntry, float]]:
    """Quantize the students of a bundle, in its folder: entries as they are now, and errors of x_0, relative, on calls
    that ranges were not taken from.

    Raises UsageError if there is no student or no NNCF, ModelError for a damaged bundle.
    """
    bundle = replace(read_bundle(source), precision="fp32")
    if find_spec("nncf") is None:
        raise UsageError("quantizing needs NNCF; it is in an extra; pip install 'stdvid[train]'")
    if not os.access(bundle.folder, os.W_OK):
        raise UsageError(f"'{bundle.folder}' cannot be written; a bundle of one's own can; copy it and give the copy")
    keep_freed_memory()
    students = [entry for entry in bundle.networks if entry.strength is not None]
    if not students:
        raise UsageError(f"'{source}' has no student; a teacher paints in too many steps to be quick; distil one")
    for entry in students:
        stylizer = bundle.load(entry, torch.device("cpu"))
        graph = Graph(bundle.network(entry)).eval()
        met = list(calls(stylizer, photos, styles, entry.start, pairs))
        order = np.random.default_rng(0).permutation(len(met))
        used, tested = ([met[i] for i in part] for part in (order[:CALLS], order[CALLS:][:24]))
        model = to_int8(graph, used)
        written = _write(model, bundle.folder, entry, trial_calls(stylizer, entry.start))
        _put_in_manifest(bundle, written)
        yield written, _error(graph, model, tested or used)


@torch.no_grad()
def to_graph(graph: Graph) -> Any:
    """The network as a model of OpenVINO, fp32, of any size; its inputs have names."""
    import openvino

    config = graph.model.unet.config
    latent, pixels = int(config.out_channels), int(config.in_channels) - int(config.out_channels)
    tokens, vector = int(config.cross_attention_dim), int(config.projection_class_embeddings_input_dim)
    example = [torch.ones(2, latent, 16, 24), torch.full((2,), 400.0), torch.ones(2, pixels, 16, 24)]
    example += [torch.ones(2, 32, tokens), torch.ones(2, vector)]
    with _quiet():
        model = openvino.convert_model(graph, example_input=tuple(example))
    shapes: list[list[int]] = [[-1, latent, -1, -1], [-1], [-1, pixels, -1, -1], [-1, -1, tokens], [-1, vector]]
    for port, name in zip(model.inputs, INPUTS, strict=True):
        port.get_tensor().set_names({name})
    model.reshape({name: openvino.PartialShape(s) for name, s in zip(INPUTS, shapes, strict=True)})
    return model


def to_int8(graph: Graph, met: Sequence[Call]) -> Any:
    """The network as a model of OpenVINO in int8, its ranges those of the calls `met`."""
    import nncf

    with _quiet(), _safely_compiled():
        return nncf.quantize(
            to_graph(graph),
            nncf.Dataset(list(met)),
            subset_size=len(met),
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(patterns=[EXACT]),
        )


def _write(model: Any, folder: Path, entry: NetworkEntry, examples: Examples) -> NetworkEntry:
    import openvino

    path = folder / f"{Path(entry.file).stem}.int8.xml"
    openvino.save_model(model, path, compress_to_fp16=True)
    weights, trial = path.with_suffix(".bin"), path.with_name(f"{Path(entry.file).stem}.trial.safetensors")
    save_examples(trial, examples)
    for file in (path, weights, trial):
        file.chmod(0o644)
    hashes = {"of": entry.sha256, "trial": trial.name, "trial_sha256": sha256_of(trial)}
    return replace(entry, int8=Quantized(path.name, sha256_of(path), weights.name, sha256_of(weights), **hashes))


def _put_in_manifest(bundle: Bundle, written: NetworkEntry) -> None:
    path = bundle.folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        for number, facts in enumerate(manifest["networks"]):
            if facts["file"] == written.file:
                manifest["networks"][number] = entry_facts(written)
        path.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    except OSError as exc:
        raise ModelError(f"'{path}' cannot be written ({exc.strerror}); a folder of one's own is needed") from exc


def _error(graph: Graph, model: Any, met: Sequence[Call]) -> float:
    """Root mean square of x_0's error, relative, over calls."""
    with _safely_compiled():
        compiled = runtime().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    errors = []
    for call in met:
        with torch.no_grad():
            expected = graph(*(torch.from_numpy(call[name]) for name in INPUTS)).numpy()
        found = compiled(call)[0]
        errors.append(np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()))
    return float(np.mean(errors))


@contextmanager
def _safely_compiled() -> Iterator[None]:
    """Within it whatever is compiled is so without snippets, which end the process on some CPUs."""
    runtime()  # before those that NNCF makes, which come and go
    import openvino

    usual = openvino.Core.compile_model

    def safely(self: Any, model: Any, device_name: Any = None, config: Any = None) -> Any:
        return usual(self, model, device_name or "CPU", {**(config or {}), **SAFE})

    openvino.Core.compile_model = safely
    try:
        yield
    finally:
        openvino.Core.compile_model = usual


@contextmanager
def _quiet() -> Iterator[None]:
    """Tracing warns of what a network of fixed layers may do."""
    import warnings

    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
