"""The files of a model of the hub, as a preset names them: found, whole, and no pickles."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

from stdvid.config import IPAdapterConfig, LoraConfig, ModelConfig
from stdvid.errors import ModelError, UsageError
from stdvid.models.hub import locate
from stdvid.models.integrity import fault_of
from stdvid.models.sources import (
    PARTS,
    PICKLES,
    PIPELINE,
    Source,
    adapter_sources,
    hub_source,
    is_inside,
    lora_source,
)

WEIGHTS = re.compile(r"(diffusion_pytorch_model|model)(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.safetensors")
"""Names of the weight files of a part, as diffusers and transformers look for them."""

LIBRARIES = ("diffusers", "transformers")
"""Whose classes the parts of a model are."""

TRAIN_STEPS = 1000
"""Noisy times of Stable Diffusion, by which strengths and steps are counted."""

STRENGTH, START = "stdvid.strength", "stdvid.start"
"""Metadata of a LoRA: the eta that it was distilled for, and its first time."""


def located(value: str, key: str) -> Path:
    """The file or folder that a key of a preset names. Raises ModelError if it is not there, or a pickle."""
    path = Path(value)
    if path.suffix in PICKLES:
        raise ModelError(
            f"{key} '{value}' is a pickle, which runs code when it is read; only .safetensors is read; convert it, or "
            "choose another file"
        )
    if not path.exists():
        raise ModelError(f"{key} '{value}' is neither a file nor a folder; give the path of one")
    return path


def weight_file(part: LoraConfig | IPAdapterConfig) -> Path:
    """The weight file of a LoRA or an IP-Adapter."""
    path = located(part.path, "path")
    if path.is_file():
        return path
    if part.weight_name is None:
        raise UsageError(f"'{part.path}' is a folder; `weight_name` must say which file in it; add it")
    name = part.weight_name if isinstance(part, LoraConfig) else f"{part.subfolder or '.'}/{part.weight_name}"
    if not is_inside(name):
        raise UsageError(f"'{name}' leads out of '{part.path}'; a file inside it is needed; name one")
    return located(str(path / name), "weight_name")


def check_weights(path: Path) -> None:
    """Raise ModelError unless a file is whole safetensors."""
    located(str(path), "weights")
    if path.suffix != ".safetensors":
        raise ModelError(f"'{path}' is no .safetensors file; nothing else is read; convert it, or choose another file")
    if fault_of(path, None):
        raise ModelError(f"'{path}' is damaged or no safetensors; a whole file is needed; get it again")


def weights_in(folder: Path) -> list[Path]:
    """The weight files of a part: whole precision where it is there."""
    for index in folder.glob("*.safetensors.index*.json"):
        _check_index(index)
    found = sorted(path for path in folder.glob("*.safetensors") if WEIGHTS.fullmatch(path.name))
    whole = [path for path in found if ".fp16" not in path.name] or found
    if not whole:
        pickles = any(path.suffix in PICKLES for path in folder.glob("*"))
        reason = "only pickles, which run code when they are read" if pickles else "no weights"
        raise ModelError(
            f"'{folder}' holds {reason}; diffusion_pytorch_model.safetensors, or model.safetensors, is needed; choose "
            "another version of the model"
        )
    return whole


def _check_index(index: Path) -> None:
    """Whether an index names shards beside it that are safetensors: loaders go by what it says."""
    shards = read_json(index).get("weight_map")
    names = set(map(str, shards.values())) if isinstance(shards, dict) else set()
    if not names or any(not WEIGHTS.fullmatch(name) for name in names):
        raise ModelError(f"'{index}' names files that are no shards of safetensors; get the model again")


def image_encoder(ip: IPAdapterConfig) -> Path:
    """The folder of an IP-Adapter's image encoder: beside its file, in its folder, or elsewhere."""
    folder = located(ip.path, "ip_adapter")
    if is_inside(ip.image_encoder):
        for inside in (folder / (ip.subfolder or "") / ip.image_encoder, folder / ip.image_encoder):
            if inside.is_dir():
                return inside
    return located(ip.image_encoder, "image_encoder")


def at_home(model: ModelConfig) -> ModelConfig:
    """The same model by local paths: what it has of the hub as the folders that were pulled.

    Raises ModelError for what was not, with the command that gets it.
    """
    ip, control = model.ip_adapter, model.controlnet
    if ip is not None:
        weights, encoder = adapter_sources(ip)
        path = ip.path if weights is None else str(locate(weights))
        ip = replace(ip, path=path, image_encoder=_here(encoder, ip.image_encoder))
    loras = [(lora, lora_source(lora)) for lora in model.lora]
    return replace(
        model,
        base=_here(hub_source(model.base, "pipeline"), model.base),
        config=model.config and _here(hub_source(model.config, "description"), model.config),
        vae=model.vae and at_home_folder(model.vae),
        motion_adapter=model.motion_adapter and at_home_folder(model.motion_adapter),
        controlnet=control and replace(control, path=at_home_folder(control.path)),
        lora=tuple(replace(a, path=_here(of, a.path), weight_name=None) if of else a for a, of in loras),
        ip_adapter=ip,
    )


def at_home_folder(value: str) -> str:
    """The folder of a network, given by its path or by a hub id that was pulled. Raises ModelError if it was not."""
    return _here(hub_source(value, "model"), value)


def _here(source: Source | None, local: str) -> str:
    return local if source is None else str(locate(source) / source.path)


def read_index(folder: Path) -> dict[str, Any]:
    """What a folder of diffusers says of itself. Raises ModelError where its parts are code that we do not know."""
    index = read_json(folder / PIPELINE)
    for part in PARTS:
        library = index[part][0] if isinstance(index.get(part), list) and index[part] else None
        if library not in (None, *LIBRARIES):
            raise ModelError(
                f"'{folder / PIPELINE}' wants its {part} to be made by '{library}'; allowed are classes of "
                f"{' and '.join(LIBRARIES)}, nothing else is run; choose another model"
            )
    return index


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ModelError for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ModelError(
            f"'{path}' is missing or no JSON; a whole folder of diffusers is needed; get it again"
        ) from exc
    if not isinstance(value, dict):
        raise ModelError(f"'{path}' is no JSON object; a whole folder of diffusers is needed; get it again")
    return value


def metadata(path: Path) -> dict[str, str]:
    """What a weight file says of itself. Raises ModelError if it is damaged."""
    check_weights(path)
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def distilled_for(path: Path) -> tuple[float | None, int | None]:
    """The strength and the first time that a LoRA's metadata tells, as far as it does."""
    told = metadata(path)
    try:
        strength = float(told[STRENGTH]) if STRENGTH in told else None
        start = int(told[START]) if START in told else None
        if not (strength is None or 0 < strength <= 1) or not (start is None or 0 <= start < TRAIN_STEPS):
            raise ValueError(f"{strength}, {start}")
    except ValueError as exc:
        raise ModelError(
            f"'{path}' says {STRENGTH} = {told.get(STRENGTH)}, {START} = {told.get(START)}; allowed are above 0 to 1, "
            f"and 0 to {TRAIN_STEPS - 1}; get it again, or write it anew"
        ) from exc
    return strength, start
