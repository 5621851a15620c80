"""How well frames belong together: by the motion of the source, and by its differences.

Every one of these rewards a blurred picture, and a copy of the source: read them beside style moved and sharpness, and
beside what the source itself gets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stdvid.temporal.flow import Flow, warp

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

STILL_FLOW_PX = 0.25
STILL_DIFFERENCE = 6 / 255


def warp_error(image: Image, other: Image, flow: Flow, hidden: Mask) -> float | None:
    """Mean squared difference, of values 0..1, of `image` and `other` moved onto it, where not `hidden`.

    `flow` leads from the frame of `image` to that of `other`, `hidden` [H, W] is where it has no match (Lai et al.,
    arXiv 1808.00449, eq. 7). None if everything is hidden.
    """
    seen = ~hidden
    if not seen.any():
        return None
    return float(np.square(_unit(image) - warp(_unit(other), flow))[seen].mean())


def difference_bias(image: Image, before: Image, source: Image, source_before: Image) -> float:
    """Mean of |(O_t - O_t-1) - (I_t - I_t-1)|, values 0..1: change in the output that the source has not.

    Paint has more contrast than what it is put on, so wherever things move it is not 0 even if paint moves with them;
    how much of it that is, the frame before says, moved onto this one and put in its place.
    """
    ours, theirs = _unit(image) - _unit(before), _unit(source) - _unit(source_before)
    return float(np.abs(ours - theirs).mean())


def flicker(image: Image, before: Image, still: Mask) -> float | None:
    """Mean of |O_t - O_t-1|, values 0..1, where the source stands `still` [H, W]; None if it does so nowhere."""
    return float(np.abs(_unit(image) - _unit(before))[still].mean()) if still.any() else None


def standing_still(source: Image, before: Image, flow: Flow) -> Mask:
    """Where the source neither moves nor changes, bool [H, W]."""
    change = np.abs(_unit(source) - _unit(before)).max(-1)
    return np.asarray((np.hypot(flow[..., 0], flow[..., 1]) < STILL_FLOW_PX) & (change < STILL_DIFFERENCE))


def _unit(image: Image) -> NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(255)
