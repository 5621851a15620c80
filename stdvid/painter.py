"""Painting: frames of a shot, a style and what was painted before in, repainted frames out; reading of references."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.config import StylizeConfig, parse_size
from stdvid.diffusion.denoiser import Denoiser
from stdvid.diffusion.noise import normal
from stdvid.diffusion.sampler import SampleStep, sample, sample_last
from stdvid.errors import InputError, Interrupted
from stdvid.following import Following, Source, Trail, begun, new
from stdvid.media.frames import Frame
from stdvid.media.probe import VideoInfo, probe
from stdvid.media.reader import PyAVReader
from stdvid.models.allocator import keep_freed_memory
from stdvid.models.anchor_attention import Memory
from stdvid.models.canvas import Region
from stdvid.models.graphic import solid
from stdvid.models.palette import Palette
from stdvid.models.stylizer import Condition, Look, PartStylizer, Style, Stylizer, to_frames, to_tensor
from stdvid.style_guidance import Box, StyleGuidance, blank_places
from stdvid.temporal.flow import DisFlow
from stdvid.temporal.propagate import Picture, match
from stdvid.temporal.ways import Ways
from stdvid.where_new import looking_at, region_of

P = TypeVar("P")

Image = NDArray[np.uint8]
"""[H, W, 3]"""

Images = NDArray[np.uint8]
"""[T, H, W, 3]"""

Painted = NDArray[np.float32]
"""[T, H, W, 3], 0 to 255."""

TELLING = 0.6
"""Frames with less than this share of the contrast of another in their window say nothing of a shot's colours."""

FOLLOWING = ("flow", "full")
"""The modes of consistency in which paint follows the motion."""

REFERENCE_SHORT_SIDE_PX = 320
"""References are read at the scale that the model was trained at."""

FULL_SHARE = 3.0
"""Sampling takes all of its steps, and style guidance all of its iterations, where a share of 1 / FULL_SHARE, or more,
of what is painted is new."""


