"""Which model a preset means: an embedded bundle, a folder of one, or a model of the hub."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from pathlib import Path

import torch

from stdvid.config import ModelConfig, SamplingConfig
from stdvid.errors import ModelError, UsageError
from stdvid.models.bundle import MANIFEST, Bundle, bundle_names, read_bundle
from stdvid.models.diffusers_adapter import HubModel
from stdvid.models.memory import Work
from stdvid.models.network import NetworkEntry
from stdvid.models.precision import fast_dtype
from stdvid.models.sources import is_hub_id
from stdvid.models.stylizer import Stylizer

Model = Bundle | HubModel


@dataclass(frozen=True)
class _Asked:
    """What is loaded; equal if all is equal."""

    model: ModelConfig = field(hash=False)
    sampling: SamplingConfig
    network: NetworkEntry
    device: str
    work: Work | None


def load_model(
    model: ModelConfig, sampling: SamplingConfig, network: NetworkEntry, device: torch.device, work: Work | None = None
) -> Stylizer:
    """A network of the model, ready for some work; the last one is kept for whoever asks for it again.

    Raises as `find_model` does, and ModelError if the model has another network here.
    """
    prompts = SamplingConfig(prompt=sampling.prompt, negative_prompt=sampling.negative_prompt)
    return _load(_Asked(model, prompts, network, str(device), None if is_bundle(model.base) else work))


@functools.lru_cache(1)
def _load(asked: _Asked) -> Stylizer:
    found = find_model(asked.model, asked.sampling)
    if asked.network not in found.networks:
        raise ModelError(f"'{asked.model.base}' is another model here; the same files are needed everywhere; copy them")
    return found.load(asked.network, torch.device(asked.device), asked.work)


_HUB_ONLY = ("prompt", "negative_prompt")


def find_model(model: ModelConfig, sampling: SamplingConfig) -> Model:
    """The model that a preset names, found on disk, with the prompts that it is asked for.

    Raises:
        UsageError: there is no such model, or it does not take what is asked.
        ModelError: it is damaged, incomplete or of another kind.
    """
    if is_bundle(model.base):
        _refuse_hub_settings(model, sampling)
        return dataclasses.replace(read_bundle(model.base), precision=model.precision)
    if model.precision == "int8":
        raise UsageError(
            f"'{model.base}' takes no precision int8; it is for nano on a CPU; allowed: auto, fp32, fp16, bf16"
        )
    return HubModel.find(model, sampling.prompt, sampling.negative_prompt)


def decide_precision(
    model: ModelConfig, found: Model, network: NetworkEntry, device: torch.device
) -> tuple[ModelConfig, str | None]:
    """What a bundle's network computes in on a CPU, where a preset leaves it open, and a note if int8 would be faster
    and does not work here. Elsewhere, and for models of the hub, it stays as it is.

    Raises UsageError where int8 is asked for and cannot be had, ModelError for damaged weights.
    """
    if not isinstance(found, Bundle) or model.precision not in ("auto", "int8"):
        return model, None
    asked = model.precision == "int8"
    if device.type != "cpu":
        if asked:
            raise UsageError(f"precision int8 on {device.type}; it is for CPUs; leave it out, or use --device cpu")
        return model, None
    verdict = found.int8_works(network) if asked or network.int8 else None
    if verdict and verdict.works:
        return dataclasses.replace(model, precision="int8"), None
    if verdict and asked:
        raise UsageError(f"precision int8: {verdict.why}; torch can do it; use --precision auto or fp32")
    note = f"int8 is not used: {verdict.why}; torch takes about twice as long" if verdict else None
    return dataclasses.replace(model, precision="bf16" if fast_dtype(device) is torch.bfloat16 else "fp32"), note


def is_bundle(base: str) -> bool:
    """Whether a base is a bundle: embedded, a folder of one, or nothing else that is known."""
    path = Path(base)
    if base in bundle_names() or (path / MANIFEST).is_file():
        return True
    return not (is_hub_id(base) or path.is_file() or path.suffix or (path / "unet").is_dir())


def _refuse_hub_settings(model: ModelConfig, sampling: SamplingConfig) -> None:
    if model.precision == "fp16":
        raise UsageError(
            f"'{model.base}' takes no precision fp16; allowed: auto, fp32, bf16, int8; choose one of these"
        )
    plain = ModelConfig(base=model.base, precision=model.precision)
    for spec in dataclasses.fields(ModelConfig):
        if getattr(model, spec.name) != getattr(plain, spec.name):
            raise UsageError(f"'{model.base}' takes no {spec.name}; it is for models of the hub; leave it out")
    for name in _HUB_ONLY:
        if getattr(sampling, name):
            option = name.replace("_", "-")
            raise UsageError(f"'{model.base}' takes no --{option}; it paints by reference alone; leave it out")
    if sampling.sampler == "published":
        raise UsageError(
            f"'{model.base}' takes no sampler 'published', the recipe of students of SDXL; allowed: 'std'; leave it out"
        )
