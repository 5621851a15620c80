"""nano: a style-conditioned denoiser in pixel space, small enough to ship inside the package.

    noisy latents x_t [N,48,h,w] --+
    structure map      [N,16,h,w] -+--> UNet (time, style vector, style tokens) --> x_0 [N,48,h,w]

Latents are pixels moved to channels by 4x4 space-to-depth, so the codec is lossless and free. The network predicts
x_0: noise of this many channels cannot pass through a narrow network, a picture can.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from stdvid.models.patches import PATCH_PX
from stdvid.models.style_encoder import StyleCode, StyleEncoder

DEFAULT_ARCHITECTURE: dict[str, Any] = {
    "channels": [64, 96, 128],
    "layers": 1,
    "heads": 8,
    "token_dim": 128,
    "vector_dim": 256,
}


class Nano(nn.Module):
    """The denoiser and its style encoder: all that is trained, and all that a weight file holds."""

    def __init__(self, channels: list[int], layers: int, heads: int, token_dim: int, vector_dim: int) -> None:
        super().__init__()
        pixels = PATCH_PX**2
        self.unet: Any = UNet2DConditionModel(  # type: ignore[no-untyped-call]
            in_channels=4 * pixels,
            out_channels=3 * pixels,
            down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            attention_head_dim=heads,
            cross_attention_dim=token_dim,
            norm_num_groups=16,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=vector_dim,
            resnet_time_scale_shift="scale_shift",
        )
        self.style = StyleEncoder(token_dim, vector_dim)
        self.channels_last()

    def channels_last(self) -> Nano:
        """Lay the weights out for convolutions, as CPUs and tensor cores want them; returns itself."""
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def forward(self, x_t: Tensor, t: Tensor, structure: Tensor, style: StyleCode) -> Tensor:
        """Predict x_0, float32 [N, 48, h, w].

        `x_t`: [N, 48, h, w]; `t`: int [N]; `structure`: encoded structure map [N, 16, h, w], all 0 for "none";
        `style`: batch N. h and w are multiples of 4.
        """
        inputs = torch.cat([x_t, structure], 1).contiguous(memory_format=torch.channels_last)
        out = self.unet(inputs, t, encoder_hidden_states=style.tokens, class_labels=style.vector, return_dict=False)[0]
        x_0: Tensor = out.float()
        return x_0
