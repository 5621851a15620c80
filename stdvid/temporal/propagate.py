"""What was painted follows the motion of the source: from each frame to the next, where the next still shows it.

    frame t-1 --flow--> frame t      the places of the noise move along: strokes are born on things, not on the screen
    x_0 (t-1) --warp--> x_0 (t)      each estimate takes over that of the frame before, where the flow is trusted

Nothing here knows a network: pictures are float32 [H, W, C] of any range.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stdvid.temporal.flow import DisFlow, Flow, Image, occluded, warp

Picture = NDArray[np.float32]

KEPT = 0.98
"""Share of the frame before where the flow is trusted wholly; the rest is new, so nothing stays forever."""

TRUST_RMS = 0.08
"""Colour difference, 0..1 and summed over channels, at which the trust in a match has fallen to 1/e.

It falls steeply: what is half old and half new is neither sharp nor in place.
"""

LIGHT_PX = 8.0
"""Standard deviation of the blur above which a change of colour is one of light, and is taken over from the source."""


@dataclass(frozen=True)
class Match:
    """Where each pixel of a frame was in the one before: `flow` [H, W, 2], and its `trust` [H, W, 1], 0..KEPT."""

    flow: Flow
    trust: Picture


def match(image: Image, before: Image, flow: DisFlow) -> Match:
    """Match two neighbouring frames, uint8 [H, W, 3] of one size.

    There is no trust where a pixel was hidden, and little where its colour is another.
    """
    back = flow(image, before)
    seen = ~occluded(back, flow(before, image))
    gap = (image.astype(np.float32) - warp(before.astype(np.float32), back)) / np.float32(255)
    gap = np.square(cv2.GaussianBlur(gap, (0, 0), 1.5)).sum(-1)
    trust = KEPT * seen * np.exp(-np.square(gap / TRUST_RMS**2))
    return Match(back, cv2.GaussianBlur(trust.astype(np.float32), (0, 0), 1.0)[..., None])


def follow(x: Picture, before: Picture, light: Picture, light_before: Picture, found: Match) -> Picture:
    """`x` [H, W, 3], taking over `before` as far as the match is trusted.

    `light` and `light_before` are the sources of the two in the same colours: where the light of the scene changes,
    what is taken over changes with it at once.
    """
    change = light - warp(light_before, found.flow)
    moved = warp(before, found.flow, cv2.INTER_LANCZOS4) + cv2.GaussianBlur(change, (0, 0), LIGHT_PX)
    result: Picture = x + found.trust * (moved - x)
    return result


def places_of(height: int, width: int) -> Picture:
    """Each pixel's own place, x then y, [H, W, 2]."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], -1)


def carry_places(places: Picture, found: Match) -> Picture:
    """Places one frame later: what moves takes its place along, what was hidden begins at its own."""
    height, width = places.shape[:2]
    carried: Picture = np.where(found.trust > KEPT / 2, warp(places, found.flow), places_of(height, width))
    return carried


def noise_at(noise: Picture, places: Picture) -> Picture:
    """The values of `noise` [H, W, C] at the nearest pixels to `places`: not mixed, so their variance is kept."""
    height, width = noise.shape[:2]
    x, y = (np.rint(places[..., i]).astype(np.int64) % side for i, side in enumerate((width, height)))
    taken: Picture = noise[y, x]
    return taken
