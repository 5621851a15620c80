"""Where what a frame takes over from several others comes from: which of them, and where it was there.

    matches in frame a, frame b, ... --> each pixel: frames that show it, its place there, how far to trust it

A pixel is read once as a rule, however many frames show it: where one is trusted, what it leaves to others is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stdvid.temporal.propagate import Match, Picture, places_of

LEAST = 0.05
"""Smaller shares of a pixel are left out."""

ROW_PX = 512
"""Pixels of one frame that are taken over, in rows of this many: OpenCV's pictures have sides below 32,768 px."""


@dataclass(frozen=True)
class _Part:
    """What is taken from one frame: the numbers of pixels [n], their `share` [n, 1], their places there `x`, `y`
    [ceil(n / ROW_PX), ROW_PX], and the gain of their contrast since."""

    source: int
    pixels: NDArray[np.intp]
    share: Picture
    x: Picture
    y: Picture
    gain: float

    def of(self, picture: Picture, interpolation: int) -> Picture:
        """Its part of a picture, [n, C]."""
        found = cv2.remap(picture, self.x, self.y, interpolation, borderMode=cv2.BORDER_REPLICATE)
        values: Picture = found.reshape(self.x.size, -1)[: len(self.pixels)].astype(np.float32, copy=False)
        return values * (self.share * np.float32(self.gain))


class Origin:
    """Where what some frames show of another one is; `trust` [H, W, 1]: how far it is to be taken over, 0..1."""

    def __init__(self, matches: Sequence[Match]) -> None:
        """`matches` of the frame in the others, at least one; the last goes before the others."""
        self.shape = matches[0].trust.shape[:2]
        left: Picture = np.ones((*self.shape, 1), np.float32)
        weights: list[Picture] = []
        for found in reversed(matches):
            weights.insert(0, (left * found.trust).reshape(-1, 1))
            left = left * (1 - found.trust)
        self.trust: Picture = 1 - left
        self._parts = self._taken(matches, weights)

    def _taken(self, matches: Sequence[Match], weights: Sequence[Picture]) -> list[_Part]:
        total = self.trust.reshape(-1, 1)
        kept = [np.where(weight > LEAST * total, weight, np.float32(0)) for weight in weights]
        kept[-1] = np.where(total > 0, kept[-1], np.float32(1))  # where nothing is trusted, something finite
        total = np.sum(kept, 0)
        places, parts = places_of(*self.shape).reshape(-1, 2), []
        for number, (found, weight) in enumerate(zip(matches, kept, strict=True)):
            pixels = np.flatnonzero(weight)
            if len(pixels):
                rows = np.zeros((-(-len(pixels) // ROW_PX), ROW_PX, 2), np.float32)
                rows.reshape(-1, 2)[: len(pixels)] = places[pixels] + found.flow.reshape(-1, 2)[pixels]
                x, y = (np.ascontiguousarray(rows[..., axis]) for axis in (0, 1))
                parts.append(_Part(number, pixels, weight[pixels] / total[pixels], x, y, found.gain))
        return parts

    def moved(self, pictures: Sequence[Picture], interpolation: int = cv2.INTER_LINEAR) -> Picture:
        """The pictures of the frames, [H, W, C] each, where, and as strong as, they are now."""
        moved = np.zeros((self.shape[0] * self.shape[1], pictures[0].shape[2]), np.float32)
        for part in self._parts:
            moved[part.pixels] += part.of(pictures[part.source], interpolation)
        return moved.reshape(*self.shape, -1)
