"""Frames and references in, conditioned denoiser out: what painting asks of a model, and what all models share.

references -> Style: what the network knows of it, its colours, how graphic it is
frames     -> Condition: colours moved to the reference's, latents x_0, what the network is told
Condition  -> Denoiser -> latents -> pictures
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.diffusion.denoiser import Denoiser
from stdvid.diffusion.schedule import Schedule
from stdvid.models.anchor_attention import Memory
from stdvid.models.canvas import Canvas, Region
from stdvid.models.graphic import Graphic, solid
from stdvid.models.hatching import Pen
from stdvid.models.palette import ColourMap, Palette

Image = NDArray[np.uint8]
"""[H, W, 3]"""


def to_tensor(frames: NDArray[np.uint8]) -> Tensor:
    """uint8 [T, H, W, 3] to float [T, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_frames(images: Tensor) -> NDArray[np.float32]:
    """float [T, 3, H, W] in [-1, 1] to float32 [T, H, W, 3] in 0..255, not rounded (windows are blended first)."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1)
    return np.ascontiguousarray(pixels.cpu().numpy(), dtype=np.float32)


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
class Style:
    """A read reference: its `code` for the network, its palette, how graphic it is, and its pictures, float
    [1, 3, H, W] in [-1, 1]."""

    code: Any
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
class Condition:
    """What frames are denoised under: `x_0`, latents of `content`, the padded frames in the colours wanted, float
    [T, 3, H, W] in [-1, 1]; and what else the network is `told`."""

    x_0: Tensor
    content: Tensor
    told: Any


class Stylizer(ABC):
    """A model ready for inference: reads styles, builds conditions, denoises. States are float32."""

    schedule: Schedule
    canvas: Canvas
    together: bool = False
    """Whether frames of a call see one another, as a video, and all of a window are to be in one call."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the network runs."""

    @abstractmethod
    def frames_together(self, width: int, height: int) -> int:
        """How many frames of this size go through the network in one call, at most."""

    @abstractmethod
    def encode_style(self, references: Sequence[Tensor], scale: float) -> Any:
        """The `code` of references, float [1, 3, H, W] in [-1, 1] each."""

    @abstractmethod
    def bind(self, frames: Tensor, content: Tensor, style: Style) -> Condition:
        """The condition of padded `frames` and their `content`, [T, 3, H, W] in [-1, 1] both."""

    @abstractmethod
    def denoiser(
        self, condition: Condition, guidance: float = 1.0, anchors: Sequence[Memory] = (), keep: Memory | None = None
    ) -> Denoiser:
        """The network under `condition`; guidance 1 is one call a step, any other value two.

        Frames see `anchors` in self-attention; what a single frame has attended to is put into `keep`.
        """

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [T, C, h, w] as padded pictures [T, 3, H, W], about [-1, 1]."""

    @torch.no_grad()
    def read_style(self, references: Sequence[Image], scale: float = 1.0) -> Style:
        """Read reference images, uint8 [H, W, 3] each; several make one style.

        The palette is that of all their pixels, each image weighing the same. `scale` above 1 exaggerates what sets the
        style apart, below 1 tones it down.
        """
        tensors = [to_tensor(image[None]).to(self.device) for image in references]
        judged = [Graphic.of(t) for t in tensors]
        palettes = [Palette.of(solid(t, graphic.flatness)) for t, graphic in zip(tensors, judged, strict=True)]
        code = self.encode_style(tensors, scale)
        return Style(code, Palette.pooled(palettes), Graphic.mean(judged), tuple(tensors))

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
        return self.bind(self.canvas.pad(frames), self.canvas.pad(matched), style)


class PartStylizer(Stylizer):
    """A stylizer that may paint a part of a frame without the rest."""

    @abstractmethod
    def part(self, condition: Condition, frame: int, region: Region) -> Condition:
        """The condition of a region of a frame, whose sides are multiples of the canvas's."""
