"""Frozen DINOv2 (arXiv 2304.07193) as a feature network, through transformers: what the paper judges fakes by."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from stdvid.errors import ModelError, UsageError

SIDE_PX = 224
"""Pictures are brought to this side, the one that DINOv2 discriminators are used at (arXiv 2412.18945)."""

TAPS = 4
"""Maps are taken after so many blocks at equal distances, the last block among them: 2, 5, 8, 11 of the small model."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DinoFeatures(nn.Module):
    """TAPS maps of patch tokens, [N, C, 16, 16] each for patches of 14 px."""

    def __init__(self, source: str) -> None:
        """`source`: a folder with a DINOv2 model in transformers' format.

        Raises UsageError if transformers is missing, ModelError if there is no such model.
        """
        super().__init__()
        try:
            from transformers import Dinov2Model
        except ImportError as exc:
            raise UsageError("transformers is not installed; DINOv2 needs it; pip install 'stdvid[train]'") from exc
        try:
            self.network = Dinov2Model.from_pretrained(source, use_safetensors=True, local_files_only=True)
        except (OSError, ValueError) as exc:
            raise ModelError(
                f"'{source}' is neither lite0, lite1 or lite2 nor a DINOv2 model with safetensors weights; "
                "give a folder or a hub id"
            ) from exc
        depth = self.network.config.num_hidden_layers
        self.taps = tuple(depth * (k + 1) // TAPS for k in range(TAPS))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of `images`, float [N, 3, H, W] in [-1, 1]; differentiable in them."""
        if images.shape[-2:] != (SIDE_PX, SIDE_PX):
            images = F.interpolate(images, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)
        mean, std = (images.new_tensor(v).view(1, 3, 1, 1) for v in (_MEAN, _STD))
        states = self.network((images / 2 + 0.5 - mean) / std, output_hidden_states=True).hidden_states
        tokens = [states[tap][:, 1:].mT for tap in self.taps]
        side = math.isqrt(tokens[0].shape[2])
        return [t.unflatten(2, (side, side)) for t in tokens]
