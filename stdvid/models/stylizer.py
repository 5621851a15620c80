"""Frames and references in, conditioned denoiser out: everything around a nano network at inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stdvid.diffusion.denoiser import Guided
from stdvid.diffusion.schedule import Schedule
from stdvid.models.anchor_attention import AnchorAttention, Memory
from stdvid.models.graphic import Graphic, solid
from stdvid.models.hatching import Pen
from stdvid.models.nano import SIZE_MULTIPLE_PX, Nano, encode
from stdvid.models.palette import ColourMap, Palette
from stdvid.models.precision import fast_dtype
from stdvid.models.structure import structure_map
from stdvid.models.style_encoder import STYLE_CROP_PX, StyleCode

CROPS_PER_SIDE = 3

BORDER_PX = 16
"""Mirrored picture around each frame, cut off in the end: networks see zeros beyond a border and paint lines there."""


def to_tensor(frames: NDArray[np.uint8]) -> Tensor:
    """uint8 [T, H, W, 3] to float [T, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_frames(images: Tensor) -> NDArray[np.float32]:
    """float [T, 3, H, W] in [-1, 1] to float32 [T, H, W, 3] in 0..255, not rounded (windows are blended first)."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1)
    return np.ascontiguousarray(pixels.cpu().numpy(), dtype=np.float32)


@dataclass(frozen=True)
class Style:
    """A read reference: its code (batch 1), its palette, how graphic it is, and its pictures, float [1, 3, H, W] in
    [-1, 1]."""

    code: StyleCode
    palette: Palette
    graphic: Graphic
    pictures: tuple[Tensor, ...]

    def look(self, source: Palette) -> Look:
        """What becomes of frames with palette `source` under this style, before anything is painted."""
        graphic = self.graphic
        colours = ColourMap.between(
            source,
            self.palette,
            flatness=graphic.flatness,
            paper=graphic.paper,
            posterized=graphic.posterized,
        )
        return Look(graphic, colours, Pen.between(source, self.palette) if graphic.hatched else None)


@dataclass(frozen=True)
class Look:
    """How frames of a shot are simplified, where their colours go, and the pen that draws them, if any."""

    graphic: Graphic
    colours: ColourMap
    pen: Pen | None

    def apply(self, frames: Tensor, amount: float) -> Tensor:
        """`frames`, float [T, 3, H, W] in [-1, 1], as the network is to begin with them; `amount` 0 returns them."""
        simple = self.graphic.simplify(frames, amount)
        matched = self.colours.apply(simple, amount)
        if self.pen and amount:
            matched = torch.lerp(matched, self.pen.draw(simple, frames), self.graphic.hatched * amount)
        return matched


@dataclass(frozen=True)
class Condition:
    """What a window is denoised under: `x_0` latents of the palette-matched frames, structure, style."""

    x_0: Tensor
    structure: Tensor
    code: StyleCode


def style_crops(reference: Tensor) -> Tensor:
    """A 3 x 3 grid of overlapping squares, half the short side wide, [9, 3, S, S].

    `reference`: float [1, 3, H, W]. The same crops every time: reading a reference draws nothing at random.
    """
    height, width = reference.shape[-2:]
    crops = []
    side = max(1, min(height, width) // 2)
    for i in range(CROPS_PER_SIDE):
        for j in range(CROPS_PER_SIDE):
            top, left = ((length - side) * k // (CROPS_PER_SIDE - 1) for length, k in ((height, i), (width, j)))
            crop = reference[..., top : top + side, left : left + side]
            crops.append(F.interpolate(crop, (STYLE_CROP_PX,) * 2, mode="bilinear", antialias=True))
    return torch.cat(crops)


def pad(images: Tensor) -> Tensor:
    """Mirror `images` [N, C, H, W] around themselves, by BORDER_PX and up to multiples of SIZE_MULTIPLE_PX.

    Pictures too small to be mirrored repeat their border.
    """
    height, width = images.shape[-2:]
    right, bottom = (BORDER_PX + -side % SIZE_MULTIPLE_PX for side in (width, height))
    mode = "reflect" if right < width and bottom < height else "replicate"
    return F.pad(images, (BORDER_PX, right, BORDER_PX, bottom), mode=mode)


def unpad(images: Tensor, height: int, width: int) -> Tensor:
    """What `pad` put the border around, [N, C, height, width]."""
    return images[..., BORDER_PX : BORDER_PX + height, BORDER_PX : BORDER_PX + width]


class Stylizer:
    """A nano network ready for inference: reads styles, builds conditions, denoises.

    Its weights and all states are float32; the network computes in the precision that its device is fast in.
    """

    def __init__(self, model: Nano, schedule: Schedule) -> None:
        self.model, self.schedule = model, schedule
        self._attention = AnchorAttention(model.unet)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(self.model.parameters()).device

    @torch.no_grad()
    def read_style(self, references: Sequence[NDArray[np.uint8]], scale: float = 1.0) -> Style:
        """Read reference images, uint8 [H, W, 3] each; several make one style: tokens together, vectors averaged.

        The palette is that of all their pixels, each image weighing the same. `scale` above 1 exaggerates what sets the
        style apart, below 1 tones it down.
        """
        tensors = [to_tensor(image[None]).to(self.device) for image in references]
        codes = [self.model.style(style_crops(t)) for t in tensors]
        tokens = torch.cat([c.tokens.flatten(0, 1) for c in codes])[None]
        vector = torch.stack([c.vector.mean(0) for c in codes]).mean(0, keepdim=True)
        code = StyleCode(tokens, vector)
        scaled = code.scaled(scale, self.model.style.null(code))
        judged = [Graphic.of(t) for t in tensors]
        palettes = [Palette.of(solid(t, graphic.flatness)) for t, graphic in zip(tensors, judged, strict=True)]
        return Style(scaled, Palette.pooled(palettes), Graphic.mean(judged), tuple(tensors))

    def look(self, frames: Tensor, style: Style, color: float) -> Look:
        """What becomes of `frames`, float [T, 3, H, W] in [-1, 1], under a style, before they are painted."""
        return style.look(Palette.of(style.graphic.simplify(frames.to(self.device), color)))

    def condition(self, frames: Tensor, style: Style, color: float, look: Look | None = None) -> Condition:
        """Bind `frames`, float [T, 3, H, W] in [-1, 1], to a style.

        `color` 0..1 is how far they move to its colours, and how far they are simplified for it. `look` is that of
        their shot; by default of these frames.
        """
        frames = frames.to(self.device)
        matched = (look or self.look(frames, style, color)).apply(frames, color)
        frames, matched = pad(frames), pad(matched)
        return Condition(encode(matched), encode(structure_map(frames)), style.code)

    def denoiser(
        self, condition: Condition, guidance: float = 1.0, anchors: Sequence[Memory] = (), keep: Memory | None = None
    ) -> Guided:
        """The network under `condition`; guidance 1 is one call a step, any other value two.

        Frames see `anchors` in self-attention; what a single frame has attended to is put into `keep`.
        """
        null, dtype = self.model.style.null(condition.code), fast_dtype(self.device)

        def call(code: StyleCode, x_t: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
                out: Tensor = self.model(x_t, t, condition.structure, code.expand(x_t.shape[0]))
            return out.clamp(-1.1, 1.1)

        def styled(x_t: Tensor, t: Tensor) -> Tensor:
            with self._attention.looking(int(t[0]), anchors, keep):
                return call(condition.code, x_t, t)

        return Guided(styled, lambda x, t: call(null, x, t), guidance)
