"""Models of the hub, broken in every way: each maker breaks one thing on a desk and returns the preset that uses it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_models
import torch
from diffusers import AutoencoderKL, MotionAdapter
from safetensors.torch import load_file, save_file

Change = Callable[["Desk"], str]


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@dataclass(frozen=True)
class Desk:
    """A folder with a model of each kind, `tiny`, and whatever is broken beside it."""

    root: Path
    tiny: Path

    @property
    def marker(self) -> Path:
        return self.root / "code-was-run"

    def base(self, kind: str = "sd15") -> Path:
        """A copy of a model, to be broken."""
        return Path(shutil.copytree(self.tiny / kind, self.root / "base"))

    def copy(self, name: str) -> Path:
        """A copy of another part."""
        source, target = self.tiny / name, self.root / name
        return Path(shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target))

    def pickled(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".ckpt":  # torch's own container of a pickle
            torch.save(Evil(self.marker), path)
        else:
            path.write_bytes(pickle.dumps(Evil(self.marker)))
        return path

    def text(self, **keys: Any) -> str:
        """A preset, by default of the good model."""
        keys = {"base": self.tiny / "sd15"} | keys
        return "[model]\n" + "\n".join(f"{key} = {_toml(value)}" for key, value in keys.items())

    def lora(self, path: Path, **keys: Any) -> str:
        return self.text() + f"\n[[model.lora]]\npath = '{path}'\n" + _lines(keys)

    def ip(self, folder: Path, **keys: Any) -> str:
        return (
            self.text()
            + f"\n[model.ip_adapter]\npath = '{folder}'\n"
            + _lines({"weight_name": "ip.safetensors"} | keys)
        )


def _toml(value: Any) -> str:
    return json.dumps(str(value)) if isinstance(value, Path) else json.dumps(value)


def _lines(keys: dict[str, Any]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items())


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def told(path: Path, **keys: Any) -> None:
    """Write keys into a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def rewritten(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})
    return path


UNET, VAE, WORDS = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
)


def of_base(change: Callable[[Path], object], kind: str = "sd15") -> Change:
    """A preset of a model to which something has been done."""

    def make(desk: Desk) -> str:
        change(base := desk.base(kind))
        return desk.text(base=base)

    return make


def only_pickles(part: str) -> Change:
    def make(desk: Desk) -> str:
        base = desk.base()
        next((base / part).glob("*.safetensors")).unlink()
        desk.pickled(f"base/{part}/diffusion_pytorch_model.bin")
        desk.pickled(f"base/{part}/pytorch_model.bin")
        return desk.text(base=base)

    return make


def evil_index(library: str, name: str) -> Change:
    """A model whose index names code, which could be imported."""

    def make(desk: Desk) -> str:
        base = desk.base()
        (desk.root / "evil.py").write_text(f"import os\nos.mkdir({str(desk.marker)!r})\nclass Net: pass\n")
        shutil.copy(desk.root / "evil.py", base / "unet" / "evil.py")
        told(base / "model_index.json", unet=[library, name], _class_name=[library, name])
        return desk.text(base=base)

    return make


def evil_file(desk: Desk) -> str:
    """The same where a single file is described by a folder."""
    text = evil_index("evil", "Net")(desk)
    single = shutil.copy(desk.tiny / "sd15" / UNET, desk.root / "single.safetensors")
    return text.replace("base =", "config =") + f"\nbase = '{single}'"


def disguised(desk: Desk) -> str:
    return desk.lora(desk.pickled("lora.bin").rename(desk.root / "lora.safetensors"))


def shards_elsewhere(name: str) -> Change:
    def make(desk: Desk) -> str:
        base = desk.base()
        desk.pickled("evil.bin")
        desk.pickled("base/unet/evil.bin")
        weights = base / UNET
        weights.rename(base / "unet" / "diffusion_pytorch_model-00001-of-00001.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(("conv_in.weight", "conv_in.bias"), name)}
        (base / f"{UNET}.index.json").write_text(json.dumps(index))
        return desk.text(base=base)

    return make


def other_motion(desk: Desk) -> str:
    with torch.random.fork_rng():
        MotionAdapter((32, 32), 2, motion_norm_num_groups=8, motion_num_attention_heads=2).save_pretrained(
            desk.root / "motion"
        )
    return desk.text(motion_adapter=desk.root / "motion")


def other_vae(**changes: Any) -> Change:
    def make(desk: Desk) -> str:
        config = dict(tiny_models.vae().config) | changes
        known = {name: value for name, value in config.items() if not name.startswith("_")}
        AutoencoderKL(**known).save_pretrained(desk.root / "vae")
        return desk.text(vae=desk.root / "vae")

    return make


def other_encoder(desk: Desk) -> str:
    """An image encoder whose embeddings are wider than the adapter takes."""
    folder = desk.copy("sd15-ip")
    told(folder / "image_encoder" / "config.json", projection_dim=48)
    rewritten(
        folder / "image_encoder" / "model.safetensors",
        lambda tensors: tensors.update({"visual_projection.weight": torch.zeros(48, 32)}),
    )
    return desk.ip(folder)


def nan_lora(desk: Desk) -> str:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[min(tensors)].fill_(float("nan"))

    return desk.lora(rewritten(desk.copy("sd15-lora.safetensors"), spoil))


def foreign_lora(desk: Desk) -> str:
    path = desk.root / "foreign.safetensors"
    save_file({f"lora_unet_nowhere.lora_{n}.weight": torch.ones(2, 2) for n in ("down", "up")}, path)
    return desk.lora(path)


def partly_foreign_lora(desk: Desk) -> str:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        name = "lora_unet_down_blocks_7_attentions_0_transformer_blocks_0_attn1_to_q"
        tensors |= {f"{name}.lora_down.weight": torch.ones(2, 64), f"{name}.lora_up.weight": torch.ones(64, 2)}

    return desk.lora(rewritten(desk.copy("sd15-lora.safetensors"), add))


def no_lora(desk: Desk) -> str:
    save_file({"weight": torch.ones(2)}, desk.root / "no.safetensors")
    return desk.lora(desk.root / "no.safetensors")


def said_lora(**said: str) -> Change:
    def make(desk: Desk) -> str:
        said_here = {key.replace("_", "."): value for key, value in said.items()}
        return desk.lora(tiny_models.kohya_lora("sd15", desk.root / "said.safetensors", **said_here))

    return make


def outside_lora(desk: Desk) -> str:
    desk.copy("sd15-lora.safetensors")
    (desk.root / "loras").mkdir()
    return desk.lora(desk.root / "loras", weight_name="../sd15-lora.safetensors")


def cut(name: str, text: Callable[[Desk], str]) -> Change:
    """A preset one of whose files, already beside it, has lost its end."""

    def make(desk: Desk) -> str:
        words = text(desk)
        truncated(desk.root / name)
        return words

    return make
