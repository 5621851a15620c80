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
from stdvid.models.canvas import Canvas, Region
from stdvid.temporal.flow import places_of
from stdvid.temporal.origin import Origin
from stdvid.temporal.propagate import (
    Match,
    Picture,
    around,
    carry_places,
    coarser,
    continued,
    noise_at,
)
from stdvid.temporal.sharp import Sharp
from stdvid.temporal.strokes import Drawn, detail, follow, follow_drawn, fresh

Draw = Callable[[Tensor, Tensor, Tensor, tuple[slice, slice]], Tensor]
"""Draws upon a picture [1, 3, H, W] of a content of this shape, as far as [1, 1, H, W] says, in rows and columns."""


DRAWN = ("drawn", "ground", "detail")
"""What a trail has once its frame is finished."""


@dataclass
class Trail:
    """What a painted frame hands on to others: the `places` of its noise and its `x_0`, by time t, in cells of the
    canvas; in pixels what was `drawn` upon the last one, its `ground` and how strong its `detail` is. x_0 and drawn are
    padded as the network sees them. `memory`: what an anchor attended to."""

    image: NDArray[np.uint8]
    _places: Picture | Callable[[], Picture]
    x_0: dict[int, Picture] = field(default_factory=dict)
    drawn: Picture | None = None
    ground: Picture | None = None
    detail: Picture | None = None
    memory: Memory = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._finished: Drawn | None = None

    @property
    def places(self) -> Picture:
        """Found when they are first asked for: a frame of which nothing is new has no noise."""
        if callable(self._places):
            self._places = self._places()
        return self._places

    def state(self) -> dict[str, NDArray[Any] | Tensor]:
        """Everything in it by name: for `of_state`."""
        state: dict[str, NDArray[Any] | Tensor] = {"image": self.image, "places": self.places}
        state |= {name: value for name in DRAWN if (value := getattr(self, name)) is not None}
        state |= {f"x_0.{t}": value for t, value in self.x_0.items()}
        return state | {f"memory.{t}.{layer}": value for (t, layer), value in self.memory.items()}

    def finished(self, inside: tuple[slice, ...]) -> Drawn:
        """What others take over of it, without its border, for all of them the same; ValueError if it is not
        finished."""
        if self.drawn is None or self.ground is None or self.detail is None:
            raise ValueError("a frame is followed before it is painted")
        if self._finished is None:
            self._finished = Drawn(Sharp(self.drawn[inside]), self.ground, self.detail)
        return self._finished

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
        trail.drawn, trail.ground, trail.detail = (state[name].numpy() if name in state else None for name in DRAWN)
        return trail


Source = tuple[Trail, Match]
"""A frame that another takes over from, and where that one is found in it."""


