"""Where the network looks: at the rectangle of a frame in which something is new, and a little around it.

What a frame shows of frames painted before it takes over from them, and what the network made of that is thrown away:
it need not be made. The rest of an estimate is the frame itself in the colours wanted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stdvid.diffusion.denoiser import Denoiser
from stdvid.models.canvas import Canvas, Region
from stdvid.models.stylizer import Condition, PartStylizer
from stdvid.temporal.propagate import MARGIN_PX, Picture, mostly

LITTLE, SPECK_PX = 0.25, 3
"""What the network need not see: pixels of which a smaller share is new, and what is narrower than a speck, as rims of
things that move. There a frame is as it was before painting."""

LEAST_PX, STEP_PX = 128, 64
"""The shortest side of a rectangle, and the steps in which sides grow: each shape is prepared for once, in .03 s."""


def region_of(unknown: Picture, canvas: Canvas) -> Region | None:
    """The rectangle around what is new, `unknown` [H, W, 1], 0..1, of a frame: rows and columns of it, padded. None
    where hardly anything is."""
    found = mostly(unknown, LITTLE, SPECK_PX)
    if not found.any():
        return None
    return _span(found.max(1), canvas), _span(found.max(0), canvas)


def _span(found: NDArray[np.uint8], canvas: Canvas) -> slice:
    """Along one axis, with a margin: near its border a network paints lines; where it comes near the edge of the
    picture, with all that lies beyond."""
    side, border, grid = len(found), canvas.border_px, canvas.multiple_px
    whole = side + 2 * border + -side % grid
    places = np.flatnonzero(found)
    first, last = int(places[0]) - MARGIN_PX, int(places[-1]) + 1 + MARGIN_PX
    start = 0 if first <= 0 else (border + first) // grid * grid
    stop = whole if last >= side else border + last
    length = max(LEAST_PX, -(-(stop - start) // STEP_PX) * STEP_PX)
    if length >= whole:
        return slice(0, whole)
    start = min(start, whole - length)
    return slice(start, start + length)


def looking_at(regions: Sequence[Region], stylizer: PartStylizer, condition: Condition, guidance: float) -> Denoiser:
    """A denoiser of frames that sees the region of each alone."""
    parts = []
    for frame, region in enumerate(regions):
        rows, columns = stylizer.canvas.latents_in(region)
        place = (slice(frame, frame + 1), slice(None), rows, columns)
        parts.append((place, stylizer.denoiser(stylizer.part(condition, frame, region), guidance)))

    def call(x_t: Tensor, t: Tensor) -> Tensor:
        x_0 = condition.x_0.clone()
        for place, denoiser in parts:
            x_0[place] = denoiser(x_t[place].contiguous(), t[place[0]])
        return x_0

    return call
