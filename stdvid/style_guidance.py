"""Style guidance: the reference's strokes, drawn into an estimate by descending an energy of their texture.

    picture --> features --> Gram matrices <-> the reference's, calm and busy areas apart   strokes
       |------> strength of detail, by rank <-> the reference's                             calm stays calm
       |------> edges, light                <-> the content's                               what is to stay
       '<------ gradient ------'

A network of a few million weights learns the strokes of references that it never saw only in part; the energy knows
them at once. Any differentiable energy can guide a sampler (Bansal et al., "Universal guidance for diffusion models",
arXiv 2302.07121, section 3); this one is that of Gatys et al. (arXiv 1508.06576, eq. 4 and 5), each layer relative to
the reference's. It guides the last estimate: strokes drawn into earlier ones become noise on their way to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stdvid.metrics.features import STRIDE_PX, FeatureName, LiteFeatures
from stdvid.models.precision import fast_dtype
from stdvid.models.structure import gaussian_blur, luminance
from stdvid.picture_losses import (
    BLOCK_PX,
    LEAST_CALM,
    STROKE_MAPS,
    area_distances,
    area_grams,
    areas,
    by_rank,
    detail,
    detail_loss,
    edges,
    low_frequency_loss,
    roughness,
    stroke_picture,
    wanted_detail,
)

Box = tuple[slice, slice]
"""Rows and columns."""

NETWORKS: tuple[FeatureName, ...] = ("lite1", "lite2")
"""In turn: what fools one only is undone by the next. lite0 is kept for judging."""

RATE, MOMENTUM = 0.03, 0.8
"""Root mean square of a step, of values in [-1, 1], and how much of it is that of the step before."""

SCALES = {1: 0.3, 2: 1.0, 4: 1.0}
"""The change is a sum of pictures at these fractions of the size, whose steps are this part of RATE.

By pixels alone a descent finds noise that pleases the networks; strokes are broader.
"""

STRUCTURE, LIGHT, DETAIL, ROUGHNESS = 0.4, 2.0, 0.05, 0.2
"""Weights of the terms beside the strokes, whose own weight is 1."""

STROKES_ALONE = 0.5
"""Share of the iterations that compare luminance alone: strokes without palette."""

BLANK_PX, BLANK_STEP = 5, 0.1
"""A place is blank where luminance, of values in [-1, 1], differs by less than BLANK_STEP in so many pixels around."""

LEAST_PX = 64
"""Least side of a reference."""


class StyleGuidance:
    """The energy of one style, and its descent."""

    def __init__(self, references: Sequence[Tensor], seed: int, device: torch.device) -> None:
        """`references`: float [1, 3, H, W] in [-1, 1] each, in the scale that strokes are wanted in.

        Raises UsageError if the packages of the feature networks are missing.
        """
        self.seed, self.device = seed, device
        self.networks = [LiteFeatures(name, STROKE_MAPS).to(device) for name in NETWORKS]
        pictures = [_large_enough(reference.to(device)) for reference in references]
        details = zip(*(by_rank(detail(picture)) for picture in pictures), strict=True)
        self.details = by_rank([torch.cat(octave, 2) for octave in details])
        self.grams = {
            (number, strokes): self._mean_grams(number, pictures, strokes)
            for number in range(len(NETWORKS))
            for strokes in (False, True)
        }

    @torch.no_grad()
    def _mean_grams(self, network: int, pictures: Sequence[Tensor], strokes: bool) -> list[Tensor]:
        found = [self._grams(network, picture, areas(picture, LEAST_CALM), strokes) for picture in pictures]
        return [torch.stack(layer).mean(0) for layer in zip(*found, strict=True)]

    def _grams(self, network: int, picture: Tensor, where: Tensor, strokes: bool) -> list[Tensor]:
        dtype = fast_dtype(self.device)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
            maps = self.networks[network](stroke_picture(picture) if strokes else picture)
        return area_grams(maps, where)

    def distance(self, picture: Tensor, where: Tensor, network: int, strokes: bool) -> Tensor:
        """Of the strokes of a picture [1, 3, H, W] to the reference's, a scalar; 0 is the same texture.

        `where`: the `areas` of its content, [1, 2, H, W].
        """
        grams = self._grams(network, picture, where, strokes)
        return area_distances(grams, where, self.grams[network, strokes]).mean()

    def draw(
        self,
        image: Tensor,
        content: Tensor,
        iterations: int,
        *,
        where: Tensor | None = None,
        box: Box = (slice(None), slice(None)),
        color: float = 1.0,
        blank: float = 0.0,
        check: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Descend from `image`, float [1, 3, H, W] in [-1, 1]; returns the same shape and range.

        Args:
            content: the frame in the colours wanted, of the same shape; it says where edges, light and calm areas are.
            where: [1, 1, H, W], 0..1, how far each pixel may change; None: all may.
            box: rows and columns that are worked on, from and to multiples of BLOCK_PX.
            color: 0..1, how far colours may change; 0 draws in light and dark alone.
            blank: 0..1, how far what is blank in the content stays so.
            check: called before each iteration; an exception from it ends the descent.
        """
        part = (slice(None), slice(None), *box)
        with torch.no_grad():
            wanted = wanted_detail(content, self.details)
        wanted = [octave[(slice(None), slice(None), *map(_blocks, box))] for octave in wanted]
        if blank:
            kept = 1 - blank * blank_places(content)
            where = kept if where is None else where * kept
        drawn = image.clone()
        drawn[part] = self._descend(
            image[part], content[part], wanted, iterations, None if where is None else where[part], color, check
        )
        return drawn

    def _descend(
        self,
        image: Tensor,
        content: Tensor,
        wanted: list[Tensor],
        iterations: int,
        where: Tensor | None,
        color: float,
        check: Callable[[], None],
    ) -> Tensor:
        rng = np.random.default_rng(self.seed)  # the same for all frames: alike ones are drawn alike
        with torch.enable_grad():
            change, structure, calm_and_busy = _Change(image), edges(content), areas(content)

            def painted() -> Tensor:
                moved = change.picture()
                moved = torch.lerp(luminance(moved).expand_as(moved), moved, color)
                return (image + (moved if where is None else where * moved)).clamp(-1, 1)

            for index in range(iterations):
                check()
                strokes = bool(rng.random() < 1 - (1 - STROKES_ALONE) * color)
                top, left = (int(n) for n in rng.integers(0, STRIDE_PX, 2))
                picture = painted()
                shifted, there = picture[..., top:, left:], calm_and_busy[..., top:, left:]
                change.descend(
                    self.distance(shifted, there, index % len(NETWORKS), strokes)
                    + STRUCTURE * F.mse_loss(edges(picture), structure)
                    + LIGHT * low_frequency_loss(picture, content)
                    + DETAIL * detail_loss(picture, wanted)
                    + ROUGHNESS * roughness(picture)
                )
            return painted().detach()