class Following:
    """Some frames of a shot, each taking over from its sources what these show of it.

    Frames that are painted already may be among them, for a network that sees frames together: they keep what they
    have.
    """

    def __init__(self, frames: Sequence[Trail], sources: Sequence[Sequence[Source]], canvas: Canvas) -> None:
        """`sources` of each frame: painted before, or earlier among these `frames`; the last one goes before others."""
        self.frames, self.sources, self.canvas = frames, sources, canvas
        self._origins: dict[tuple[int, ...], Origin] = {}

    def noise(self, first: Tensor, regions: Sequence[Region] = ()) -> Tensor:
        """Noise of each frame [T, C, h, w]: `first` [1 or T, C, h, w] (all the same) carried along by the motion.

        Where `regions` of the frames are given, there is none outside these.
        """
        picture = _pictures(self.canvas.cells(first[:1]))[0]
        padded = places_of(*picture.shape[:2]) - self.canvas.border_px // self.canvas.cell_px
        carried = []
        for number, frame in enumerate(self.frames):
            cells = self.canvas.cells_in(regions[number]) if regions else (slice(None), slice(None))
            noise = np.zeros_like(picture)
            noise[cells] = noise_at(picture, continued(frame.places, padded[cells]))
            carried.append(noise)
        return self._latents(carried).to(first)

    def refine(self, x_0: Tensor, t: int) -> Tensor:
        """Estimates [T, C, h, w] of time `t`, each after those of its sources that were estimated then."""
        for number, picture in enumerate(_pictures(self.canvas.cells(x_0), copy=True)):
            ours, sources = self.frames[number], self.sources[number]
            if t in ours.x_0:
                continue
            inside = _inside(ours.places, self.canvas.border_px // self.canvas.cell_px)
            known = [index for index, (theirs, _) in enumerate(sources) if t in theirs.x_0]
            if known:
                before = [sources[index][0].x_0[t][inside] for index in known]
                picture[inside] = follow(picture[inside], before, self._origin(number, known))
            ours.x_0[t] = picture if (limit := self.canvas.limit) is None else picture.clip(-limit, limit)
        return self._latents([frame.x_0[t] for frame in self.frames]).to(x_0)

    def draw(self, pictures: Tensor, contents: Tensor, draw: Draw | None) -> Tensor:
        """Pictures of the last estimates, [T, 3, H, W], with what was drawn upon their sources, and more where these
        end, if anything is drawn.

        `contents`: the frames in the colours wanted, of the same shape.
        """
        grounds = _pictures(contents)
        for number, picture in enumerate(_pictures(pictures, copy=True)):
            ours = self.frames[number]
            if ours.drawn is not None:
                continue
            inside = _inside(ours.image, self.canvas.border_px)
            ground = grounds[number][inside]
            if sources := self.sources[number]:
                finished, matches = zip(*((theirs.finished(inside), found) for theirs, found in sources), strict=True)
                picture[inside] = follow_drawn(picture[inside], finished, matches, ground)
            if draw:
                where = _bordered(new(ours, self.sources[number]), picture.shape[:2], self.canvas.border_px)
                if box := around(where):
                    started, allowed = (_tensor(array).to(pictures) for array in (picture, where))
                    picture = _pictures(draw(started, contents[number : number + 1], allowed, box))[0]
            ours.drawn, ours.ground, ours.detail = picture, ground, detail(picture[inside])
        return torch.cat([_tensor(frame.drawn) for frame in self.frames if frame.drawn is not None]).to(pictures)

    def _origin(self, number: int, known: Sequence[int]) -> Origin:
        """Of a frame's cells in the known ones among its sources; found once for all times."""
        key = (number, *known)
        if key not in self._origins:
            matches = [coarser(self.sources[number][index][1], self.canvas.cell_px) for index in known]
            self._origins[key] = Origin(matches)
        return self._origins[key]

    def _latents(self, pictures: list[Picture]) -> Tensor:
        return self.canvas.latents(torch.cat([_tensor(picture) for picture in pictures]).contiguous())


def begun(image: NDArray[np.uint8], sources: Sequence[Source], canvas: Canvas) -> Trail:
    """The trail of a frame that is still to be painted: the noise under it has moved along with the best source."""

    def places() -> Picture:
        carried = places_of(*(-(-side // canvas.cell_px) for side in image.shape[:2]))
        for theirs, found in sources:
            carried = carry_places(theirs.places, coarser(found, canvas.cell_px), carried)
        return carried

    return Trail(image, places)


def new(frame: Trail, sources: Sequence[Source]) -> Picture:
    """Where none of its sources shows what a frame shows, [H, W, 1], 0..1."""
    share: Picture = np.ones((*frame.image.shape[:2], 1), np.float32)
    for _, found in sources:
        share *= fresh(found)
    return share


def _inside(frame: NDArray[Any], border: int) -> tuple[slice, ...]:
    """Where a frame, [H, W, C], lies within its mirrored border."""
    return tuple(slice(border, border + side) for side in frame.shape[:2])


def _bordered(inside: Picture, shape: tuple[int, ...], border: int) -> Picture:
    """[H, W, 1] with its edge repeated over the border, up to `shape`."""
    height, width = inside.shape[:2]
    after = [side - border - length for side, length in zip(shape, (height, width), strict=True)]
    return np.pad(inside, ((border, after[0]), (border, after[1]), (0, 0)), mode="edge")


def _pictures(images: Tensor, copy: bool = False) -> Picture:
    """[T, C, H, W] to float32 [T, H, W, C]; a `copy` may be written to."""
    return np.array(images.float().permute(0, 2, 3, 1).cpu().numpy(), order="C", copy=copy or None)


def _tensor(picture: Picture) -> Tensor:
    """[H, W, C] to [1, C, H, W], in the same memory."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None]
