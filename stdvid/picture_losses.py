"""What a painted picture is to keep of its content, and to take of its reference.

A Gram matrix knows no place: a print's amount of line goes where there is none to be drawn. Two terms here say where.
Strength of detail by rank: in the content's calmest blocks as in the reference's calmest. Areas: what is calm in the
content is compared to what is calm in the reference, and what is busy to what is busy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stdvid.metrics.style import gram
from stdvid.models.structure import luminance, structure_map

STROKE_MAPS = 4
"""Of a network's feature maps: the deepest would paint things of the reference, windows and eyes, not strokes."""

LOW_FREQUENCY_PX = 8
EDGE_PX = 0.8
"""Blur before the edges of the structure term, at half the size."""

STROKE_STD = 0.4

BLOCK_PX, OCTAVES, FLOOR = 16, 3, 1e-4
"""Detail is measured in blocks of so many pixels, at so many sizes, each half of the one before; less than FLOOR (a
variance) is none."""

FLAT, LOWEST = 1.5e-3, 0.1
"""Blocks of the content with less detail than FLAT get as much as this share of the reference's blocks stays below."""

CALM, LEAST_CALM = 5e-3, 0.2
"""Blocks with less detail than CALM at half the size are calm; of a reference at least this share."""

LEAST_SHARE = 0.03
"""An area of a reference smaller than this is none, and all of the picture stands for it."""

OPPONENT = ((0.299, 0.587, 0.114), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))
"""Rows: lightness, red-green, yellow-blue."""


def stroke_picture(images: Tensor) -> Tensor:
    """Luminance of mean 0 and standard deviation STROKE_STD, [N, 3, H, W] -> [N, 3, H, W]: strokes without palette."""
    luma = luminance(images)
    luma = luma - luma.mean((2, 3), keepdim=True)
    return (luma / (luma.std((2, 3), keepdim=True) + 0.05) * STROKE_STD).expand(-1, 3, -1, -1)


def edges(images: Tensor) -> Tensor:
    """Structure map [N, 1, H / 2, W / 2] of a batch [N, 3, H, W]: at half the size, where strokes are not structure."""
    return structure_map(F.avg_pool2d(images, 2), EDGE_PX)


def structure_loss(images: Tensor, content: Tensor) -> Tensor:
    """Squared error of the `edges` of two batches [N, 3, H, W]."""
    return F.mse_loss(edges(images), edges(content))


def low_frequency_loss(images: Tensor, content: Tensor) -> Tensor:
    """Squared error of 8x8 block means: colours and light stay where the palette-matched content has them."""
    return F.mse_loss(F.avg_pool2d(images, LOW_FREQUENCY_PX), F.avg_pool2d(content, LOW_FREQUENCY_PX))


def roughness(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbours (total variation) of a batch [N, 3, H, W]."""
    across, down = images[..., 1:] - images[..., :-1], images[..., 1:, :] - images[..., :-1, :]
    return across.abs().mean() + down.abs().mean()


def detail(images: Tensor) -> list[Tensor]:
    """Log variance of the Laplacian, by octave: [N, 3, H / BLOCK_PX, W / BLOCK_PX], of lightness and two colours.

    `images`: [N, 3, H, W], H and W >= BLOCK_PX.
    """
    kernel = images.new_tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(3, 1, 3, 3)
    x = torch.einsum("ij,njhw->nihw", images.new_tensor(OPPONENT), images)
    maps = []
    for octave in range(OCTAVES):
        energy = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=3).square()
        maps.append(F.avg_pool2d(energy, BLOCK_PX >> octave).clamp(min=FLOOR).log())
        x = F.avg_pool2d(x, 2)
    return maps


def by_rank(details: Sequence[Tensor]) -> list[Tensor]:
    """Maps of `detail` as [N, 3, blocks], the calmest first."""
    return [octave.flatten(2).sort(2).values for octave in details]


def wanted_detail(content: Tensor, references: Sequence[Tensor]) -> list[Tensor]:
    """How strong detail is to be in each block of `content` [N, 3, H, W]: in its calmest as in the reference's calmest.

    `references`: `by_rank` of N references. Returns maps like `detail`.
    """
    maps = []
    for ours, theirs in zip(detail(content), references, strict=True):
        blocks = ours.flatten(2)
        flat = (blocks < math.log(FLAT)).float().mean(2, keepdim=True)
        rank = blocks.argsort(2).argsort(2) / max(1, blocks.shape[2] - 1)
        rank = ((rank - flat) / (1 - flat).clamp(min=0.01)).clamp(0, 1)  # all that is flat shares the lowest
        rank = LOWEST + (1 - LOWEST) * rank
        place = (rank * (theirs.shape[2] - 1)).round().long()
        maps.append(theirs.gather(2, place).view_as(ours))
    return maps


def detail_loss(images: Tensor, wanted: Sequence[Tensor]) -> Tensor:
    """Squared error of the `detail` of `images` [N, 3, H, W] against what is wanted."""
    return torch.stack([F.mse_loss(a, b) for a, b in zip(detail(images), wanted, strict=True)]).mean()


def areas(images: Tensor, least_calm: float = 0.0) -> Tensor:
    """Where `images` [N, 3, H, W] are calm and where busy: [N, 2, H, W], 1 where they are and 0 elsewhere.

    At least a share `least_calm` of each is calm: its calmest blocks.
    """
    level = detail(images)[1][:, 0]
    calm = level < math.log(CALM)
    if least_calm > 0:
        calm |= level <= level.flatten(1).quantile(least_calm, 1).view(-1, 1, 1)
    calm = calm.float()
    return F.interpolate(torch.stack([calm, 1 - calm], 1), images.shape[-2:], mode="nearest")


def shares(where: Tensor) -> Tensor:
    """How much of each picture the areas [N, 2, H, W] take: [N, 2]."""
    return where.mean((2, 3))


def area_grams(maps: Sequence[Tensor], where: Tensor) -> list[Tensor]:
    """Gram matrices of feature maps [N, C, h, w] in each of the areas `where` [N, 2, H, W]: [N, 2, C, C] each.

    For an area smaller than LEAST_SHARE it is that of the whole picture.
    """
    where = torch.where(shares(where)[..., None, None] < LEAST_SHARE, 1.0, where)
    grams = []
    for layer in maps:
        weights = F.interpolate(where, layer.shape[-2:], mode="area")
        grams.append(torch.stack([gram(layer.float(), weights[:, k]) for k in range(2)], 1))
    return grams


def area_distances(ours: Sequence[Tensor], where: Tensor, theirs: Sequence[Tensor]) -> Tensor:
    """Style distance of each of N pictures to each of M references, area by area: [N, M]; 0 is the same texture.

    `ours` and `theirs`: their `area_grams`; `where` [N, 2, H, W]: areas of the pictures, which count by their size.
    """
    layers = torch.stack([_apart(a, b) for a, b in zip(ours, theirs, strict=True)])  # [layers, 2, N, M]
    return (layers.mean(0) * shares(where).mT[..., None]).sum(0)


def _apart(ours: Tensor, theirs: Tensor) -> Tensor:
    """|G - G_ref|_F / |G_ref|_F of all pairs of Gram matrices [N, 2, C, C] and [M, 2, C, C]: [2, N, M].

    By the matrices' products, which takes no memory for N M differences.
    """
    a, b = (grams.flatten(2).transpose(0, 1) for grams in (ours, theirs))
    size = b.square().sum(2)[:, None]
    squared = a.square().sum(2, keepdim=True) + size - 2 * a @ b.mT
    return squared.clamp(min=1e-12).sqrt() / (size.sqrt() + 1e-3)
