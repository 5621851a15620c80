"""Everything a run needs to go on, in one safetensors file that is replaced as a whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from stdvid.errors import ModelError

CHECKPOINT = "checkpoint.safetensors"


def save_checkpoint(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write `tensors` (flat, dotted names) and JSON-able `meta` to `path`; the old file stays until it is whole."""
    part = path.with_suffix(".part")
    save_file(
        {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, part, {"stdvid": json.dumps(meta)}
    )
    os.replace(part, path)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote; ModelError if the file is missing, damaged or of another kind."""
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads((file.metadata() or {})["stdvid"])
            return {key: file.get_tensor(key) for key in file.keys()}, meta  # noqa: SIM118 (safe_open is no dict)
    except (OSError, SafetensorError, KeyError, ValueError) as exc:
        raise ModelError(f"'{path}' is not a checkpoint of stdvid distill; give a folder that it wrote") from exc


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries below `prefix.`, with the prefix taken off."""
    return {k.removeprefix(prefix + "."): v for k, v in tensors.items() if k.startswith(prefix + ".")}


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with `prefix.` before each name."""
    return {f"{prefix}.{k}": v for k, v in tensors.items()}


def optimizer_tensors(optimizer: Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's moments under the names of the model's parameters."""
    return {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, in the memory format of each parameter."""
    for name, parameter in model.named_parameters():
        for key, value in under(name, tensors).items():
            if "." in key:
                continue
            if value.shape == parameter.shape:
                value = torch.empty_like(parameter).copy_(value)
            optimizer.state[parameter][key] = value
