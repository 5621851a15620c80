"""Stable Diffusion 1.5 and SDXL with random weights, as small as they can be: the real classes, in the real folders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    DDIMScheduler,
    MotionAdapter,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

CROSS = {"sd15": 32, "sdxl": 64}
"""Width of what the networks attend to."""


def build_all(folder: Path) -> Path:
    """Both kinds, each with an IP-Adapter, motion adapter, LoRA and ControlNet: sdxl, sdxl-ip, sdxl-motion, ..."""
    for kind in CROSS:
        build(kind, folder / kind)
        ip_adapter(kind, folder / f"{kind}-ip")
        motion_adapter(kind, folder / f"{kind}-motion")
        kohya_lora(kind, folder / f"{kind}-lora.safetensors")
        controlnet(kind, folder / f"{kind}-control")
    return folder


def build(kind: str, folder: Path, seed: int = 0) -> Path:
    """A folder as `from_pretrained` reads it."""
    torch.manual_seed(seed)
    unet(kind).save_pretrained(folder / "unet")
    vae().save_pretrained(folder / "vae")
    names = {"sdxl": {"": CLIPTextModel, "_2": CLIPTextModelWithProjection}, "sd15": {"": CLIPTextModel}}[kind]
    for name, encoder in names.items():
        encoder(text_config("gelu" if name else "quick_gelu")).save_pretrained(folder / f"text_encoder{name}")
        tokenizer(folder / f"tokenizer{name}", "!" if name else "<|endoftext|>")
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionXLPipeline" if kind == "sdxl" else "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    for name, encoder in names.items():
        index[f"text_encoder{name}"] = ["transformers", encoder.__name__]
        index[f"tokenizer{name}"] = ["transformers", "CLIPTokenizer"]
    if kind == "sdxl":
        index["force_zeros_for_empty_prompt"] = True
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def unet(kind: str) -> UNet2DConditionModel:
    more: dict[str, Any] = {}
    if kind == "sdxl":
        more = {
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "transformer_layers_per_block": (1, 2),
            "projection_class_embeddings_input_dim": 6 * 8 + 32,
        }
    return UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=2,
        sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        cross_attention_dim=CROSS[kind],
        **more,
    )


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        force_upcast=False,
        scaling_factor=0.13025,
    )


def tiny_vae(folder: Path) -> Path:
    torch.manual_seed(3)
    AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    ).save_pretrained(folder)
    return folder


def text_config(activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=3,
        vocab_size=600,
        projection_dim=32,
        hidden_act=activation,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=1,
    )


def tokenizer(folder: Path, pad: str) -> None:
    """CLIP's byte-pair tokenizer with the bytes alone for a vocabulary, and a few merges."""
    folder.mkdir(parents=True)
    base = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [256 + n for n in range(256 - len(base))]
    letters = [chr(n) for n in (*base, *rest)]
    words = [*letters, *(letter + "</w>" for letter in letters)]
    special = ["<|startoftext|>", "<|endoftext|>"]
    merges = ["t h", "th e</w>", "a n", "i n", "in g</w>"]
    merged = [merge.replace(" ", "") for merge in merges]
    vocabulary = {word: number for number, word in enumerate([*words, *special, *merged])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    config = {
        "model_max_length": 77,
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": special[0],
        "eos_token": special[1],
        "unk_token": special[1],
        "pad_token": pad,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    CLIPTokenizer.from_pretrained(folder)


def ip_adapter(kind: str, folder: Path) -> Path:
    """An IP-Adapter's file beside its image encoder."""
    torch.manual_seed(1)
    CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=37,
            num_attention_heads=4,
            num_hidden_layers=3,
            projection_dim=32,
            image_size=32,
            patch_size=8,
        )
    ).save_pretrained(folder / "image_encoder")
    cross, tokens = CROSS[kind], 4
    tensors = {
        "image_proj.proj.weight": torch.randn(cross * tokens, 32) / 6,
        "image_proj.proj.bias": torch.zeros(cross * tokens),
        "image_proj.norm.weight": torch.ones(cross),
        "image_proj.norm.bias": torch.zeros(cross),
    }
    number = 1
    network = unet(kind)
    for name in network.attn_processors:
        if ".attn2." in name:
            width = network.get_submodule(name.removesuffix(".processor")).to_k.out_features
            for part in ("to_k_ip", "to_v_ip"):
                tensors[f"ip_adapter.{number}.{part}.weight"] = torch.randn(width, cross) / cross**0.5
            number += 2
    save_file(tensors, folder / "ip.safetensors")
    return folder


