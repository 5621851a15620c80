"""Where each frame of a window was in the window's first frame, and will be in its last: flow from frame to frame,
followed all the way, and not trusted where an outline was that is gone.

    first frame <- ... <- frame t-1 <- frame t -> frame t+1 -> ... -> last frame

Both ends of a window are painted before what lies between (anchors), and each frame between takes from them what it
shows of them: nothing here depends on what another window did.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from stdvid.temporal.flow import DisFlow, Image, leads_outside, warp
from stdvid.temporal.propagate import Match, Picture, known_before, match_both

OUTLINE_PX, GONE_RMS = 6.0, 0.06
"""Paint spreads so far around an outline; and how much fainter the outlines around a pixel (colours 0..1, root mean
square, summed over channels) are when the trust in its match has fallen to 1/e."""

SMALLER = 4
"""Outlines are looked for in pictures of so many times smaller sides."""


@dataclass(frozen=True)
class Ways:
    """For each frame of a window its match in the frame before, in the first frame and in the last; None where these
    are the frame itself, or there is none."""

    before: list[Match | None]
    first: list[Match | None]
    last: list[Match | None]

    @classmethod
    def through(cls, images: Iterable[Image]) -> Ways:
        """Through frames uint8 [H, W, 3] of one size.

        On plain ground flow is that of the things beside it: step by step it looks right, and in the end it leads to
        ground on which the thing's outline was painted. So what is found is compared with where the way began.
        """
        images, flow = list(images), DisFlow()
        pairs = [match_both(image, before, flow) for before, image in itertools.pairwise(images)]
        before: list[Match | None] = [None, *(back for back, _ in pairs)]
        after: list[Match | None] = [*(ahead for _, ahead in pairs), None]
        first: list[Match | None] = [None]
        for back in before[1:]:
            first.append(_further(back, first[-1]))
        last: list[Match | None] = [None]
        for ahead in after[-2::-1]:
            last.append(_further(ahead, last[-1]))
        outlines = [_outlines(image) for image in images]
        return cls(
            before,
            [_without_gone(found, ours, outlines[0]) for found, ours in zip(first, outlines, strict=True)],
            [_without_gone(found, ours, outlines[-1]) for found, ours in zip(last[::-1], outlines, strict=True)],
        )

    def of(self, number: int) -> tuple[Match | None, Match | None, Match | None]:
        """Of one frame: in the one before, in the last and in the first."""
        return self.before[number], self.last[number], self.first[number]


def _further(step: Match | None, rest: Match | None) -> Match | None:
    """A match in the neighbouring frame, followed by that frame's own match; trusted as little as the weaker one."""
    if step is None or rest is None:
        return step
    flow = step.flow + warp(rest.flow, step.flow)
    gain = step.gain * rest.gain
    trust = np.minimum(step.trust, warp(rest.trust, step.flow)) * np.float32(known_before(gain))
    return Match(flow, np.where(leads_outside(flow)[..., None], np.float32(0), trust), gain)


def _outlines(image: Image) -> Picture:
    """How much colours differ around each pixel, root mean square, 0..1 summed over channels; smaller, [h, w]."""
    height, width = image.shape[:2]
    size = (-(-width // SMALLER), -(-height // SMALLER))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32) / np.float32(255)
    mean, squares = (
        np.asarray(cv2.GaussianBlur(picture, (0, 0), OUTLINE_PX / SMALLER), np.float32)
        for picture in (small, np.square(small))
    )
    deviation: Picture = np.sqrt((squares - np.square(mean)).sum(-1).clip(0))
    return deviation


def _without_gone(found: Match | None, ours: Picture, theirs: Picture) -> Match | None:
    """A match, not trusted where the outlines of the other frame, `theirs` [h, w], are not among `ours` any more."""
    if found is None:
        return None
    height, width = ours.shape
    flow = np.asarray(cv2.resize(found.flow, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    gone = (np.float32(found.gain) * warp(theirs, flow / np.float32(SMALLER)) - ours).clip(0)
    kept = np.exp(-np.square(np.square(gone / np.float32(GONE_RMS))))
    trust = found.trust * np.asarray(cv2.resize(kept, found.trust.shape[1::-1]), np.float32)[..., None]
    return Match(found.flow, trust, found.gain)