class _Change:
    """A picture like `image`, [1, 3, H, W], as the sum of finer and coarser ones, zero at first."""

    def __init__(self, image: Tensor) -> None:
        height, width = self.size = image.shape[-2:]
        self.parts = {
            scale: image.new_zeros(1, 3, height // scale, width // scale).requires_grad_() for scale in SCALES
        }
        self.momenta = {scale: torch.zeros_like(part) for scale, part in self.parts.items()}

    @torch.no_grad()
    def descend(self, energy: Tensor) -> None:
        """A step against the gradient, with momentum; each part's gradient counts relative to its own size."""
        gradients = torch.autograd.grad(energy, list(self.parts.values()))
        for (scale, part), gradient in zip(self.parts.items(), gradients, strict=True):
            unit = gradient / (gradient.square().mean().sqrt() + 1e-12)
            self.momenta[scale].lerp_(unit, 1 - MOMENTUM)
            part -= RATE * SCALES[scale] * self.momenta[scale]

    def picture(self) -> Tensor:
        parts = [F.interpolate(part, self.size, mode="bilinear") for part in self.parts.values()]
        return torch.stack(parts).sum(0)


def _large_enough(reference: Tensor) -> Tensor:
    """A reference with sides that features can be taken from; tiny ones are stretched."""
    height, width = (max(LEAST_PX, side) for side in reference.shape[-2:])
    if (height, width) == tuple(reference.shape[-2:]):
        return reference
    return F.interpolate(reference, (height, width), mode="bilinear")


def blank_places(content: Tensor) -> Tensor:
    """Where there is nothing in `content` [1, 3, H, W]: [1, 1, H, W], 1 where all is alike and 0 near any detail."""
    luma = luminance(content)
    around = F.max_pool2d(luma, BLANK_PX, 1, BLANK_PX // 2) + F.max_pool2d(-luma, BLANK_PX, 1, BLANK_PX // 2)
    return gaussian_blur((around < BLANK_STEP).float(), 1.0)


def _blocks(pixels: slice) -> slice:
    """Rows or columns of pixels as those of blocks."""
    start, stop = (None if n is None else n // BLOCK_PX for n in (pixels.start, pixels.stop))
    return slice(start, stop)
