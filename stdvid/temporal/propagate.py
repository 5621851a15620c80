"""What was painted follows the motion of the source: from each frame to the next, where the next still shows it.

    frame t-1 --flow--> frame t      where each pixel was, and how far that is trusted
                                     the places of the noise move along: strokes are born on things, not on the screen

How strokes move along is in strokes.py. Pictures are float32 [H, W, C] of any range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stdvid.temporal.fade import NONE, fade
from stdvid.temporal.flow import (
    DisFlow,
    Flow,
    Image,
    leads_outside,
    occluded,
    places_of,
    sample_at,
    squared,
    unmatched,
    warp,
)

Picture = NDArray[np.float32]

KEPT = 0.98
"""Share of the frame before where the flow is trusted wholly; the rest is new, so nothing stays forever."""

TRUST_RMS = 0.08
"""Colour difference, 0..1 and summed over channels, at which the trust in a match has fallen to 1/e.

It falls steeply: what is half old and half new is neither sharp nor in place.
"""

STILL_PX, STILL_RMS = 0.25, 0.01
"""Shorter flows are the noise of a thing at rest, unless colours (0..1, summed over channels) say that it moves."""

SPECK_PX, MARGIN_PX, LEAST_PX, GRID_PX = 5, 24, 96, 16
"""What is drawn upon: nothing smaller than a speck, with a margin, no rectangle with a shorter side, on a grid."""

BRIGHTER = 0.2
"""Growth of contrast at which the trust in a match has fallen to 1/e: a fade-in shows what was hidden before."""


@dataclass(frozen=True)
class Match:
    """Where each pixel of a frame was in the one before: `flow` [H, W, 2], its `trust` [H, W, 1], 0..KEPT, and how many
    times the contrast of that frame it has (`gain`): not 1 in a fade alone."""

    flow: Flow
    trust: Picture
    gain: float = 1.0


def match(image: Image, before: Image, flow: DisFlow) -> Match:
    """Match two neighbouring frames, uint8 [H, W, 3] of one size.

    There is no trust where a pixel was hidden or is at a boundary of motion, and little where its colour is another.
    """
    back, ahead = flow(image, before), flow(before, image)
    return _matched(image, before, back, occluded(back, ahead), _gap(image, before))


def match_both(image: Image, before: Image, flow: DisFlow) -> tuple[Match, Match]:
    """As `match`, of a frame in the one before, and of that one in it; boundaries of motion are trusted like the rest.

    To paint them anew in each frame flickers; but where such matches end has to be looked at (ways.py).
    """
    back, ahead, resting = flow(image, before), flow(before, image), _gap(image, before)
    return (
        _matched(image, before, back, unmatched(back, ahead), resting),
        _matched(before, image, ahead, unmatched(ahead, back), resting),
    )


def _matched(image: Image, other: Image, flow: Flow, lost: NDArray[np.bool_], resting_gap: Picture) -> Match:
    """A match by `flow`, but for what is `lost` [H, W]; `resting_gap` [H, W] is that of pixels in the same place."""
    seen, moved = ~lost, warp(other, flow)
    faded = fade(image, moved, seen)
    if faded is not NONE:
        other, moved = faded.of(other), faded.of(moved)
        resting_gap = _gap(image, other)
    still = (squared(flow) < STILL_PX**2) & (resting_gap < STILL_RMS**2)
    resting = still.astype(np.uint8)
    flow = np.asarray(cv2.copyTo(np.zeros_like(flow), resting, flow.copy()), np.float32)
    gap = _gap(image, np.asarray(cv2.copyTo(other, resting, moved), np.uint8))
    trust = np.float32(KEPT * known_before(faded.gain)) * (seen | still) * np.exp(-np.square(gap / TRUST_RMS**2))
    return Match(flow, cv2.GaussianBlur(trust, (0, 0), 1.0)[..., None], faded.gain)


def coarser(found: Match, cell_px: int) -> Match:
    """A match of pixels as one of cells of `cell_px` pixels: the mean of each, in cells; the last ones may be cut."""
    if cell_px == 1:
        return found
    height, width = (-(-side // cell_px) for side in found.trust.shape[:2])
    both = np.concatenate([found.flow, found.trust], -1)
    after = [(0, count * cell_px - side) for count, side in zip((height, width), both.shape[:2], strict=True)]
    whole = np.pad(both, (*after, (0, 0)), mode="edge").reshape(height, cell_px, width, cell_px, 3)
    mean = whole.mean((1, 3), dtype=np.float32)
    return Match(mean[..., :2] / np.float32(cell_px), mean[..., 2:], found.gain)


def known_before(gain: float) -> float:
    """How far what has `gain` times the contrast now was to be seen before, 0..1."""
    return math.exp(-((max(0.0, gain - 1) / BRIGHTER) ** 2))


def _gap(image: Image, other: Image) -> Picture:
    """Squared difference of colour, 0..1, summed over channels, a little blurred: [H, W]."""
    gap = cv2.subtract(image, other, dtype=cv2.CV_32F)
    return squared(np.asarray(cv2.GaussianBlur(gap, (9, 9), 1.5))) / np.float32(255**2)


def around(fresh: Picture) -> tuple[slice, slice] | None:
    """The rows and columns around what is mostly `fresh` [H, W, 1], with a margin; None where that is specks alone.

    H and W are multiples of GRID_PX, and so is where rows and columns begin and end.
    """
    mask = mostly(fresh, 0.5, SPECK_PX)
    if not mask.any():
        return None
    spans = []
    for axis in (1, 0):
        found, side = np.flatnonzero(mask.any(axis)), mask.shape[1 - axis]
        first = (int(found[0]) - MARGIN_PX) // GRID_PX * GRID_PX
        last = -(-(int(found[-1]) + 1 + MARGIN_PX) // GRID_PX) * GRID_PX
        first = min(max(0, first), max(0, side - LEAST_PX))
        spans.append(slice(first, min(side, max(last, first + LEAST_PX))))
    return spans[0], spans[1]


def mostly(fresh: Picture, share: float, speck_px: int) -> NDArray[np.uint8]:
    """Where more than `share` of a pixel is `fresh` [H, W, 1], but for what is narrower than `speck_px`; [H, W]."""
    mask = (fresh[..., 0] > share).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((speck_px, speck_px), np.uint8)), np.uint8)


def carry_places(places: Picture, found: Match, others: Picture) -> Picture:
    """Places one frame later: what moves takes its place along, what enters the picture continues its neighbours'.

    What was hidden has that of `others`, and so has what would have the same noise as its neighbour: areas of one value
    would colour the picture.
    """
    carried = continued(places, places_of(*places.shape[:2]) + found.flow)
    nearest = _points(np.rint(carried))
    kept = (found.trust[..., 0] > KEPT / 2) | leads_outside(found.flow)
    kept[1:] &= nearest[1:] != nearest[:-1]
    kept[:, 1:] &= nearest[:, 1:] != nearest[:, :-1]
    chosen = np.where(kept, _points(carried), _points(others))
    return chosen[..., None].view(np.float32)


def _points(places: Picture) -> NDArray[np.complex64]:
    """[H, W, 2] as one number a place, [H, W]: x + iy."""
    points: NDArray[np.complex64] = places.view(np.complex64)[..., 0]
    return points


def continued(places: Picture, at: Picture) -> Picture:
    """Places at the positions `at` [..., 2], x then y, which may lie outside: the nearest one, plus the way to it.

    They are never averaged, which would draw them together.
    """
    nearest = np.rint(at)
    for axis, side in enumerate(places.shape[1::-1]):
        np.clip(nearest[..., axis], 0, side - 1, out=nearest[..., axis])
    return sample_at(places, nearest, cv2.INTER_NEAREST) + (at - nearest)


def noise_at(noise: Picture, places: Picture) -> Picture:
    """The values of `noise` [H, W, C] at the nearest pixels to `places`: not mixed, so their variance is kept."""
    nearest = np.rint(places)
    for axis, side in enumerate(noise.shape[1::-1]):
        nearest[..., axis] -= side * np.floor(nearest[..., axis] / side)
    return sample_at(noise, nearest, cv2.INTER_NEAREST)
