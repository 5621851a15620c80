"""Which precision a device is fast in."""

from __future__ import annotations

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
