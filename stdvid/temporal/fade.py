"""Fades: one change of contrast and light in the whole picture, as from and to black, through white, or of exposure.

    frame t = gain * frame t-1 + offset        one gain, an offset a channel

Without it every colour of a fade is another than in the frame before, and nothing would be known again.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stdvid.temporal.flow import Image

EXPLAINED = 0.5
"""Share of the change of colour that a fade has to explain; with less there is none."""

LEAST_RMS = 0.01
"""Smaller changes of colour, 0..1 and summed over channels, are no fade."""

OUTLIER_RMS = 0.08
"""Colour difference, as above, from which on a pixel does not follow the fade: it moves, or is something else."""

FITTING = 0.4
"""Share of the pixels that have to follow a fade."""

_TOLERANCES = tuple(factor * OUTLIER_RMS for factor in (16, 8, 4, 2, 1, 1))
_MOST_GAIN = 4.0


@dataclass(frozen=True)
class Fade:
    """`gain` times a picture, plus `offset` [3] (of 255)."""

    gain: float
    offset: NDArray[np.float32]

    def of(self, image: Image) -> Image:
        """A picture, uint8 [H, W, 3], after the fade; itself where there is none."""
        if self is NONE:
            return image
        faded = image.astype(np.float32) * np.float32(self.gain) + self.offset
        return np.asarray(np.rint(faded.clip(0, 255)), np.uint8)


NONE = Fade(1.0, np.zeros(3, np.float32))


def fade(image: Image, before: Image, seen: NDArray[np.bool_]) -> Fade:
    """What makes `image` of `before`, uint8 [H, W, 3] with things in the same places, where `seen` [H, W] is true.

    Least squares, again and again with less of what does not fit. NONE unless most pixels do, and that explains them
    better than no change.
    """
    height, width = seen.shape
    small = (max(1, width // 4), max(1, height // 4))
    ours, theirs = (
        cv2.resize(picture, small, interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float64) / 255
        for picture in (image, before)
    )
    valid = cv2.resize(seen.astype(np.float64), small, interpolation=cv2.INTER_AREA).ravel()
    if valid.sum() < 1:
        return NONE
    pairs = (ours, ours), (ours, theirs), (theirs, theirs)
    squares, products, others = (np.einsum("nc,nc->n", a, b) for a, b in pairs)
    unchanged = (squares + others - 2 * products).clip(0)
    alike = unchanged < OUTLIER_RMS**2
    if valid @ np.minimum(unchanged, OUTLIER_RMS**2) <= valid @ alike * LEAST_RMS**2:
        return NONE  # too little for any fade to explain, as below
    weights, gain, offset = valid, 1.0, np.zeros(3)
    for tolerance in _TOLERANCES:
        total = weights.sum()
        mean_ours, mean_theirs = weights @ ours / total, weights @ theirs / total
        variance = weights @ others - total * mean_theirs @ mean_theirs
        shared = weights @ products - total * mean_theirs @ mean_ours
        gain = float(np.clip(shared / variance, 0.0, _MOST_GAIN)) if variance > 1e-6 * total else 1.0
        offset = mean_ours - gain * mean_theirs
        left = squares + gain**2 * others + offset @ offset - 2 * (gain * (products - theirs @ offset) + ours @ offset)
        left = left.clip(0)  # of rounding
        weights = valid * np.exp(-left / tolerance**2) + 1e-9
    known = valid * (alike | (left < OUTLIER_RMS**2))
    without, remaining = (known @ np.minimum(gap, OUTLIER_RMS**2) for gap in (unchanged, left))
    enough = weights.sum() > FITTING * valid.sum() and without > known.sum() * LEAST_RMS**2
    if not enough or remaining > (1 - EXPLAINED) * without:
        return NONE
    return Fade(gain, (255 * offset).astype(np.float32))
