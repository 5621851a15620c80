"""The networks of a model of the hub, each from its own files by a class that is named here, whatever files may say.

    a folder of diffusers    unet, vae, text_encoder, tokenizer, ...: one by one
    a .safetensors file      all of them in the names of the first Stable Diffusion; `folder` describes their shapes

Loaders warn and go on where weights are missing; here that is an error (see `fitting`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from stdvid.errors import ModelError
from stdvid.models.fitting import whole
from stdvid.models.parts import read_json, weights_in


def base_parts(base: Path, folder: Path, *, xl: bool, vae: bool, dtype: torch.dtype) -> dict[str, Any]:
    """UNet, text encoders, tokenizers and scheduler by the names that pipelines give them, and the VAE if wanted."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    names = {"": CLIPTextModel} | ({"_2": CLIPTextModelWithProjection} if xl else {})
    config = read_json(folder / "scheduler" / "scheduler_config.json")
    parts: dict[str, Any] = {"scheduler": DDIMScheduler.from_config(config)}  # type: ignore[no-untyped-call]
    for name in names:
        parts[f"tokenizer{name}"] = CLIPTokenizer.from_pretrained(folder / f"tokenizer{name}", local_files_only=True)
    if base.is_file():
        from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm as convert

        state = load_file(base)
        here = {"config": str(folder), "torch_dtype": dtype, "local_files_only": True}
        known: dict[str, Any] = {"unet": UNet2DConditionModel} | ({"vae": AutoencoderKL} if vae else {})
        for name, cls in known.items():
            parts[name] = cls.from_single_file(state, subfolder=name, **here)
        for name, encoder in names.items():
            part = f"text_encoder{name}"
            parts[part] = convert(encoder, checkpoint=state, subfolder=part, **here)  # type: ignore[no-untyped-call]
        return parts
    parts["unet"] = pretrained(UNet2DConditionModel, base / "unet", torch_dtype=dtype)
    for name, encoder in names.items():
        parts[f"text_encoder{name}"] = pretrained(encoder, base / f"text_encoder{name}", dtype=dtype)
    if vae:
        parts["vae"] = load_vae(base / "vae", dtype)
    return parts


def load_vae(folder: Path, dtype: torch.dtype) -> Any:
    """An autoencoder, also a tiny one."""
    from diffusers import AutoencoderKL, AutoencoderTiny

    known: dict[str, Any] = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
    name = str(read_json(folder / "config.json").get("_class_name"))
    if name not in known:
        raise ModelError(f"'{folder}' holds a {name}; known are {', '.join(known)}; choose such a VAE")
    return pretrained(known[name], folder, torch_dtype=dtype)


def load_controlnet(folder: Path, dtype: torch.dtype) -> Any:
    """A ControlNet."""
    from diffusers import ControlNetModel

    name = str(read_json(folder / "config.json").get("_class_name"))
    if name != "ControlNetModel":
        raise ModelError(f"'{folder}' holds a {name}; a ControlNetModel is needed; choose such a one")
    return pretrained(ControlNetModel, folder, torch_dtype=dtype)


def with_motion(unet: Any, folder: Path) -> Any:
    """A UNet with motion modules."""
    from diffusers import MotionAdapter, UNetMotionModel

    adapter = pretrained(MotionAdapter, folder, torch_dtype=unet.dtype)
    moving: Any = UNetMotionModel.from_unet2d(unet, adapter)
    if unet.config.addition_embed_type is not None:  # left as it was drawn at random by diffusers 0.42 and before
        moving.add_embedding.load_state_dict(unet.add_embedding.state_dict())
    return moving.to(unet.dtype)


def pretrained(cls: Any, folder: Path, **options: Any) -> Any:
    """A network from its folder: from safetensors that are here, in half precision where there is nothing else."""
    half = all(".fp16" in path.name for path in weights_in(folder))
    options |= {"use_safetensors": True, "local_files_only": True, "variant": "fp16" if half else None}
    return whole(cls.from_pretrained(folder, output_loading_info=True, **options), folder)
