"""Style guidance: the reference's strokes, drawn into an estimate by descending an energy of their texture.

    picture --> features --> Gram matrices <-> the reference's                        strokes
       |------> strength of detail, by rank <-> the reference's                       calm stays calm
       |------> edges, light                <-> the content's                         what is to stay
       '<------ gradient ------'

A network of a few million weights learns the strokes of references that it never saw only in part; the energy knows
them at once. Any differentiable energy can guide a sampler (Bansal et al., "Universal guidance for diffusion models",
arXiv 2302.07121, section 3); this one is that of Gatys et al. (arXiv 1508.06576, eq. 4 and 5), each layer relative to
the reference's. It guides the last estimate: strokes drawn into earlier ones become noise on their way to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stdvid.metrics.features import STRIDE_PX, FeatureName, LiteFeatures
from stdvid.metrics.style import gram, relative
from stdvid.models.precision import fast_dtype
from stdvid.models.structure import structure_map
from stdvid.picture_losses import low_frequency_loss, luminance, stroke_picture

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

LAYERS = 4
"""Of the feature maps: the deepest would paint things of the reference, windows and eyes, not strokes."""

EDGE_PX = 0.8
"""Blur before the edges of the structure term, at half the size."""

BLOCK_PX, OCTAVES, FLOOR = 16, 3, 1e-4
"""Detail is measured in blocks of so many pixels, at so many sizes, each half of the one before; less than FLOOR (a
variance) is none."""

FLAT, LOWEST = 1.5e-3, 0.1
"""Blocks of the content with less detail than FLAT get as much as this share of the reference's blocks stays below."""

OPPONENT = ((0.299, 0.587, 0.114), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))
"""Rows: lightness, red-green, yellow-blue."""

STROKES_ALONE = 0.5
"""Share of the iterations that compare luminance alone: strokes without palette."""

LEAST_PX = 64
"""Least side of a reference."""


