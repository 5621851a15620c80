"""Palette transfer: give every colour of a picture a colour of the reference, near colours to near colours.

Colours are moved by entropic optimal transport from the picture's colours to the reference's (Cuturi, "Sinkhorn
distances", 2013). Every source colour moves as a whole, while the shares of the reference's are kept softly (unbalanced
transport: Chizat et al., "Scaling algorithms for unbalanced optimal transport problems", 2018): a dark frame under a
bright reference stays readable. Where a linear map of means and covariances invents hues, here each result is an
average of colours that the reference has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

BINS = 12
"""Colours are counted in cells of BINS a channel; a cell counts as the mean of the colours in it."""

NODES = 17
"""Nodes a channel of the table that a transport is kept as; between them it is linear."""

LEVELS = 256
"""Of red, where a table is looked up by OpenCV: all that frames of 8 bits have."""

ENTROPY = 0.03
"""Weight of the entropy: squared distances in [-1, 1]^3 below it hardly count, which keeps the map smooth."""

TONES, TONE_WIDTH = 7, 0.02
"""How many main colours a palette has, and the squared distance over which a colour belongs to more than one."""

SHARE, SHARE_ON_PAPER = 0.5, 6.5
"""Weight of the Kullback-Leibler divergence from the reference's shares, for one without and one of nothing but bare
paper; 0 would ignore how much there is of a colour, infinity would copy it. Bare paper is to stay bare."""

PLAIN = 0.12
"""Deviation of colours, root of the summed variances in [-1, 1], below which a picture is plain, as before a fade-in:
it cannot show the shares of another, and its colours go to what is near them."""

_ITERATIONS = 2.0
"""Of the transport, times its entropy: the less is mixed, the slower it converges."""


@dataclass(frozen=True)
class Palette:
    """Colours [K, 3], RGB in [-1, 1], and the share [K] that each has; shares add up to 1."""

    colours: Tensor
    shares: Tensor

    @classmethod
    def of(cls, images: Tensor) -> Palette:
        """Colours over all pixels of `images`, float [N, 3, H, W] in [-1, 1]."""
        cells = BINS**3
        count = torch.zeros(cells, device=images.device)
        total = torch.zeros(cells, 3, device=images.device)
        for image in images.detach().float():  # one at a time: the indices of a window of frames are large
            pixels = image.flatten(1).mT.contiguous()
            r, g, b = ((pixels + 1) * (BINS / 2)).long().clamp(0, BINS - 1).unbind(1)
            cell = (r * BINS + g) * BINS + b
            count += torch.bincount(cell, minlength=cells)
            total.index_add_(0, cell, pixels)
        seen = count > 0
        return cls(total[seen] / count[seen, None], count[seen] / count.sum())

    @property
    def variety(self) -> float:
        """0 for one colour, 1 for a picture that is not plain."""
        mean = self.shares @ self.colours
        return min(1.0, float(self.shares @ (self.colours - mean).square().sum(1)) / PLAIN**2)

    @classmethod
    def pooled(cls, palettes: Sequence[Palette]) -> Palette:
        """The palette of several pictures put together, each weighing the same."""
        shares = torch.cat([p.shares for p in palettes]) / len(palettes)
        return cls(torch.cat([p.colours for p in palettes]), shares)


@dataclass(frozen=True)
class ColourMap:
    """Where colours go: `table` [3, NODES, NODES, NODES], then `posterized` 0..1 of the way to the nearest of `main`
    [K, 3]. One serves all frames of a shot."""

    table: Tensor
    main: Tensor
    posterized: float

    @cached_property
    def _by_red(self) -> NDArray[np.float32]:
        """The table for OpenCV, [LEVELS NODES, NODES, 3]: for each level of red, green by blue."""
        nodes = torch.linspace(0, NODES - 1, LEVELS, device=self.table.device)
        below = nodes.long().clamp(max=NODES - 2)
        layers = torch.lerp(self.table[:, below], self.table[:, below + 1], (nodes - below).view(1, -1, 1, 1))
        return layers.permute(1, 2, 3, 0).reshape(LEVELS * NODES, NODES, 3).cpu().contiguous().numpy()

    @classmethod
    def between(
        cls,
        source: Palette,
        reference: Palette,
        *,
        flatness: float = 0.0,
        paper: float = 0.0,
        posterized: float = 0.0,
    ) -> ColourMap:
        """From the colours of `source` to those of `reference`.

        `flatness` 0..1: how little these are smoothed; `paper` 0..1: how much of the reference is bare paper.
        """
        return cls(transport_table(source, reference, flatness, paper), main_colours(reference), posterized)

    def apply(self, images: Tensor, amount: float = 1.0) -> Tensor:
        """Move the colours of `images`, float [N, 3, H, W] in [-1, 1]; returns the same shape and range.

        `amount` 0..1 is how much of the way; 0 returns the input itself.
        """
        if amount == 0:
            return images
        moved = self._looked_up(images)
        if self.posterized > 0:
            moved = torch.lerp(moved, posterize(moved, self.main.to(images)), self.posterized)
        return moved if amount == 1 else torch.lerp(images, moved, amount)

    def _looked_up(self, images: Tensor) -> Tensor:
        """What the table has for the colours of `images`, linear between its nodes; beyond them it is that of its
        border. On a CPU by OpenCV in a quarter of the time, where red is rounded to LEVELS."""
        if images.device.type == "cpu":
            pictures = images.float().permute(0, 2, 3, 1).numpy()
            moved = np.stack([self._looked_up_by_opencv(picture) for picture in pictures])
            return torch.from_numpy(moved).permute(0, 3, 1, 2)
        n, _, height, width = images.shape
        places = images.permute(0, 2, 3, 1).flip(-1).reshape(1, n, height, width, 3)  # last axis first
        found = F.grid_sample(self.table.to(images)[None], places, align_corners=True, padding_mode="border")
        return found[0].transpose(0, 1)

    def _looked_up_by_opencv(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of a picture [H, W, 3]."""
        red, green, blue = cv2.split(((picture + 1) * 0.5).clip(0, 1))
        row = np.rint(red * (LEVELS - 1)) * NODES + green * (NODES - 1)
        return np.asarray(cv2.remap(self._by_red, blue * (NODES - 1), row, cv2.INTER_LINEAR), np.float32)


