"""The files of a model of the hub, as a preset names them: found, whole, and no pickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from stdvid.errors import ModelError, UsageError

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


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


def weight_file(part: Any) -> Path:
    """The weight file of a LoRA or an IP-Adapter."""
    path = located(part.path, "path")
    if path.is_file():
        return path
    if part.weight_name is None:
        raise UsageError(f"'{part.path}' is a folder; `weight_name` must say which file in it; add it")
    inside = path / (getattr(part, "subfolder", None) or "") / part.weight_name
    if not inside.resolve().is_relative_to(path.resolve()) and not path.is_symlink():
        raise ModelError(f"'{part.weight_name}' leads out of '{part.path}'; a file inside it is needed; name one")
    return located(str(inside), "weight_name")


def check_weights(path: Path) -> None:
    """Raise ModelError unless a file is whole safetensors."""
    located(str(path), "weights")
    try:
        with safe_open(path, "pt") as file:
            file.keys()
    except (SafetensorError, OSError) as exc:
        raise ModelError(f"'{path}' is damaged or no safetensors; a whole file is needed; get it again") from exc


def weights_in(folder: Path) -> list[Path]:
    """The weight files of a part."""
    found = sorted(folder.glob("*.safetensors"))
    whole = [path for path in found if not path.stem.endswith(".fp16")] or found
    if not whole:
        pickles = any(path.suffix in PICKLES for path in folder.glob("*"))
        reason = "only pickles, which run code when they are read" if pickles else "no weights"
        raise ModelError(f"'{folder}' holds {reason}; .safetensors is needed; choose another version of the model")
    return whole


def image_encoder(ip: Any) -> tuple[Path, str]:
    """The folder of an IP-Adapter's image encoder, and the part of it."""
    folder = located(ip.path, "ip_adapter")
    for inside in (folder / (ip.subfolder or "") / ip.image_encoder, folder / ip.image_encoder):
        if inside.is_dir():
            return inside, ""
    return located(ip.image_encoder, "image_encoder"), ""


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
