"""Which precision a device is fast in."""

from __future__ import annotations

from typing import Literal

import torch


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it faster, else float32.

    Of CPUs those with tiles for it (AMX): instructions alone (AVX512_BF16) are slower than float32 in this network.
    """
    if device.type == "cpu":
        native = bool(torch.cpu._is_amx_tile_supported())
    else:
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def quick_on_cpu() -> Literal["fp32", "bf16"]:
    """What nano is quicker in by torch: bf16 with tiles of it (AMX); other CPUs that know it lose more around it."""
    return "bf16" if torch.cpu._is_amx_tile_supported() else "fp32"