def main_colours(palette: Palette) -> Tensor:
    """At most TONES colours [K, 3] that stand for a palette: Lloyd's iteration from ones that are far apart."""
    colours, shares = palette.colours, palette.shares
    centres = colours[shares.argmax()][None]
    while len(centres) < min(TONES, len(colours)):
        distance = torch.cdist(colours, centres).amin(1) * shares.sqrt()
        centres = torch.cat([centres, colours[distance.argmax()][None]])
    for _ in range(10):
        nearest = torch.cdist(colours, centres).argmin(1)
        weights = F.one_hot(nearest, len(centres)).to(colours) * shares[:, None]
        total = weights.sum(0)[:, None]
        centres = torch.where(total > 0, (weights.mT @ colours) / total.clamp(min=1e-9), centres)
    return centres


def posterize(images: Tensor, colours: Tensor) -> Tensor:
    """Bring each colour of `images` [N, 3, H, W] to the nearest of `colours` [K, 3], softly halfway between two."""
    pixels = images.permute(0, 2, 3, 1)
    near = torch.softmax(-torch.cdist(pixels.flatten(0, 2), colours).square() / TONE_WIDTH, 1)
    return (near @ colours).view_as(pixels).permute(0, 3, 1, 2)


def transport_table(source: Palette, reference: Palette, flatness: float = 0.0, paper: float = 0.0) -> Tensor:
    """Where each colour goes, float [3, NODES, NODES, NODES]: the conditional mean of the transport plan, smoothed.

    The first axis after the channel is red. Colours that the source lacks go where the dual potential sends them
    (Seguy et al., "Large-scale optimal transport and mapping estimation", 2018).
    """
    share = source.variety * ((1 - paper) * SHARE + paper * SHARE_ON_PAPER)
    potential = _potential(source, reference, share)
    axis = torch.linspace(-1, 1, NODES, device=potential.device)
    nodes = torch.cartesian_prod(axis, axis, axis)
    plan = torch.softmax((potential - torch.cdist(nodes, reference.colours).square()) / ENTROPY, 1)
    table = (plan @ reference.colours).mT.reshape(3, NODES, NODES, NODES)
    # a reference of few colours makes a staircase, on which noise would flicker: each node takes its neighbours' mean
    smooth = F.avg_pool3d(F.pad(table[None], (1,) * 6, mode="replicate"), 3, 1)[0]
    return torch.lerp(smooth, table, flatness / 2)


def _potential(source: Palette, reference: Palette, share: float = SHARE) -> Tensor:
    """The dual potential of the reference's colours, plus their log shares: [K], by Sinkhorn's iteration.

    In double precision, of which the kernel needs the range, as it goes down to exp(-12 / ENTROPY); so on the CPU, as
    not every GPU has it.
    """
    ours, shares, theirs, wanted = (
        part.detach().cpu().double() for part in (source.colours, source.shares, reference.colours, reference.shares)
    )
    kernel = (torch.cdist(ours, theirs).square() / -ENTROPY).exp()
    softness = share / (share + ENTROPY)
    g = torch.ones_like(wanted)
    for _ in range(round(_ITERATIONS / ENTROPY)):
        f = 1 / (kernel @ (g * wanted))
        g = (kernel.mT @ (f * shares)) ** -softness
    return ((g * wanted).log() * ENTROPY).to(reference.colours)
