"""Judges whose weights the user brings: CSD, the LAION aesthetic predictor, LPIPS. Never a stand-in under their names.

All are read from safetensors, nothing is unpickled; names are those of the published checkpoints:

CSD         (arXiv 2404.01292)  backbone.* in OpenAI's CLIP naming, last_layer_style [width, dim]
aesthetic   (LAION, improved aesthetic predictor)  layers.N.weight, layers.N.bias; and a CLIP image tower with its proj
LPIPS       (arXiv 1801.03924, AlexNet)  features.N.* of torchvision's AlexNet and linN.model.1.weight
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stdvid.errors import ModelError

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_LPIPS_SHIFT, _LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_ALEXNET = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))
"""Index, stride and padding of AlexNet's convolutions; the second and third follow a 3x3 pooling of stride 2."""


class Judge(Protocol):
    """A figure of a picture; `image`, `content` and `reference` are float [1, 3, H, W] in [-1, 1]."""

    name: str

    def __call__(self, image: Tensor, content: Tensor, reference: Tensor) -> float:
        """The figure."""
        ...


class ClipVision(nn.Module):
    """CLIP's image tower (arXiv 2103.00020) under OpenAI's names; sizes are read from its weights."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        width, _, self.patch, _ = state["conv1.weight"].shape
        depth = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("transformer.resblocks."))
        self.side = round(math.sqrt(state["positional_embedding"].shape[0] - 1)) * self.patch
        self.conv1 = nn.Conv2d(3, width, self.patch, self.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty_like(state["positional_embedding"]))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        blocks = [_Block(width, state["transformer.resblocks.0.mlp.c_fc.weight"].shape[0]) for _ in range(depth)]
        self.transformer = nn.ModuleDict({"resblocks": nn.Sequential(*blocks)})
        self.load_state_dict({key: value.float() for key, value in state.items()})
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Features [N, width] of `images`, float [N, 3, H, W] in [-1, 1], the centre at the tower's size."""
        height, width = images.shape[-2:]
        scale = self.side / min(height, width)
        size = max(self.side, round(height * scale)), max(self.side, round(width * scale))
        images = F.interpolate(images / 2 + 0.5, size, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (size[0] - self.side) // 2, (size[1] - self.side) // 2
        images = images[..., top : top + self.side, left : left + self.side]
        x = self.conv1((images - _channels(images, _CLIP_MEAN)) / _channels(images, _CLIP_STD)).flatten(2).mT
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        x = self.transformer["resblocks"](self.ln_pre(x))
        out: Tensor = self.ln_post(x[:, 0])
        return out


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, max(1, width // 64), batch_first=True)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, hidden), "c_proj": nn.Linear(hidden, width)})

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        h = self.mlp["c_fc"](self.ln_2(x))
        out: Tensor = x + self.mlp["c_proj"](h * torch.sigmoid(1.702 * h))
        return out


class Csd:
    """Cosine similarity of contrastive style descriptors to the reference; 1 is the same style."""

    name = "csd"

    def __init__(self, path: Path) -> None:
        """Raises ModelError if `path` does not hold CSD."""
        state = _read(path)
        with _Fits(path, "CSD: backbone.* and last_layer_style"):
            self.head = state["last_layer_style"].float()
            self.tower = ClipVision(_below("backbone.", state))

    def __call__(self, image: Tensor, content: Tensor, reference: Tensor) -> float:
        """See `Judge`."""
        a, b = (self.tower(x) @ self.head for x in (image, reference))
        return float(F.cosine_similarity(a, b))


class Aesthetic:
    """The LAION aesthetic score, about 1 to 10, of the picture alone."""

    name = "aesthetic"

    def __init__(self, path: Path, clip: Path) -> None:
        """Raises ModelError if `path` is not the predictor or `clip` no CLIP image tower."""
        layers, state = _read(path), _read(clip)
        with _Fits(clip, "a CLIP image tower: conv1.weight, transformer.*, proj"):
            state = _below("visual.", state) or state
            self.proj = state.pop("proj").float()
            self.tower = ClipVision(state)
        with _Fits(path, "the LAION predictor: layers.N.weight and bias, the first as wide as the tower's proj"):
            numbers = sorted({int(key.split(".")[1]) for key in layers})
            self.layers = [(layers[f"layers.{n}.weight"].float(), layers[f"layers.{n}.bias"].float()) for n in numbers]
            if self.layers[0][0].shape[1] != self.proj.shape[1] or self.layers[-1][0].shape[0] != 1:
                raise ValueError("other sizes")

    def __call__(self, image: Tensor, content: Tensor, reference: Tensor) -> float:
        """See `Judge`."""
        x = F.normalize(self.tower(image) @ self.proj)
        for weight, bias in self.layers:
            x = F.linear(x, weight, bias)
        return float(x)


class Lpips:
    """Learned perceptual distance to the content; 0 is the same picture."""

    name = "lpips"

    def __init__(self, path: Path) -> None:
        """Raises ModelError if `path` does not hold AlexNet and the calibration."""
        state = _read(path)
        with _Fits(path, "LPIPS: features.N.weight of AlexNet and linN.model.1.weight"):
            self.layers = [
                (state[f"features.{n}.weight"].float(), state[f"features.{n}.bias"].float(), stride, padding)
                for n, stride, padding in _ALEXNET
            ]
            self.weights = [state[f"lin{k}.model.1.weight"].float() for k in range(len(_ALEXNET))]

    def _maps(self, images: Tensor) -> list[Tensor]:
        x = (images - _channels(images, _LPIPS_SHIFT)) / _channels(images, _LPIPS_SCALE)
        maps = []
        for k, (weight, bias, stride, padding) in enumerate(self.layers):
            if k in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
            maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps

    def __call__(self, image: Tensor, content: Tensor, reference: Tensor) -> float:
        """See `Judge`."""
        pairs = zip(self._maps(image), self._maps(content), self.weights, strict=True)
        return sum(float(F.conv2d((a - b).square(), weight).mean()) for a, b, weight in pairs)


class _Fits:
    """Turns what goes wrong while weights are taken up into one ModelError that says what was expected."""

    def __init__(self, path: Path, wanted: str) -> None:
        self.path, self.wanted = path, wanted

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: Any) -> None:
        if isinstance(exc, KeyError | ValueError | RuntimeError | IndexError):
            raise ModelError(
                f"'{self.path}' does not fit; needed is {self.wanted}; convert the published file"
            ) from exc


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as exc:
        raise ModelError(
            f"'{path}' is no readable safetensors file; checkpoints that are pickles are not opened; convert it"
        ) from exc


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _channels(like: Tensor, values: tuple[float, float, float]) -> Tensor:
    return like.new_tensor(values).view(1, 3, 1, 1)
