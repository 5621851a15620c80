"""Which of several frames each pixel of a frame is taken over from, and where it was there.

    matches in frame a, frame b, ... --> each pixel: the frame that shows it best, its place there, how far to trust it

A pixel is read once, however many frames show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stdvid.temporal.propagate import KEPT, Match, Picture, places_of

ROW_PX = 512
"""Pixels of one frame that are taken over, in rows of this many: OpenCV's pictures have sides below 32,768 px."""


@dataclass(frozen=True)
class _Part:
    """Pixels taken from one frame: their numbers `pixels` [n], their places there `x`, `y` [ceil(n / ROW_PX), ROW_PX],
    and the gain of their contrast since."""

    source: int
    pixels: NDArray[np.intp]
    x: Picture
    y: Picture
    gain: float

    def of(self, picture: Picture, interpolation: int, power: int) -> Picture:
        """[n, C]."""
        found = cv2.remap(picture, self.x, self.y, interpolation, borderMode=cv2.BORDER_REPLICATE)
        values: Picture = found.reshape(self.x.size, -1)[: len(self.pixels)].astype(np.float32, copy=False)
        return values if self.gain == 1 else values * np.float32(self.gain**power)


class Origin:
    """Where what some frames show of another one is; `trust` [H, W, 1]: how far it is to be taken over, 0..1, and
    `new` [H, W, 1]: how much no frame shows, 0 where one is trusted as far as any can be."""

    def __init__(self, matches: Sequence[Match]) -> None:
        """`matches` of the frame in the others, at least one; the last goes before the others."""
        self.shape = matches[0].trust.shape[:2]
        chosen = np.zeros(self.shape, np.uint8)
        best: Picture = np.full(self.shape, -1, np.float32)
        left: Picture = np.ones((*self.shape, 1), np.float32)
        self.new: Picture = left.copy()
        for number, found in reversed(list(enumerate(matches))):
            weight = left * found.trust
            chosen = np.where(weight[..., 0] > best, np.uint8(number), chosen)
            best = np.maximum(best, weight[..., 0])
            left = left * (1 - found.trust)
            self.new *= 1 - found.trust / KEPT
        self.trust: Picture = 1 - left
        places, self._parts = places_of(*self.shape).reshape(-1, 2), []
        for number, found in enumerate(matches):
            pixels = np.flatnonzero(chosen == number)
            if len(pixels):
                at = places[pixels] + found.flow.reshape(-1, 2)[pixels]
                rows = np.zeros((-(-len(pixels) // ROW_PX), ROW_PX, 2), np.float32)
                rows.reshape(-1, 2)[: len(pixels)] = at
                x, y = (np.ascontiguousarray(rows[..., axis]) for axis in (0, 1))
                self._parts.append(_Part(number, pixels, x, y, found.gain))

    def moved(self, pictures: Sequence[Picture], interpolation: int = cv2.INTER_LINEAR, power: int = 1) -> Picture:
        """The pictures of the frames, [H, W, C] or [H, W] each, where they are now; contrast to the power of `power`
        times its gain."""
        moved = np.empty((self.shape[0] * self.shape[1], *pictures[0].shape[2:]), np.float32)
        for part in self._parts:
            values = part.of(pictures[part.source], interpolation, power)
            moved[part.pixels] = values.reshape(len(values), *moved.shape[1:])
        return moved.reshape(*self.shape, *moved.shape[1:])