def motion_adapter(kind: str, folder: Path) -> Path:
    torch.manual_seed(2)
    adapter = MotionAdapter(
        block_out_channels=(32, 64),
        motion_layers_per_block=2,
        motion_norm_num_groups=8,
        motion_num_attention_heads=2,
        motion_max_seq_length=16,
        use_motion_mid_block=kind == "sd15",
    )
    return awake(adapter, 0.3, folder)


def controlnet(kind: str, folder: Path) -> Path:
    """A ControlNet of such a UNet."""
    torch.manual_seed(5)
    network = ControlNetModel.from_unet(unet(kind), conditioning_embedding_out_channels=(8, 16, 16, 16))
    return awake(network, 0.1, folder)


def awake(network: Any, std: float, folder: Path) -> Path:
    """A network whose last layers begin at 0, and would do nothing, saved with something in them."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=std)
    network.save_pretrained(folder)
    return folder


def kohya_lora(kind: str, path: Path, rank: int = 2, **metadata: str) -> Path:
    """Random low-rank changes to every attention of a UNet, as kohya's scripts name and write them."""
    generator = torch.Generator().manual_seed(4)
    tensors: dict[str, Tensor] = {}
    for name, layer in unet(kind).named_modules():
        if isinstance(layer, torch.nn.Linear) and ".attn" in name:
            key = "lora_unet_" + name.replace(".", "_")
            tensors[f"{key}.lora_down.weight"] = torch.randn(rank, layer.in_features, generator=generator) / 8
            tensors[f"{key}.lora_up.weight"] = torch.randn(layer.out_features, rank, generator=generator) / 8
            tensors[f"{key}.alpha"] = torch.tensor(float(rank) / 2)
    save_file(tensors, path, metadata)
    return path


def single_file(base: Path, path: Path) -> Path:
    """All of a Stable Diffusion 1.5 in one file, by the names that it had before diffusers."""
    per_block, vae_blocks = 3, 4
    tensors: dict[str, Tensor] = {}
    for name, tensor in load_file(base / "unet" / "diffusion_pytorch_model.safetensors").items():
        tensors[f"model.diffusion_model.{_ldm_unet(name, per_block)}"] = tensor
    for name, tensor in load_file(base / "vae" / "diffusion_pytorch_model.safetensors").items():
        tensors[f"first_stage_model.{_ldm_vae(name, vae_blocks)}"] = tensor
    for name, tensor in load_file(base / "text_encoder" / "model.safetensors").items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def _ldm_unet(name: str, per_block: int) -> str:
    where = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.|mid_block\.(\w+)\.(\d)\.", name)
    if where and where[1]:
        side, block, kind, layer = where[1], int(where[2]), where[3], int(where[4])
        first = block * per_block + (side == "down")
        places = {
            "resnets": f"{first + layer}.0.",
            "attentions": f"{first + layer}.1.",
            "downsamplers": f"{first + per_block - 1}.0.",
            "upsamplers": f"{first + per_block - 1}.{2 if block == 0 else 1}.",  # the first one has attention too
        }
        name = f"{'input' if side == 'down' else 'output'}_blocks.{places[kind]}{name[where.end() :]}"
    elif where:
        name = f"middle_block.{1 if where[5] == 'attentions' else 2 * int(where[6])}.{name[where.end() :]}"
    names = {
        "conv_in.": "input_blocks.0.0.",
        "conv_norm_out.": "out.0.",
        "conv_out.": "out.2.",
        "time_embedding.linear_1.": "time_embed.0.",
        "time_embedding.linear_2.": "time_embed.2.",
    }
    for new, old in names.items():
        if name.startswith(new):
            return name.replace(new, old)
    if "input_blocks" in name and ".0.conv." in name:
        return name.replace(".0.conv.", ".0.op.")
    if ".transformer_blocks." in name or (".1." in name and "proj_" in name):
        return name
    for new, old in {
        "norm1.": "in_layers.0.",
        "conv1.": "in_layers.2.",
        "time_emb_proj.": "emb_layers.1.",
        "norm2.": "out_layers.0.",
        "conv2.": "out_layers.3.",
        "conv_shortcut.": "skip_connection.",
    }.items():
        name = name.replace(new, old)
    return name


def _ldm_vae(name: str, blocks: int) -> str:
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{blocks - 1 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
        name = re.sub(r"to_([qkv])\.", r"\1.", name).replace("to_out.0", "proj_out")
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
