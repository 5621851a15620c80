"""States that a student meets when it paints: what a quantization is to be exact for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.diffusion.sampler import sample, sample_last
from stdvid.diffusion.schedule import sampling_times
from stdvid.distill.data import Image, Pool, bring_down, step_rng
from stdvid.models.nano_stylizer import NanoStylizer
from stdvid.models.openvino_backend import call_of
from stdvid.models.stylizer import Condition, to_tensor

STYLE_SCALE = 1.0
"""As in the presets."""

STEPS = (4, 4, 4, 2, 4, 1)
"""Network steps of one pair after the other."""

SIZES = ((160, 160), (144, 256), (256, 144), (192, 288))
"""Height and width of the pictures, px, one pair after the other; networks hardly know how large a picture is."""

Call = dict[str, NDArray[np.float32]]
"""What the graph is given, by the names of its inputs."""


@torch.no_grad()
def calls(stylizer: NanoStylizer, photos: Pool, styles: Pool, start: int, pairs: int, seed: int = 0) -> Iterator[Call]:
    """All calls of the network while `pairs` pictures are painted; `start`: the student's first time."""
    for number in range(pairs):
        rng = step_rng(seed, number)
        photo = _cut(photos.draw(rng), *SIZES[number % len(SIZES)])
        style = stylizer.read_style([bring_down(styles.draw(rng), 320)], STYLE_SCALE)
        condition = stylizer.condition(to_tensor(photo[None]), style, 1.0)
        yield from _painted(stylizer, condition, sampling_times(start, STEPS[number % len(STEPS)]), rng)


def _painted(
    stylizer: NanoStylizer, condition: Condition, times: Sequence[int], rng: np.random.Generator
) -> list[Call]:
    """The calls of one picture."""
    met: list[Call] = []
    denoiser, told = stylizer.denoiser(condition), condition.told
    noise = torch.from_numpy(rng.standard_normal(condition.x_0.shape, np.float32))

    def recorded(x_t: Tensor, t: Tensor) -> Tensor:
        met.append(call_of(x_t, t, told.structure, told.code))
        return denoiser(x_t, t)

    x = stylizer.schedule.add_noise(condition.x_0, noise, torch.tensor([times[0]]))
    sample_last(sample(recorded, x, times, stylizer.schedule))
    return met


def _cut(image: Image, height: int, width: int) -> Image:
    """The middle of a picture, in these sides."""
    scale = max(height / image.shape[0], width / image.shape[1])
    size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (resized.shape[0] - height) // 2, (resized.shape[1] - width) // 2
    return np.ascontiguousarray(resized[top : top + height, left : left + width], np.uint8)
