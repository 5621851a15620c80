"""A shot's frames painted as one: the bridge between sampling (latents, tensors) and propagation (pictures).

source frames --flow--> matches --+--> noise of each frame: that of the shot's first, carried along
                                  +--> x_0 of each frame and step: taken over from frames painted before
                                  +--> the last x_0, drawn upon: only where nothing was taken over
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.models.anchor_attention import Memory
from stdvid.models.nano import decode, encode
from stdvid.models.stylizer import BORDER_PX
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
    noise_at,
    places_of,
)

Draw = Callable[[Tensor, Tensor, Tensor, tuple[slice, slice]], Tensor]
"""Draws upon a picture [1, 3, H, W] of a content of this shape, as far as [1, 1, H, W] says, in rows and columns."""

X0_LIMIT = 1.1
"""Estimates stay within this: interpolation overshoots."""


@dataclass
class Trail:
    """What a painted frame hands on to others; `x_0`, by time t, and what was `drawn` upon the last one are padded as
    the network sees them; the light `lit` that painting added is not. `memory`: what an anchor attended to."""

    image: NDArray[np.uint8]
    places: Picture
    x_0: dict[int, Picture] = field(default_factory=dict)
    drawn: Picture | None = None
    lit: Picture | None = None
    memory: Memory = field(default_factory=dict)

    def state(self) -> dict[str, NDArray[Any] | Tensor]:
        """Everything in it by name: for `of_state`."""
        state: dict[str, NDArray[Any] | Tensor] = {"image": self.image, "places": self.places}
        state |= {name: value for name, value in (("drawn", self.drawn), ("lit", self.lit)) if value is not None}
        state |= {f"x_0.{t}": value for t, value in self.x_0.items()}
        return state | {f"memory.{t}.{layer}": value for (t, layer), value in self.memory.items()}

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> Trail:
        """A trail from its `state`; KeyError if that is not one."""
        trail = cls(state["image"].numpy(), state["places"].numpy())
        for name, value in state.items():
            kind, _, rest = name.partition(".")
            if kind == "x_0":
                trail.x_0[int(rest)] = value.numpy()
            elif kind == "memory":
                t, _, layer = rest.partition(".")
                trail.memory[int(t), layer] = value
        trail.drawn, trail.lit = (state[name].numpy() if name in state else None for name in ("drawn", "lit"))
        return trail


Source = tuple[Trail, Match]
"""A frame that another takes over from, and where that one is found in it."""


class Following:
    """Some frames of a shot, each taking over from its sources what these show of it."""

    def __init__(self, frames: Sequence[Trail], sources: Sequence[Sequence[Source]]) -> None:
        """`sources` of each frame: painted before, or earlier among these `frames`; the last one goes before others."""
        self.frames, self.sources = frames, sources

    def noise(self, first: Tensor) -> Tensor:
        """Noise of each frame [T, C, h, w]: `first` [1 or T, C, h, w] (all the same) carried along by the motion."""
        picture = _pictures(decode(first[:1]))[0]
        padded = places_of(*picture.shape[:2]) - BORDER_PX
        return _latents([noise_at(picture, continued(frame.places, padded)) for frame in self.frames]).to(first)

    def refine(self, x_0: Tensor, t: int) -> Tensor:
        """Estimates [T, C, h, w] of time `t`, each after those of its sources."""
        for picture, ours, sources in zip(_pictures(decode(x_0)), self.frames, self.sources, strict=True):
            inside = _inside(ours)
            for theirs, found in sources:
                picture[inside] = follow(picture[inside], theirs.x_0[t][inside], found)
            ours.x_0[t] = picture.clip(-X0_LIMIT, X0_LIMIT)
        return _latents([frame.x_0[t] for frame in self.frames]).to(x_0)

    def draw(self, x_0: Tensor, content: Tensor, draw: Draw) -> Tensor:
        """The last estimates [T, C, h, w] with what was drawn upon their sources, and more where these end.

        `content`: latents of the frames in the colours wanted, of the same shape.
        """
        contents = decode(content)
        grounds = _pictures(contents)
        for number, picture in enumerate(_pictures(decode(x_0))):
            ours, sources = self.frames[number], self.sources[number]
            inside = _inside(ours)
            ground = grounds[number][inside]
            for theirs, found in sources:
                if theirs.drawn is not None and theirs.lit is not None:
                    picture[inside] = follow_drawn(picture[inside], theirs.drawn[inside], theirs.lit, found, ground)
            where = _bordered(_new(ours, sources), picture.shape[:2])
            if box := around(where):
                started, allowed = (_tensor(array).to(x_0) for array in (picture, where))
                picture = _pictures(draw(started, contents[number : number + 1], allowed, box))[0]
            ours.drawn = picture
            ours.lit = light(picture[inside] - ground)
        return _latents([frame.drawn for frame in self.frames if frame.drawn is not None]).to(x_0)


def _new(frame: Trail, sources: Sequence[Source]) -> Picture:
    """Where no source shows what is there, [H, W, 1], 0..1."""
    new = np.ones((*frame.image.shape[:2], 1), np.float32)
    for _, found in sources:
        new = new * fresh(found)
    return new


def begun(image: NDArray[np.uint8], sources: Sequence[Source]) -> Trail:
    """The trail of a frame that is still to be painted: the noise under it has moved along with the best source."""
    places = own = places_of(*image.shape[:2])
    for theirs, found in reversed(sources):
        places = np.where((places == own).all(-1, keepdims=True), carry_places(theirs.places, found), places)
    return Trail(image, places)


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
