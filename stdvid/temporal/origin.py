"""Where what a frame takes over from several others comes from: which of them, and where it was there.

    matches in frame a, frame b, ... --> each pixel: frames that show it, its place there, how far to trust it

A pixel is read once as a rule, however many frames show it: where one is trusted, what it leaves to others is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stdvid.temporal.flow import places_of, sample_at
from stdvid.temporal.propagate import Match, Picture
from stdvid.temporal.sharp import Sharp

LEAST = 0.05
"""Smaller shares of a pixel are left out."""

MANY = 0.5
"""A frame that shows more than this share of the pixels is moved whole: to pick pixels costs more than to read them."""

ROW_PX = 512
"""Pixels of one frame that are taken over, in rows of this many: OpenCV's pictures have sides below 32,768 px."""


@dataclass(frozen=True)
class _Part:
    """What is taken from one frame: the numbers of pixels [n], or all; their `share` [n, 1]; their places there, `at`
    [rows, columns, 2], of which the first n count; and the gain of their contrast since."""

    source: int
    pixels: NDArray[np.intp] | slice
    share: Picture
    at: Picture
    gain: float

    def of(self, picture: Picture | Sharp) -> Picture:
        """Its part of a picture [H, W, C]: [n, C]."""
        if isinstance(picture, Sharp):
            found = picture.at(self.at, many=isinstance(self.pixels, slice))
        else:
            found = sample_at(picture, self.at)
        found = found.reshape(-1, picture.shape[2])
        values: Picture = found[: len(self.share)] * (self.share * np.float32(self.gain))
        return values


class Origin:
    """Where what some frames show of another one is; `trust` [H, W, 1]: how far it is to be taken over, 0..1."""

    def __init__(self, matches: Sequence[Match], wholly: float = 1.0) -> None:
        """`matches` of the frame in the others, at least one; the last goes before the others. What is trusted as far
        as `wholly` is taken over as it is."""
        self.shape = matches[0].trust.shape[:2]
        left: Picture = np.ones((*self.shape, 1), np.float32)
        weights: list[Picture] = []
        for found in reversed(matches):
            trust = found.trust / np.float32(wholly)
            weights.insert(0, left * trust)
            left = left * (1 - trust)
        self.trust: Picture = 1 - left
        self._parts = self._taken(matches, weights)

    def _taken(self, matches: Sequence[Match], weights: Sequence[Picture]) -> list[_Part]:
        kept = [np.where(weight > LEAST * self.trust, weight, np.float32(0)) for weight in weights]
        kept[-1] = np.where(self.trust > 0, kept[-1], np.float32(1))  # where nothing is trusted, something finite
        total, parts = sum(kept[1:], kept[0]), []
        for number, (found, weight) in enumerate(zip(matches, kept, strict=True)):
            share: Picture = np.divide(weight, total, dtype=np.float32).reshape(-1, 1)
            at = places_of(*self.shape) + found.flow
            if np.count_nonzero(weight) > MANY * weight.size:
                parts.append(_Part(number, slice(None), share, at, found.gain))
            elif len(pixels := np.flatnonzero(weight)):
                rows = np.zeros((-(-len(pixels) // ROW_PX), ROW_PX, 2), np.float32)
                rows.reshape(-1, 2)[: len(pixels)] = at.reshape(-1, 2)[pixels]
                parts.append(_Part(number, pixels, share[pixels], rows, found.gain))
        return parts

    def mixed(self, pictures: Sequence[Picture]) -> Picture:
        """Pictures [H, W, C] of this frame, one made with each of the others, each as far as that one is taken."""
        mixed = np.zeros((self.shape[0] * self.shape[1], pictures[0].shape[2]), np.float32)
        for part in self._parts:
            mixed[part.pixels] += part.share * pictures[part.source].reshape(len(mixed), -1)[part.pixels]
        return mixed.reshape(*self.shape, -1)

    def moved(self, pictures: Sequence[Picture] | Sequence[Sharp]) -> Picture:
        """The pictures of the frames, [H, W, C] each, where, and as strong as, they are now."""
        moved = np.zeros((self.shape[0] * self.shape[1], pictures[0].shape[2]), np.float32)
        for part in self._parts:
            moved[part.pixels] += part.of(pictures[part.source])
        return moved.reshape(*self.shape, -1)
