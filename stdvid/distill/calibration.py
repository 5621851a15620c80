"""States that a student meets when it paints: what a quantization is to be exact for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid.diffusion.sampler import sample, sample_last
from stdvid.diffusion.schedule import sampling_times
from stdvid.distill.data import Image, Pool, bring_down, step_rng
from stdvid.models.anchor_attention import Memory
from stdvid.models.nano_stylizer import NanoStylizer
from stdvid.models.openvino_backend import call_of
from stdvid.models.stylizer import Condition, to_tensor

STYLE_SCALE = 1.0
"""As in the presets."""

STEPS = (4, 4, 4, 2, 4, 1)
"""Network steps of one pair after the other."""

SIZES = ((160, 160), (144, 256), (256, 144), (192, 288))
"""Height and width of the pictures, px, one pair after the other; networks hardly know how large a picture is."""

SHIFT_PX = 12
"""How far a camera has gone from the anchor to a frame that sees it."""

Call = dict[str, NDArray[np.float32]]
"""What the graph is given, by the names of its inputs."""


def calls(
    stylizer: NanoStylizer, layers: Mapping[str, int], photos: Pool, styles: Pool, start: int, pairs: int, seed: int = 0
) -> Iterator[Call]:
    """All calls of the network while `pairs` pictures are painted, and each once more in sight of the first.

    `layers`: those that see anchors, with their widths; `start`: the student's first time.
    """
    for number in range(pairs):
        rng = step_rng(seed, number)
        height, width = SIZES[number % len(SIZES)]
        photo = _cut(photos.draw(rng), height, width + SHIFT_PX)
        style = stylizer.read_style([bring_down(styles.draw(rng), 320)], STYLE_SCALE)
        times = sampling_times(start, STEPS[number % len(STEPS)])
        memory: Memory = {}
        for frame, anchors in ((photo[:, :width], []), (photo[:, SHIFT_PX:], [memory])):
            condition = stylizer.condition(to_tensor(frame[None]), style, 1.0)
            yield from _painted(stylizer, condition, times, layers, anchors, memory, rng)


@torch.no_grad()
def _painted(
    stylizer: NanoStylizer,
    condition: Condition,
    times: Sequence[int],
    layers: Mapping[str, int],
    anchors: list[Memory],
    memory: Memory,
    rng: np.random.Generator,
) -> Iterator[Call]:
    """The calls of one picture, which ends in `memory` if it sees no anchors."""
    met: list[Call] = []
    denoiser = stylizer.denoiser(condition, 1.0, anchors, None if anchors else memory)
    noise = torch.from_numpy(rng.standard_normal(condition.x_0.shape, np.float32))

    def recorded(x_t: Tensor, t: Tensor) -> Tensor:
        told = condition.told
        met.append(call_of(x_t, t, told.structure, told.code.expand(len(x_t)), layers, anchors))
        return denoiser(x_t, t)

    x = stylizer.schedule.add_noise(condition.x_0, noise, torch.tensor([times[0]]))
    sample_last(sample(recorded, x, times, stylizer.schedule))
    yield from met


def _cut(image: Image, height: int, width: int) -> Image:
    """The middle of a picture, in these sides."""
    scale = max(height / image.shape[0], width / image.shape[1])
    size = max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (resized.shape[0] - height) // 2, (resized.shape[1] - width) // 2
    return np.ascontiguousarray(resized[top : top + height, left : left + width], np.uint8)
