"""Graphic references, and frames simplified for them.

Prints, ink drawings and cel pictures are of few colours in plain areas, and say much by lines. A photograph in their
palette keeps soft shading and blur, which none of them has: it is flattened, as far as the reference is flat. And what
is dark in it becomes a black blob where the reference would draw: it is evenly lit, as far as the reference is lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stdvid.models.structure import LUMA, gaussian_blur, gradient, luminance

PLAIN, EDGE = 0.02, 0.08
"""Luminance gradients a pixel, of values in [-1, 1]: a place is plain below half of PLAIN; from PLAIN to EDGE it is
shading or brush, neither plain nor line."""

SOME_PLAIN, MUCH_PLAIN = 0.26, 0.36
"""Shares of plain places in what is neither paper nor line: canvas and brush leave less than SOME_PLAIN, prints more
than MUCH_PLAIN."""

LITTLE_SHADING, SOME_SHADING = 0.1, 0.2
"""Shares of shading or brush: prints and drawings have less than LITTLE_SHADING; beyond SOME_SHADING all is painted."""

SOME_LINES, ALL_LINES = 0.75, 0.9
"""Shares of lines, of what is not paper, in a pen drawing."""

PAPER, PAPER_DEPTH, PAPER_PX = 0.5, 0.25, 1.5
"""Paper is bright, above PAPER after a blur of PAPER_PX, and within PAPER_DEPTH of the brightest."""

EDGE_SIGMA_PX, EDGE_SIGMA = 20.0, 0.12
"""Reach of the edge-preserving filter, in pixels and in colours from 0 to 1."""

LIGHT_PX, LIGHT = 16.0, 0.7
"""Light is what a blur of so many pixels (standard deviation) leaves; so much of it is taken from lines' frames."""


@dataclass(frozen=True)
class Graphic:
    """How far references are made of flat areas, of lines, and of nothing but the lines of a pen, and how much of them
    is bare paper: each 0 to 1.

    A painting is (0, 0, 0, 0), a print about (1, 1, 0, 0), a pen drawing (1, 1, 1, .7), a watercolour (0, 0, 0, .5).
    """

    flatness: float
    linework: float
    hatched: float
    paper: float

    @classmethod
    def of(cls, reference: Tensor) -> Graphic:
        """Judge a picture, float [1, 3, H, W] in [-1, 1]. Blank paper around what is painted says nothing of it."""
        luma = luminance(reference)
        slope = gradient(luma)
        bright = gaussian_blur(luma, PAPER_PX)
        paper = (bright > PAPER) & (bright > bright.quantile(0.98) - PAPER_DEPTH)
        slopes = slope[~paper] if not paper.all() else slope.flatten()
        plain, shading, lines = (
            float(kind.float().mean())
            for kind in (slopes < PLAIN / 2, (slopes > PLAIN) & (slopes < EDGE), slopes > EDGE)
        )
        hatched = _between(lines, SOME_LINES, ALL_LINES)
        flatness = max(hatched, _between(plain / max(plain + shading, 1e-6), SOME_PLAIN, MUCH_PLAIN))
        linework = flatness * (1 - _between(shading, LITTLE_SHADING, SOME_SHADING))
        return cls(flatness, linework, hatched, float(paper.float().mean()))

    @classmethod
    def mean(cls, judged: Sequence[Graphic]) -> Graphic:
        """Of several references that make one style."""
        return cls(*(float(np.mean([getattr(g, f.name) for g in judged])) for f in fields(cls)))

    @property
    def posterized(self) -> float:
        """How far colours go to the main ones: all the way in cel pictures, while a pen makes tones out of lines."""
        return self.flatness * (1 - self.hatched)

    def simplify(self, images: Tensor, amount: float = 1.0) -> Tensor:
        """Frames, float [N, 3, H, W] in [-1, 1], as such a reference would want them; `amount` 0 returns them."""
        return flatten(even(images, self.linework * amount), self.flatness * amount)


def even(images: Tensor, amount: float) -> Tensor:
    """Light `images`, float [N, 3, H, W] in [-1, 1], evenly: `amount` 0..1 of LIGHT of what is coarse in it goes."""
    if amount == 0:
        return images
    luma = luminance(images)
    coarse = gaussian_blur(luma, LIGHT_PX) - luma.mean((2, 3), keepdim=True)
    return (images - amount * LIGHT * coarse).clamp(-1, 1)


def flatten(images: Tensor, amount: float) -> Tensor:
    """Smooth what lies between the edges of `images`, float [N, 3, H, W] in [-1, 1]; `amount` 0..1, 0 is no change.

    Domain transform (Gastal and Oliveira, "Domain transform for edge-aware image and video processing", 2011).
    """
    if amount == 0:
        return images
    pixels = ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    smooth = [
        cv2.edgePreservingFilter(
            np.ascontiguousarray(picture), flags=cv2.RECURS_FILTER, sigma_s=EDGE_SIGMA_PX, sigma_r=EDGE_SIGMA
        )
        for picture in pixels
    ]
    flat = torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2).to(images) / 127.5 - 1
    return torch.lerp(images, flat, amount)


def solid(image: Tensor, amount: float) -> Tensor:
    """Bring soft borders of lines and areas, float [1, 3, H, W], to one of their sides; `amount` 0..1.

    Toggle mapping (Kramer and Bruckner, "Iterations of a non-linear transformation for enhancement of digital images",
    1975): each place takes the colour of its darkest or of its brightest neighbour, whichever is nearer in light.
    """
    height, width = image.shape[-2:]
    for _ in range(2):
        near = F.unfold(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3).view(3, 9, -1)
        luma = torch.einsum("c,cnp->np", image.new_tensor(LUMA), near)
        (dark, darkest), (bright, brightest) = luma.min(0), luma.max(0)
        chosen = torch.where(bright - luma[4] < luma[4] - dark, brightest, darkest)
        toggled = near.gather(1, chosen.expand(3, 1, -1)).view(1, 3, height, width)
        image = torch.lerp(image, toggled, amount)
    return image


def _between(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))
