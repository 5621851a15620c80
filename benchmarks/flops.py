"""What calls of the hub's networks cost, counted without weights: the figures of docs/training-hub-models.md.

    python benchmarks/flops.py [--sizes 512,1024] [--rank 64]

The shapes are those of the published configurations of SDXL, Stable Diffusion 1.5 and their VAEs; tensors live nowhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from stdvid.distill.hub_players import LAYERS

UNETS: dict[str, dict[str, Any]] = {
    "SDXL": {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (320, 640, 1280),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "transformer_layers_per_block": (1, 2, 10),
        "projection_class_embeddings_input_dim": 2816,
    },
    "Stable Diffusion 1.5": {"cross_attention_dim": 768},
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}


def tflop(call: Callable[[], object]) -> float:
    """TFLOP of a call; a product and a sum are two operations."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / 1e12


def main() -> None:
    """Print a line for each network and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="512,1024", help="sides of square pictures, px")
    parser.add_argument("--rank", type=int, default=64, help="of the low-rank changes that are counted")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    with torch.device("meta"):
        for name, shape in UNETS.items():
            unet: Any = UNet2DConditionModel(**shape)  # type: ignore[no-untyped-call]
            count = sum(parameter.numel() for parameter in unet.parameters())
            linear = (m for key, m in unet.named_modules() if isinstance(m, torch.nn.Linear) and key.endswith(LAYERS))
            changed = sum(arguments.rank * (layer.in_features + layer.out_features) for layer in linear)
            print(f"{name}: {count / 1e9:.2f} G weights, changes of rank {arguments.rank}: {changed / 1e6:.0f} M")
            added = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)} if name == "SDXL" else {}
            for size in sizes:
                latents, words = (
                    torch.empty(1, 4, size // 8, size // 8),
                    torch.empty(1, 77, shape["cross_attention_dim"]),
                )
                cost = tflop(partial(unet, latents, torch.ones(1), words, added_cond_kwargs=added))
                print(f"  a call at {size} px  {cost:.2f} TFLOP")
        vae: Any = AutoencoderKL(latent_channels=4, **VAE)  # type: ignore[no-untyped-call]
        for size in sizes:
            decoding = tflop(partial(vae.decode, torch.empty(1, 4, size // 8, size // 8)))
            encoding = tflop(partial(vae.encode, torch.empty(1, 3, size, size)))
            print(f"VAE at {size} px  decoding {decoding:.2f}, encoding {encoding:.2f} TFLOP")


if __name__ == "__main__":
    main()
