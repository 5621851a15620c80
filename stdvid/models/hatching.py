"""Hatching: the tones of a picture by strokes of a pen that lie along its forms, and outlines.

    frame --structure tensor--> directions --noise drawn out along them--> streaks, 0..1
    tone of the frame, 0..1 ------------------------------------- above the streak: paper, below: ink

A pen has no greys: the darker a place, the more of it is covered by lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stdvid.models.palette import Palette
from stdvid.models.structure import LUMA, gaussian_blur, luminance

FORM_PX, FORM_SLOPE = 4.0, 0.01
"""Forms are what is coarser than FORM_PX; where luminance changes by less than FORM_SLOPE a pixel there is none, and
strokes lie along the diagonal."""

STROKE_PX, WIDTH_PX = 9, 0.7
"""Half the length of a stroke, and the standard deviation of the noise across it."""

SOLID, BLANK, SOFT = 0.1, 0.7, 0.08
"""Tones, 0 (dark) to 1, below which all is ink, above which none is; and how soft the borders of strokes are."""

LINE_PX, LINE_STEP, LINE_SOFT = 1.0, 0.025, 0.006
"""Outlines: their width, the dip in luminance (0 to 1) that makes one, and how soft they are."""

RANGE = (0.02, 0.98)
"""The quantiles of a shot's lightness that are its dark and its bright."""

GAMMAS = torch.linspace(-1, 1, 41).mul(math.log(3)).exp()
"""Tone curves to choose from: with one of them a shot is as much ink as the reference."""


@dataclass(frozen=True)
class Pen:
    """Ink and paper, RGB [3] in [-1, 1], and how luminance becomes tone: `dark` is 0, `bright` is 1, then a power."""

    ink: Tensor
    paper: Tensor
    dark: float
    bright: float
    gamma: float

    @classmethod
    def between(cls, source: Palette, reference: Palette) -> Pen:
        """The pen of a reference, for a shot with the colours of `source`: all in all as dark as the reference."""
        ink, paper = (_colour_at(reference, q) for q in RANGE)
        dark, bright = (float(_luma(_colour_at(source, q))) for q in RANGE)
        low, high = float(_luma(ink)), float(_luma(paper))
        wanted = _mean(reference, _tone(_luma(reference.colours), low, high))
        tones = _tone(_luma(source.colours), dark, bright)
        means = torch.stack([_mean(source, _blank(tones**gamma).clamp(0, 1)) for gamma in GAMMAS.tolist()])
        return cls(ink, paper, dark, bright, float(GAMMAS[(means - wanted).abs().argmin()]))

    def draw(self, images: Tensor, forms: Tensor) -> Tensor:
        """Draw `images`, float [N, 3, H, W] in [-1, 1], with strokes along `forms` of the same shape and outlines."""
        tone = _tone(luminance(images), self.dark, self.bright) ** self.gamma
        margin = 3 * SOFT  # no speck in what is all ink, and none on paper
        blank = _blank(tone) * (1 + 2 * margin) - margin
        blank = torch.sigmoid((blank - streaks(directions(forms))) / SOFT) * (1 - outlines(forms))
        ink, paper = (colour.to(images).view(1, 3, 1, 1) for colour in (self.ink, self.paper))
        return torch.lerp(ink.expand_as(images), paper.expand_as(images), blank)


def _luma(colours: Tensor) -> Tensor:
    return colours @ colours.new_tensor(LUMA)


def _tone(luma: Tensor, dark: float, bright: float) -> Tensor:
    return ((luma - dark) / max(bright - dark, 1e-3)).clamp(0, 1)


def _blank(tone: Tensor) -> Tensor:
    """The share of paper that a tone leaves, below 0 where all is ink and above 1 where none is."""
    return (tone - SOLID) / (BLANK - SOLID)


def _mean(palette: Palette, values: Tensor) -> Tensor:
    return (values * palette.shares).sum()


def _colour_at(palette: Palette, quantile: float) -> Tensor:
    """The colour below whose lightness such a share of the palette lies, [3]."""
    order = _luma(palette.colours).argsort()
    place = int(torch.searchsorted(palette.shares[order].cumsum(0), quantile))
    return palette.colours[order[min(place, len(order) - 1)]]


def directions(images: Tensor) -> Tensor:
    """Along the forms of `images` [N, 3, H, W]: unit vectors (x, y), [N, 2, H, W].

    The minor axis of the structure tensor (Brox et al., "Nonlinear structure tensors", 2006).
    """
    luma = gaussian_blur(luminance(images), 1.0)
    padded = F.pad(luma, (1, 1, 1, 1), mode="replicate")
    x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    tensor = gaussian_blur(torch.cat([x * x, y * y, x * y], 1), FORM_PX)
    tensor[:, 2] += FORM_SLOPE**2  # strokes from below left to above right, as of a right hand
    angle = torch.atan2(2 * tensor[:, 2], tensor[:, 0] - tensor[:, 1]) / 2 + math.pi / 2
    return torch.stack([angle.cos(), angle.sin()], 1)


def streaks(along: Tensor) -> Tensor:
    """Noise drawn out along unit vectors [N, 2, H, W]: evenly spread values 0..1, [N, 1, H, W]; the same every time.

    Line integral convolution (Cabral and Leedom, "Imaging vector fields using line integral convolution", 1993).
    """
    n, _, height, width = along.shape
    noise = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(0)).to(along)
    noise = gaussian_blur(noise, WIDTH_PX).expand(n, -1, -1, -1)
    size = along.new_tensor([width, height]).view(1, 2, 1, 1)
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    start = torch.stack(torch.meshgrid(x, y, indexing="xy"))[None].to(along).expand(n, -1, -1, -1)

    def at(values: Tensor, places: Tensor) -> Tensor:
        grid = (places / size * 2 - 1).permute(0, 2, 3, 1)
        return F.grid_sample(values, grid, padding_mode="reflection", align_corners=False)

    total = noise.clone()
    for sign in (1.0, -1.0):
        places, heading = start, along * sign
        for _ in range(STROKE_PX):
            places = places + heading
            onward = at(along, places)
            onward = torch.where((onward * heading).sum(1, keepdim=True) < 0, -onward, onward)  # it is an axis
            heading = F.normalize(onward, dim=1)
            total = total + at(noise, places)
    centred = total - total.mean((2, 3), keepdim=True)
    return 0.5 * (1 + torch.erf(centred / centred.std((2, 3), keepdim=True) / math.sqrt(2)))


def outlines(images: Tensor) -> Tensor:
    """Ink along the edges of `images` [N, 3, H, W]: 1 in the middle of a line, 0 where none is, [N, 1, H, W].

    Extended difference of Gaussians (Winnemoeller, Kyprianidis and Olsen, "XDoG", 2012).
    """
    luma = (luminance(images) + 1) / 2
    ring = gaussian_blur(luma, LINE_PX * 1.6) - gaussian_blur(luma, LINE_PX)
    return torch.sigmoid((ring - LINE_STEP) / LINE_SOFT)
