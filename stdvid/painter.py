"""Painting: a window of decoded frames and a style in, repainted frames out; and the reading of references."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.config import StylizeConfig, parse_size
from stdvid.diffusion.sampler import SampleStep, sample, sample_last
from stdvid.errors import InputError, Interrupted
from stdvid.following import Following, Trail
from stdvid.media.frames import Frame
from stdvid.media.probe import VideoInfo, probe
from stdvid.media.reader import PyAVReader
from stdvid.models.graphic import solid
from stdvid.models.nano import decode, encode
from stdvid.models.stylizer import Condition, Look, Style, Stylizer, to_frames, to_tensor, unpad
from stdvid.style_guidance import Box, StyleGuidance
from stdvid.temporal.flow import DisFlow
from stdvid.temporal.windows import Window

REFERENCE_SHORT_SIDE_PX = 320
"""References are read at the scale that the model was trained at."""

PIXELS_PER_CALL = 600_000
"""Frames of a window go through the network in groups of about this many pixels, which bounds memory."""

FULL_SHARE = 3.0
"""Style guidance makes all of its iterations where a share of 1 / FULL_SHARE, or more, of what it draws upon is new."""


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


@dataclass
class _Shot:
    """What the windows of a shot share: what becomes of the first, and from one to the next, with consistency
    "flow", the trail of the last frame and the frames, float32 [overlap, H, W, 3], that the next window has as well."""

    look: Look
    trail: Trail | None = None
    shared: NDArray[np.float32] | None = None


class WindowPainter:
    """Repaints the windows of a clip.

    Frames of a window share a palette. With consistency "noise" they share their noise as well; with "flow" the windows
    of a shot are a chain, to be painted in order: noise and strokes follow the motion from frame to frame, the palette
    is that of the shot's first window, and frames that windows share are painted once.
    """

    def __init__(
        self,
        stylizer: Stylizer,
        style: Style,
        times: tuple[int, ...],
        config: StylizeConfig,
        size: tuple[int, int],
        stop: threading.Event,
    ) -> None:
        self.stylizer, self.style, self.times, self.config = stylizer, style, times, config
        self.group = max(1, PIXELS_PER_CALL // (size[0] * size[1]))
        self.stop = stop
        self.network_seconds = 0.0
        self._flow = DisFlow()
        self._guidance = None
        if config.sampling.style_guidance:
            self._guidance = StyleGuidance(style.pictures, config.sampling.seed, stylizer.device)
        self._shot: _Shot | None = None

    def paint(self, window: Window, frames: list[Frame], only: int | None = None) -> NDArray[np.float32]:
        """Stylize the real frames of a window; float32 [n_frames, H, W, 3] in 0..255. Padding is not computed.

        `only`: just the frame at this place, [1, H, W, 3], as it is among the others; with consistency "flow", as it is
        where a shot begins with it. Raises Interrupted when asked to stop.
        """
        real = frames[: window.n_frames]
        images = to_tensor(np.stack([frame.image for frame in real]))
        indices = [frame.index for frame in real]
        following = self.config.video.consistency == "flow"
        if only is not None:
            look = self._shot.look if self._shot and following else self._look(images)
            part = slice(only, only + 1)
            return self._paint_group(images[part], indices[part], look, None)[0]
        if self._shot is None or window.index == 0 or not following:
            self._shot = _Shot(self._look(images))
        shot = self._shot
        painted = [shot.shared] if shot.shared is not None else []
        for first in range(sum(map(len, painted)), len(real), self.group):
            part = slice(first, first + self.group)
            group, shot.trail = self._paint_group(images[part], indices[part], shot.look, shot.trail)
            painted.append(group)
        result = np.concatenate(painted)
        if shot.trail is not None and self.config.video.overlap:
            shot.shared = result[-self.config.video.overlap :]
        return result

    def begin(self, frames: list[Frame]) -> None:
        """Begin a shot whose first window these are, without painting it: its palette is known then."""
        self._shot = _Shot(self._look(to_tensor(np.stack([frame.image for frame in frames]))))

    def _look(self, images: Tensor) -> Look:
        return self.stylizer.look(images, self.style, self.config.sampling.color)

    @torch.no_grad()
    def _paint_group(
        self, images: Tensor, indices: list[int], look: Look, trail: Trail | None
    ) -> tuple[NDArray[np.float32], Trail | None]:
        """Paint some frames after the one that left `trail`; with consistency "flow" also the trail of the last one."""
        started = time.monotonic()
        sampling = self.config.sampling
        condition = self.stylizer.condition(images, self.style, sampling.color, look)
        following = None
        if self.config.video.consistency == "flow":
            following = Following(images, trail, self._flow)

        def noise(step: int) -> Tensor:
            drawn = self._noise(condition, indices, step)
            return drawn if following is None else following.noise(drawn)

        x = self.stylizer.schedule.add_noise(
            condition.x_0, noise(0), torch.tensor([self.times[0]], device=condition.x_0.device)
        )
        steps = sample(
            self.stylizer.denoiser(condition, sampling.guidance),
            x,
            self.times,
            self.stylizer.schedule,
            gamma=sampling.gamma,
            noise=lambda step: noise(step + 1),
            refine_x0=following.refine if following else None,
        )
        x = sample_last(self._until_stopped(steps))
        if self._guidance:
            x = following.draw(x, condition.x_0, self._draw) if following else self._draw_each(x, condition.x_0)
        height, width = images.shape[-2:]
        drawn = unpad(decode(x), height, width).clamp(-1, 1)
        if hatched := self.style.graphic.hatched * sampling.color:
            drawn = torch.cat([solid(image[None], hatched) for image in drawn])
        painted = to_frames(drawn)
        self.network_seconds += time.monotonic() - started
        return painted, following.trail if following else None

    def _draw_each(self, x: Tensor, content: Tensor) -> Tensor:
        """Draw upon frames that know nothing of one another, latents [T, C, h, w]."""
        images, contents = decode(x), decode(content)
        everywhere, whole = torch.ones_like(images[:1, :1]), (slice(None), slice(None))
        parts = zip(images, contents, strict=True)
        return encode(
            torch.cat([self._draw(image[None], content[None], everywhere, whole) for image, content in parts])
        )

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
            raise Interrupted("interrupted; the output was not written; run the command again")

    def _until_stopped(self, steps: Iterator[SampleStep]) -> Iterator[SampleStep]:
        for state in steps:
            self._check()
            yield state

    def _noise(self, condition: Condition, indices: list[int], step: int) -> Tensor:
        """Noise [T, 48, h, w] of step `step`: one for all frames, or one a frame, seeded by (seed, step, frame)."""
        seed, shape = self.config.sampling.seed, condition.x_0.shape[1:]
        frames = indices if self.config.video.consistency == "none" else [0]
        noises = [np.random.default_rng([seed, step, i]).standard_normal(shape, np.float32) for i in frames]
        return torch.from_numpy(np.stack(noises)).to(condition.x_0).expand(len(indices), -1, -1, -1)


def read_reference(path: Path) -> NDArray[np.uint8]:
    """A reference image, uint8 [H, W, 3], its short side brought down to REFERENCE_SHORT_SIDE_PX."""
    info = check_reference(path)
    with PyAVReader(path, size=working_size(info, REFERENCE_SHORT_SIDE_PX), info=info) as reader:
        return next(iter(reader)).image


def check_reference(path: Path) -> VideoInfo:
    """Probe a reference; InputError unless it is an image."""
    try:
        info = probe(path)
    except InputError as exc:
        raise InputError(f"style reference: {exc}") from exc
    if not info.is_image:
        raise InputError(f"style reference '{path}' is a video; an image is needed; extract a frame or give a picture")
    return info
