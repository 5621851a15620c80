"""Optical flow between two frames, warping by it, and where it has no match.

A flow is float32 [H, W, 2] in pixels, x then y, on the grid of the frame it starts from: pixel p of frame a is found in
frame b at p + flow[p].
"""

from __future__ import annotations

import functools
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]
P = TypeVar("P", np.uint8, np.float32)

_SMALLEST_PX = 32


class DisFlow:
    """Dense inverse search (Kroeger et al., arXiv 1603.03590) as OpenCV has it: made for CPUs, deterministic."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, a: Image, b: Image) -> Flow:
        """The flow from `a` to `b`, uint8 [H, W, 3] each, of one size."""
        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (a, b)]
        height, width = grey[0].shape
        bottom, right = max(0, _SMALLEST_PX - height), max(0, _SMALLEST_PX - width)
        if bottom or right:  # smaller than what it searches with
            grey = [cv2.copyMakeBorder(g, 0, bottom, 0, right, cv2.BORDER_REPLICATE) for g in grey]
        flow = self._dis.calc(grey[0], grey[1], None)  # type: ignore[call-overload]
        return np.ascontiguousarray(flow[:height, :width], np.float32)


def warp(image: NDArray[P], flow: Flow, interpolation: int = cv2.INTER_LINEAR) -> NDArray[P]:
    """Frame b seen from frame a: the value of `image` [H, W, C] at p + flow[p], its border repeated.

    `interpolation` is one of OpenCV's.
    """
    height, width = flow.shape[:2]
    seen = sample_at(image, places_of(height, width) + flow, interpolation)
    return seen.reshape(height, width, *image.shape[2:]).astype(image.dtype, copy=False)


def sample_at(image: NDArray[P], at: Flow, interpolation: int = cv2.INTER_LINEAR) -> NDArray[P]:
    """The values of `image` [H, W, C] at positions [h, w, 2], x then y, its border repeated."""
    seen: NDArray[P] = cv2.remap(  # type: ignore[call-overload]
        image, at, None, interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    return seen


@functools.lru_cache(maxsize=4)
def places_of(height: int, width: int) -> Flow:
    """Each pixel's own place, x then y, [H, W, 2]; kept, and not to be written to."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    places = np.stack([x, y], -1)
    places.setflags(write=False)
    return places


def unmatched(forward: Flow, backward: Flow) -> NDArray[np.bool_]:
    """Where pixels of the frame that `forward` starts from have no match in the other, bool [H, W].

    They lead out of the picture, or going there and back does not return (Sundaram et al., "Dense point trajectories by
    GPU-accelerated large displacement optical flow", 2010, eq. 5).
    """
    back = warp(backward, forward)
    lost = squared(forward + back) > 0.01 * (squared(forward) + squared(back)) + 0.5
    return np.asarray(lost | leads_outside(forward))


def occluded(forward: Flow, backward: Flow) -> NDArray[np.bool_]:
    """`unmatched`, or at a boundary of motion (Sundaram et al., eq. 6), where a flow is least exact, bool [H, W]: what
    is left can be measured by."""
    across, down = (
        np.asarray(
            cv2.Sobel(forward, cv2.CV_32F, *order, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE), np.float32
        )
        for order in ((1, 0), (0, 1))
    )
    across[:, [0, -1]] *= 2  # there it is half a step to the neighbour
    down[[0, -1]] *= 2
    boundary = squared(across) + squared(down) > 0.01 * squared(forward) + 0.002
    return np.asarray(unmatched(forward, backward) | boundary)


def squared(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared lengths along the last axis, [..., C] -> [...]."""
    total: NDArray[np.float32] = np.square(vectors[..., 0])
    for channel in range(1, vectors.shape[-1]):
        total += np.square(vectors[..., channel])
    return total


def leads_outside(flow: Flow) -> NDArray[np.bool_]:
    """Where a flow ends beyond the picture, bool [H, W]."""
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    outside: NDArray[np.bool_] = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    return outside
