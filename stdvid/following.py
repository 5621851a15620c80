"""A shot's frames painted as one: the bridge between sampling (latents, tensors) and propagation (pictures).

source frames --flow--> matches --+--> noise of each frame: that of the shot's first, carried along
                                  +--> x_0 of each frame and step: taken over from the frame before
                                  +--> the last x_0, drawn upon: only where nothing was taken over
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.models.nano import decode, encode
from stdvid.models.stylizer import BORDER_PX, to_frames
from stdvid.temporal.flow import DisFlow
from stdvid.temporal.propagate import (
    Match,
    Picture,
    around,
    carry_places,
    continued,
    follow,
    follow_drawn,
    fresh,
    light,
    match,
    noise_at,
    places_of,
)

Draw = Callable[[Tensor, Tensor, Tensor, tuple[slice, slice]], Tensor]
"""Draws upon a picture [1, 3, H, W] of a content of this shape, as far as [1, 1, H, W] says, in rows and columns."""

X0_LIMIT = 1.1
"""Estimates stay within this: interpolation overshoots."""


@dataclass
class Trail:
    """What a painted frame hands on to the next; `x_0`, by time t, and what was `drawn` upon the last one are padded as
    the network sees them; the light `lit` that drawing added is not."""

    image: NDArray[np.uint8]
    places: Picture
    x_0: dict[int, Picture] = field(default_factory=dict)
    drawn: Picture | None = None
    lit: Picture | None = None


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
                inside = _inside(ours)
                picture[inside] = follow(picture[inside], before.x_0[t][inside], found)
            ours.x_0[t] = picture.clip(-X0_LIMIT, X0_LIMIT)
        return _latents([trail.x_0[t] for trail in self._trails]).to(x_0)

    def draw(self, x_0: Tensor, content: Tensor, draw: Draw) -> Tensor:
        """The last estimates [T, C, h, w] with what was drawn upon the frames before, and more where they end.

        `content`: latents of the frames in the colours wanted, of the same shape.
        """
        images, contents = decode(x_0), decode(content)
        for number, (picture, ours, before, found) in enumerate(
            zip(_pictures(images), self._trails, self._before, self._matches, strict=True)
        ):
            start, where, inside = picture.copy(), np.ones((*picture.shape[:2], 1), np.float32), _inside(ours)
            if before is not None and before.drawn is not None and before.lit is not None and found is not None:
                start[inside] = follow_drawn(picture[inside], before.drawn[inside], before.lit, found)
                where = _bordered(fresh(found), picture.shape[:2])
            if box := around(where):
                started, allowed = (_tensor(picture).to(x_0) for picture in (start, where))
                start = _pictures(draw(started, contents[number : number + 1], allowed, box))[0]
            ours.drawn = start
            ours.lit = light(ours.drawn[inside] - picture[inside])
        return _latents([trail.drawn for trail in self._trails if trail.drawn is not None]).to(x_0)


def _inside(trail: Trail) -> tuple[slice, ...]:
    """The frame within its mirrored border."""
    return tuple(slice(BORDER_PX, BORDER_PX + side) for side in trail.image.shape[:2])


def _bordered(inside: Picture, shape: tuple[int, ...]) -> Picture:
    """[H, W, 1] with its edge repeated over the border, up to `shape`."""
    height, width = inside.shape[:2]
    after = [side - BORDER_PX - length for side, length in zip(shape, (height, width), strict=True)]
    return np.pad(inside, ((BORDER_PX, after[0]), (BORDER_PX, after[1]), (0, 0)), mode="edge")


def _pictures(images: Tensor) -> Picture:
    """[T, C, H, W] to float32 [T, H, W, C]."""
    return np.ascontiguousarray(images.float().permute(0, 2, 3, 1).cpu().numpy())


def _tensor(picture: Picture) -> Tensor:
    """[H, W, C] to [1, C, H, W]."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()


def _latents(pictures: list[Picture]) -> Tensor:
    return encode(torch.cat([_tensor(picture) for picture in pictures]))