def working_size(info: VideoInfo, size: int | str) -> tuple[int, int]:
    """(width, height) worked on and written: even, square pixels, the source's display aspect.

    A number is the short side; the source is never enlarged to reach it. "WxH" is taken as it is.
    """
    wanted = parse_size(size)
    if not isinstance(wanted, int):
        return wanted
    source = info.video.display_size
    scale = min(1.0, wanted / min(source))
    width, height = (max(2, min(2 * round(side * scale / 2), int(side) // 2 * 2)) for side in source)
    return width, height


@dataclass(frozen=True)
class Handed:
    """What a painted window hands on to the next: the frames that both have, [N, H, W, 3], and the trail of the last.

    With consistency "full" this is the anchor between them.
    """

    painted: Painted
    trail: Trail

    def state(self) -> dict[str, NDArray[Any] | Tensor]:
        """Everything in it by name: for `of_state`."""
        return {"painted": self.painted, **{f"trail.{name}": value for name, value in self.trail.state().items()}}

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> Handed:
        """What was handed on, from its `state`; KeyError if that is not one."""
        parts = {name.removeprefix("trail."): value for name, value in state.items() if name.startswith("trail.")}
        return cls(state["painted"].numpy(), Trail.of_state(parts))


class Painter:
    """Paints frames of a shot when it is told all that they depend on; in which order is for `WindowPainter` to say.

    The methods may be called side by side.
    """

    ahead = 0
    """No window is begun before the one before it is finished."""

    def __init__(
        self,
        stylizer: Stylizer,
        style: Style,
        times: tuple[int, ...],
        config: StylizeConfig,
        size: tuple[int, int],
        stop: threading.Event,
    ) -> None:
        """`stop`: once it is set, the methods raise Interrupted."""
        self.stylizer, self.style, self.times, self.config = stylizer, style, times, config
        self.group = stylizer.frames_together(*size)
        self.stop = stop
        self.network_seconds = 0.0
        if stylizer.device.type == "cpu":
            keep_freed_memory()
        self._guidance = None
        if config.sampling.style_guidance:
            self._guidance = StyleGuidance(style.pictures, config.sampling.seed, stylizer.device)

    def look(self, images: Images) -> Look:
        """What becomes of a window's frames before they are painted; those that are nearly black or white yet, or
        already, in a fade are not asked."""
        contrast = images[:, ::4, ::4].std((1, 2)).sum(-1)
        telling = images[contrast >= TELLING * contrast.max()]
        return self.stylizer.look(to_tensor(telling), self.style, self.config.sampling.color)

    def ways(self, images: Images) -> Ways:
        """How the frames of a window, [T, H, W, 3], move."""
        return Ways.through(images)

    def apart(self, images: Images, index: int, look: Look) -> Painted:
        """Paint frames, [T, H, W, 3], the first of which is number `index` of the clip, that know nothing of one
        another."""
        groups = range(0, len(images), self.group)
        return np.concatenate([self._paint_group(images[n : n + self.group], index + n, look) for n in groups])

    def anchor(self, image: Image, look: Look, first: Handed | None = None, ways: Ways | None = None) -> Handed:
        """Paint the first frame of a shot, [H, W, 3], or the last of a window, after its first and by its ways."""
        found = ways.first[-1] if ways else None
        sources = [(first.trail, found)] if first and found else []
        trail = begun(image, sources, self.stylizer.canvas)
        anchors = [first.trail.memory] if first else []
        following = self._following([trail], [sources])
        stride = self._stride(new(trail, sources))
        return Handed(self._paint_group(image[None], 0, look, following, anchors, trail.memory, stride), trail)

    def between(self, images: Images, look: Look, ways: Ways, first: Handed, last: Handed) -> Painted:
        """Paint a window, [T, H, W, 3], whose ends are painted: what neither shows is of the frame before, or new."""
        if len(images) == 1:
            return first.painted
        inner = self._begun_between(images, ways, first, last)
        anchors = [first.trail.memory]
        if self.stylizer.together:  # the ends too: what lies between is to move from one to the other
            known: list[tuple[Trail, list[Source]]] = [(first.trail, []), *inner, (last.trail, [])]
            trails, sources = zip(*known[: len(images)], strict=True)
            return self._paint_group(images, 0, look, self._following(trails, sources), anchors)
        painted, start = [first.painted], 1
        for stride, regions, trails, sources in self._alike(inner):
            part = images[start : start + len(trails)]
            following = self._following(trails, sources)
            painted.append(self._paint_group(part, 0, look, following, anchors, stride=stride, regions=regions))
            start += len(part)
        return np.concatenate([*painted, last.painted][: len(images)])

    def _alike(
        self, frames: Iterable[tuple[Trail, list[Source]]]
    ) -> Iterator[tuple[int, tuple[Region, ...], tuple[Trail, ...], tuple[list[Source], ...]]]:
        """Frames in their order, in groups that are sampled at the same times, every stride-th, or at none for 0, and
        the region of each that the network has to see, or none for all of them."""
        due = ((*self._due(*frame), *frame) for frame in frames)
        for stride, alike in itertools.groupby(due, lambda frame: frame[0]):
            while group := list(itertools.islice(alike, self.group)):
                _, regions, trails, sources = zip(*group, strict=True)
                yield stride, tuple(filter(None, regions)), trails, sources

    def _due(self, frame: Trail, sources: Sequence[Source]) -> tuple[int, Region | None]:
        """The stride through the times for a frame, 0 where nothing of it is new; and where it is, None for all of
        it."""
        if self.config.sampling.always_whole(len(self.times) - 1):
            return 1, None
        unknown = new(frame, sources)
        if not isinstance(self.stylizer, PartStylizer):
            return self._stride(unknown), None
        region = region_of(unknown, self.stylizer.canvas)
        return (self._stride(unknown), region) if region else (0, None)

    def _stride(self, unknown: Picture) -> int:
        """The largest stride through the times that still takes the steps due to a frame, the fewer, the less of it is
        `unknown` [H, W, 1], 0..1."""
        steps, sampling = len(self.times) - 1, self.config.sampling
        if sampling.always_whole(steps):
            return 1
        due = min(steps, max(sampling.steps_between or 1, steps * FULL_SHARE * float(unknown.mean())))
        return next(stride for stride in range(steps, 0, -1) if steps % stride == 0 and steps // stride >= due)

    def _begun_between(
        self, images: Images, ways: Ways, first: Handed, last: Handed
    ) -> Iterator[tuple[Trail, list[Source]]]:
        """The frames between the ends of a window, and what each takes over from."""
        before = first.trail
        for number, image in enumerate(images[1:-1], 1):
            found = zip((before, last.trail, first.trail), ways.of(number), strict=True)
            sources = [(trail, match) for trail, match in found if match]
            before = begun(image, sources, self.stylizer.canvas)
            yield before, sources

    def chain(self, images: Images, look: Look, before: Handed | None) -> tuple[Painted, Handed]:
        """Paint frames, [T, H, W, 3], each after the one before; those that the last window has painted come first."""
        painted = [before.painted] if before else []
        trail = before.trail if before else None
        flow = DisFlow()
        for start in range(sum(map(len, painted)), len(images), self.group):
            trails: list[Trail] = []
            sources: list[list[Source]] = []
            for image in images[start : start + self.group]:
                sources.append([(trail, match(image, trail.image, flow))] if trail else [])
                trail = begun(image, sources[-1], self.stylizer.canvas)
                trails.append(trail)
            part = images[start : start + len(trails)]
            painted.append(self._paint_group(part, 0, look, self._following(trails, sources)))
        if trail is None:
            raise ValueError("no frames to paint")
        result = np.concatenate(painted)
        return result, Handed(result[max(0, len(result) - self.config.video.overlap) :], trail)

    def value(self, painted: P) -> P:
        """What a method has returned, when it is there: at once."""
        return painted

    def _following(self, trails: Sequence[Trail], sources: Sequence[Sequence[Source]]) -> Following:
        return Following(trails, sources, self.stylizer.canvas)

    @torch.no_grad()
    def _paint_group(
        self,
        images: Images,
        index: int,
        look: Look,
        following: Following | None = None,
        anchors: Sequence[Memory] = (),
        keep: Memory | None = None,
        stride: int = 1,
        regions: Sequence[Region] = (),
    ) -> Painted:
        """Paint frames of a shot, the first of which is number `index` of the clip, in sight of `anchors`, at every
        `stride`-th time, in their `regions`; with a stride of 0 they are what they follow."""
        sampling = self.config.sampling
        condition = self.stylizer.condition(to_tensor(images), self.style, sampling.color, look)
        pictures = condition.content
        if stride:
            if regions and isinstance(self.stylizer, PartStylizer):
                denoiser = looking_at(regions, self.stylizer, condition, sampling.guidance)
            else:
                denoiser = self.stylizer.denoiser(condition, sampling.guidance, anchors, keep)
            latents = self._denoise(denoiser, condition, self.times[::stride], index, following, regions)
            pictures = self.stylizer.decode(latents)
        if self.style.graphic.hatched:  # bare paper stays bare under a pen
            bare = self.style.graphic.hatched * blank_places(condition.content)
            pictures = torch.lerp(pictures, condition.content, bare)
        if following:
            pictures = following.draw(pictures, condition.content, self._draw if self._guidance else None)
        elif self._guidance:
            pictures = self._draw_each(pictures, condition.content)
        drawn = self.stylizer.canvas.unpad(pictures, *images.shape[1:3]).clamp(-1, 1)
        if hatched := self.style.graphic.hatched * sampling.color:
            drawn = torch.cat([solid(image[None], hatched) for image in drawn])
        return to_frames(drawn)

    def _denoise(
        self,
        denoiser: Denoiser,
        condition: Condition,
        times: Sequence[int],
        index: int,
        following: Following | None,
        regions: Sequence[Region] = (),
    ) -> Tensor:
        """The network's picture of some frames, latents [T, C, h, w], or of `regions` of them.

        Refined are all estimates but the last: of that one what is drawn follows, to the pixel.
        """

        def refine(x_0: Tensor, t: int) -> Tensor:
            return following.refine(x_0, t) if following and t in times[:-2] else x_0

        def noise(step: int) -> Tensor:
            drawn = self._noise(condition, index, step)
            return drawn if following is None else following.noise(drawn, regions)

        x = self.stylizer.schedule.add_noise(
            condition.x_0, noise(0), torch.tensor([times[0]], device=condition.x_0.device)
        )
        steps = sample(
            self._timed(denoiser),
            x,
            times,
            self.stylizer.schedule,
            gamma=self.config.sampling.gamma,
            noise=lambda step: noise(step + 1),
            refine_x0=refine,
        )
        return sample_last(self._until_stopped(steps))

    def _timed(self, denoiser: Denoiser) -> Denoiser:
        """It, and its time is added up."""

        def call(x_t: Tensor, t: Tensor) -> Tensor:
            started = time.monotonic()
            x_0 = denoiser(x_t, t)
            if x_0.is_cuda:  # where calls return before they are done
                torch.cuda.synchronize(x_0.device)
            self.network_seconds += time.monotonic() - started
            return x_0

        return call

    def _draw_each(self, pictures: Tensor, contents: Tensor) -> Tensor:
        """Draw upon frames that know nothing of one another, [T, 3, H, W]."""
        everywhere, whole = torch.ones_like(pictures[:1, :1]), (slice(None), slice(None))
        parts = zip(pictures, contents, strict=True)
        return torch.cat([self._draw(image[None], content[None], everywhere, whole) for image, content in parts])

    def _draw(self, image: Tensor, content: Tensor, where: Tensor, box: Box) -> Tensor:
        """Style guidance of a part of a picture; the less of it is new, the fewer iterations."""
        sampling, graphic = self.config.sampling, self.style.graphic
        share = float(where[..., box[0], box[1]].mean())
        iterations = round(sampling.style_guidance * min(1.0, FULL_SHARE * share))
        if self._guidance is None or not iterations:
            return image
        return self._guidance.draw(
            image,
            content,
            iterations,
            where=where,
            box=box,
            color=sampling.color * (1 - graphic.hatched),  # a pen has one ink
            blank=graphic.flatness,
            check=self._check,
        )

    def _check(self) -> None:
        if self.stop.is_set():
            raise Interrupted("interrupted")

    def _until_stopped(self, steps: Iterator[SampleStep]) -> Iterator[SampleStep]:
        for state in steps:
            self._check()
            yield state

    def _noise(self, condition: Condition, index: int, step: int) -> Tensor:
        """Noise [T, C, h, w] of step `step`: one for all frames, or one a frame, seeded by (seed, step, frame)."""
        seed, (count, *shape) = self.config.sampling.seed, condition.x_0.shape
        frames = range(index, index + count) if self.config.video.consistency == "none" else [0]
        noises = np.stack([normal(seed, step, frame, *shape) for frame in frames])
        return torch.from_numpy(noises).to(condition.x_0).expand(count, -1, -1, -1)


def plain(images: Images) -> bool:
    """Whether frames [T, H, W, 3] have nearly one colour, as before a fade-in: they say nothing of what is to come."""
    return Palette.of(to_tensor(images[:, ::4, ::4])).variety < 1


def stacked(frames: list[Frame]) -> Images:
    """The pictures of some frames, [T, H, W, 3]."""
    return np.stack([frame.image for frame in frames])


def read_reference(path: Path) -> NDArray[np.uint8]:
    """A reference image, uint8 [H, W, 3], its short side brought down to REFERENCE_SHORT_SIDE_PX."""
    info = check_reference(path)
    with PyAVReader(path, size=working_size(info, REFERENCE_SHORT_SIDE_PX), info=info) as reader:
        return next(iter(reader)).image


def check_reference(path: Path) -> VideoInfo:
    """Probe a reference; InputError unless it is an image."""
    if not path.exists():
        raise InputError(f"style reference: {path}: no such file; an image or the name of a bundled style is needed")
    try:
        info = probe(path)
    except InputError as exc:
        raise InputError(f"style reference: {exc}") from exc
    if not info.is_image:
        raise InputError(f"style reference '{path}' is a video; an image is needed; extract a frame or give a picture")
    return info
