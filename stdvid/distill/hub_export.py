"""A student of a hub model as LoRA files that others read.

    pytorch_lora_weights.safetensors    diffusers: unet.LAYER.lora_A.weight [r, in], lora_B.weight [out, r]
    NAME.safetensors                    kohya: lora_unet_LAYER_.lora_down.weight, .lora_up.weight, .alpha

Both carry in their metadata what a student must not be without: the strength it was distilled for, and its first time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from stdvid import __version__
from stdvid.distill.checkpoint import CHECKPOINT, load_checkpoint, under
from stdvid.errors import HubError, ModelError, UsageError
from stdvid.models.parts import START, STRENGTH
from stdvid.models.sources import is_local

DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"


@dataclass(frozen=True)
class Student:
    """The averaged changes of a run, LAYER.lora_A.weight and LAYER.lora_B.weight, and the facts of its checkpoint."""

    changes: dict[str, Tensor]
    facts: dict[str, Any]


def is_hub_run(folder: Path) -> bool:
    """Whether a run directory holds a student of a hub model. Raises ModelError if it holds no run."""
    return "hub" in load_checkpoint(folder / CHECKPOINT)[1].get("task", {})


def read_student(folder: Path) -> Student:
    """The student of a run directory. Raises ModelError if it holds none."""
    tensors, meta = load_checkpoint(folder / CHECKPOINT)
    facts = meta["task"]
    if "hub" not in facts:
        raise ModelError(f"'{folder}' is a run of nano; one of a hub model is needed; export it as a bundle")
    changes = {name.replace("/", "."): value for name, value in under("ema.lora", tensors).items()}
    return Student(changes, {**facts, "step": meta["step"]})


def diffusers_tensors(student: Student) -> dict[str, Tensor]:
    """As diffusers names them."""
    return {f"unet.{name}": value for name, value in student.changes.items()}


def kohya_tensors(student: Student) -> dict[str, Tensor]:
    """As kohya's scripts name them; alpha is the rank, so the changes count as they are."""
    tensors: dict[str, Tensor] = {}
    for name, value in student.changes.items():
        layer, _, part = name.removesuffix(".weight").rpartition(".")
        key = "lora_unet_" + layer.replace(".", "_")
        tensors[f"{key}.lora_{'down' if part == 'lora_A' else 'up'}.weight"] = value
        tensors[f"{key}.alpha"] = torch.tensor(float(student.facts["rank"]))
    return tensors


def metadata(student: Student) -> dict[str, str]:
    """What the files say of themselves."""
    facts = student.facts
    return {
        "format": "pt",
        STRENGTH: str(facts["strength"]),
        START: str(facts["start"]),
        "stdvid.method": facts["method"],
        "stdvid.rate": str(facts["rate"]),
        "stdvid.frames": str(facts["frames"]),
        "stdvid.steps_trained": str(facts["step"]),
        "stdvid.base": Path(facts["hub"]).name if is_local(facts["hub"]) else facts["hub"],
        "stdvid.base_identity": facts["identity"],
        "stdvid.version": __version__,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(facts["rank"]),
        "ss_network_alpha": str(facts["rank"]),
        "ss_base_model_version": "sdxl_base_v1-0" if facts["kind"] == "sdxl" else "sd_v1",
    }


def export_student(run: Path, folder: Path, name: str, card: str, push: str | None = None) -> list[Path]:
    """Write both files, fp16, and the model card; with `push`, to a repository of the hub too.

    Raises:
        ModelError: no such run.
        UsageError: the name is no file name.
        HubError: the hub does not take it.
    """
    if not name or Path(name).name != name:
        raise UsageError(f"'{name}' is no file name; letters, digits, dots and dashes are; give another --name")
    student = read_student(run)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file, tensors in (
        (folder / DIFFUSERS_FILE, diffusers_tensors(student)),
        (folder / f"{name}.safetensors", kohya_tensors(student)),
    ):
        save_file({k: v.half().contiguous() for k, v in tensors.items()}, file, metadata(student))
        file.chmod(0o644)  # safetensors makes private files; these are to be shared
        written.append(file)
    (folder / "README.md").write_text(card, encoding="utf-8")
    if push is not None:
        _push(folder, push)
    return written


def _push(folder: Path, repo: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        api = HfApi()
        api.create_repo(repo, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder)
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as exc:
        reason = " ".join(str(exc).split())[:200]
        raise HubError(
            f"'{repo}' was not written to the hub ({reason}); the files are in '{folder}'; see `hf auth`"
        ) from exc
