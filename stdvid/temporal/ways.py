"""Where each frame of a window was in the window's first frame, and will be in its last: flow from frame to frame,
followed all the way.

    first frame <- ... <- frame t-1 <- frame t -> frame t+1 -> ... -> last frame

Both ends of a window are painted before what lies between (anchors), and each frame between takes from them what it
shows of them: nothing here depends on what another window did.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stdvid.temporal.flow import DisFlow, Image, leads_outside, warp
from stdvid.temporal.propagate import Match, known_before, match_both


@dataclass(frozen=True)
class Ways:
    """For each frame of a window its match in the frame before, in the first frame and in the last; None where these
    are the frame itself, or there is none."""

    before: list[Match | None]
    first: list[Match | None]
    last: list[Match | None]

    @classmethod
    def through(cls, images: Iterable[Image]) -> Ways:
        """Through frames uint8 [H, W, 3] of one size."""
        flow = DisFlow()
        pairs = [match_both(image, before, flow) for before, image in itertools.pairwise(images)]
        before: list[Match | None] = [None, *(back for back, _ in pairs)]
        after: list[Match | None] = [*(ahead for _, ahead in pairs), None]
        first: list[Match | None] = [None]
        for back in before[1:]:
            first.append(_further(back, first[-1]))
        last: list[Match | None] = [None]
        for ahead in after[-2::-1]:
            last.append(_further(ahead, last[-1]))
        return cls(before, first, last[::-1])

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
