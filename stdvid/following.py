"""A shot's frames painted as one: the bridge between sampling (latents, tensors) and propagation (pictures).

source frames --flow--> matches --+--> noise of each frame: that of the shot's first, carried along
                                  +--> x_0 of each frame and step: taken over from the frame before
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.models.nano import decode, encode
from stdvid.models.stylizer import BORDER_PX, to_frames
from stdvid.temporal.flow import DisFlow
from stdvid.temporal.propagate import Match, Picture, carry_places, continued, follow, match, noise_at, places_of

X0_LIMIT = 1.1
"""Estimates stay within this: interpolation overshoots."""


@dataclass
class Trail:
    """What a painted frame hands on to the next; `x_0`, by time t, is padded as the network sees it."""

    image: NDArray[np.uint8]
    places: Picture
    x_0: dict[int, Picture] = field(default_factory=dict)


class Following:
    """Some frames of a shot in order, after the one that left `trail`; None begins a shot."""

    def __init__(self, frames: Tensor, trail: Trail | None, flow: DisFlow) -> None:
        """`frames`: float [T, 3, H, W] in [-1, 1], without a border: what enters the picture was never in a mirror."""
        self._trails: list[Trail] = []
        self._before: list[Trail | None] = []
        self._matches: list[Match | None] = []
        for image in np.rint(to_frames(frames)).astype(np.uint8):
            found = match(image, trail.image, flow) if trail else None
            places = carry_places(trail.places, found) if trail and found else places_of(*image.shape[:2])
            self._before.append(trail)
            self._matches.append(found)
            trail = Trail(image, places)
            self._trails.append(trail)

    @property
    def trail(self) -> Trail:
        """That of the last frame, complete when its last step is done."""
        return self._trails[-1]

    def noise(self, first: Tensor) -> Tensor:
        """Noise of each frame [T, C, h, w]: `first` [1 or T, C, h, w] (all the same) carried along by the motion."""
        picture = _pictures(decode(first[:1]))[0]
        padded = places_of(*picture.shape[:2]) - BORDER_PX
        return _latents([noise_at(picture, continued(trail.places, padded)) for trail in self._trails]).to(first)

    def refine(self, x_0: Tensor, t: int) -> Tensor:
        """Estimates [T, C, h, w] of time `t`, each after that of the frame before."""
        for picture, ours, before, found in zip(
            _pictures(decode(x_0)), self._trails, self._before, self._matches, strict=True
        ):
            if before is not None and found is not None:
                inside = tuple(slice(BORDER_PX, BORDER_PX + side) for side in ours.image.shape[:2])
                picture[inside] = follow(picture[inside], before.x_0[t][inside], found)
            ours.x_0[t] = picture.clip(-X0_LIMIT, X0_LIMIT)
        return _latents([trail.x_0[t] for trail in self._trails]).to(x_0)


def _pictures(images: Tensor) -> Picture:
    """[T, C, H, W] to float32 [T, H, W, C]."""
    return np.ascontiguousarray(images.float().permute(0, 2, 3, 1).cpu().numpy())


def _latents(pictures: list[Picture]) -> Tensor:
    return encode(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous())