class StyleGuidance:
    """The energy of one style, and its descent."""

    def __init__(self, references: Sequence[Tensor], seed: int, device: torch.device) -> None:
        """`references`: float [1, 3, H, W] in [-1, 1] each, in the scale that strokes are wanted in.

        Raises UsageError if the packages of the feature networks are missing.
        """
        self.seed, self.device = seed, device
        self.networks = [LiteFeatures(name, LAYERS).to(device) for name in NETWORKS]
        pictures = [_large_enough(reference.to(device)) for reference in references]
        details = zip(*(_detail(picture) for picture in pictures), strict=True)
        self.details = [torch.cat([d.flatten(2) for d in octave], 2).sort(2).values for octave in details]
        self.grams = {
            (number, strokes): self._mean_grams(number, pictures, strokes)
            for number in range(len(NETWORKS))
            for strokes in (False, True)
        }

    @torch.no_grad()
    def _mean_grams(self, network: int, pictures: Sequence[Tensor], strokes: bool) -> list[Tensor]:
        found = [self._grams(network, picture, strokes) for picture in pictures]
        return [torch.stack(layer).mean(0) for layer in zip(*found, strict=True)]

    def _grams(self, network: int, picture: Tensor, strokes: bool) -> list[Tensor]:
        dtype = fast_dtype(self.device)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
            maps = self.networks[network](stroke_picture(picture) if strokes else picture)
        return [gram(layer.float()) for layer in maps]

    @torch.no_grad()
    def _wanted(self, content: Tensor) -> list[Tensor]:
        """How strong detail is to be in each block: in the content's calmest as in the reference's calmest."""
        maps = []
        for ours, theirs in zip(_detail(content), self.details, strict=True):
            blocks = ours.flatten(2)
            flat = (blocks < math.log(FLAT)).float().mean(2, keepdim=True)
            rank = blocks.argsort(2).argsort(2) / max(1, blocks.shape[2] - 1)
            rank = ((rank - flat) / (1 - flat).clamp(min=0.01)).clamp(0, 1)  # all that is flat shares the lowest
            rank = LOWEST + (1 - LOWEST) * rank
            place = (rank * (theirs.shape[2] - 1)).round().long()
            maps.append(theirs.gather(2, place).view_as(ours))
        return maps

    def distance(self, picture: Tensor, network: int, strokes: bool) -> Tensor:
        """Of the strokes of a picture [1, 3, H, W] to the reference's, a scalar; 0 is the same texture."""
        pairs = zip(self._grams(network, picture, strokes), self.grams[network, strokes], strict=True)
        return torch.stack([relative(ours, wanted) for ours, wanted in pairs]).mean()

    def draw(
        self,
        image: Tensor,
        content: Tensor,
        iterations: int,
        *,
        where: Tensor | None = None,
        box: Box = (slice(None), slice(None)),
        color: float = 1.0,
        check: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Descend from `image`, float [1, 3, H, W] in [-1, 1]; returns the same shape and range.

        Args:
            content: the frame in the colours wanted, of the same shape; it says where edges, light and calm areas are.
            where: [1, 1, H, W], 0..1, how far each pixel may change; None: all may.
            box: rows and columns that are worked on, from and to multiples of BLOCK_PX.
            color: 0..1, how far colours may change; 0 draws in light and dark alone.
            check: called before each iteration; an exception from it ends the descent.
        """
        part = (slice(None), slice(None), *box)
        wanted = [octave[(slice(None), slice(None), *map(_blocks, box))] for octave in self._wanted(content)]
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
            change, edges = _Change(image), _edges(content)

            def painted() -> Tensor:
                moved = change.picture()
                moved = torch.lerp(luminance(moved).expand_as(moved), moved, color)
                return (image + (moved if where is None else where * moved)).clamp(-1, 1)

            for index in range(iterations):
                check()
                strokes = bool(rng.random() < 1 - (1 - STROKES_ALONE) * color)
                top, left = (int(n) for n in rng.integers(0, STRIDE_PX, 2))
                picture = painted()
                change.descend(
                    self.distance(picture[..., top:, left:], index % len(NETWORKS), strokes)
                    + STRUCTURE * F.mse_loss(_edges(picture), edges)
                    + LIGHT * low_frequency_loss(picture, content)
                    + DETAIL * _mean_square(_detail(picture), wanted)
                    + ROUGHNESS * _roughness(picture)
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


def _edges(picture: Tensor) -> Tensor:
    """Structure map at half the size, which is where structure is."""
    return structure_map(F.avg_pool2d(picture, 2), EDGE_PX)


def _detail(picture: Tensor) -> list[Tensor]:
    """Log variance of the Laplacian, by octave: [1, 3, H / BLOCK_PX, W / BLOCK_PX], of lightness and two colours."""
    kernel = picture.new_tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(3, 1, 3, 3)
    x = torch.einsum("ij,njhw->nihw", picture.new_tensor(OPPONENT), picture)
    maps = []
    for octave in range(OCTAVES):
        energy = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=3).square()
        maps.append(F.avg_pool2d(energy, BLOCK_PX >> octave).clamp(min=FLOOR).log())
        x = F.avg_pool2d(x, 2)
    return maps


def _blocks(pixels: slice) -> slice:
    """Rows or columns of pixels as those of blocks."""
    start, stop = (None if n is None else n // BLOCK_PX for n in (pixels.start, pixels.stop))
    return slice(start, stop)


def _mean_square(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    return torch.stack([F.mse_loss(a, b) for a, b in zip(ours, theirs, strict=True)]).mean()


def _roughness(picture: Tensor) -> Tensor:
    """Mean absolute difference of neighbours (total variation)."""
    across, down = picture[..., 1:] - picture[..., :-1], picture[..., 1:, :] - picture[..., :-1, :]
    return across.abs().mean() + down.abs().mean()
