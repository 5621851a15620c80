"""Sample sheets: a fixed set of held-out pairs, so that progress can be seen."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stdvid.diffusion.sampler import sample, sample_last
from stdvid.diffusion.schedule import Schedule, grid_time, sampling_times, start_index
from stdvid.distill.data import Pool, step_rng
from stdvid.models.nano import Nano
from stdvid.models.nano_stylizer import NanoStylizer
from stdvid.models.stylizer import to_frames, to_tensor


def fit(image: NDArray[Any], width: int, height: int) -> NDArray[np.uint8]:
    """The centre of a picture, scaled to cover width x height."""
    scale = max(width / image.shape[1], height / image.shape[0])
    size = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return np.ascontiguousarray(resized[top : top + height, left : left + width])


class Sheet:
    """Rows of (photo, reference, result) for `count` held-out pairs."""

    def __init__(
        self, photos: Pool, styles: Pool, *, count: int = 6, strength: float = 0.6, size_px: int = 256
    ) -> None:
        rng = step_rng(20241218, 0)
        self.pairs = [(fit(photos.draw(rng), size_px, size_px), styles.draw(rng)) for _ in range(count)]
        self.strength, self.size_px = strength, size_px

    @torch.no_grad()
    def draw(self, model: Nano, schedule: Schedule, *, steps: int, guidance: float = 1.0) -> NDArray[np.uint8]:
        """The sheet, uint8 [2 x 256, 3 x 3 x 256, 3] for 6 pairs."""
        stylizer = NanoStylizer(model, schedule)
        times = sampling_times(int(grid_time(start_index(self.strength))), steps)
        cells = []
        for photo, reference in self.pairs:
            condition = stylizer.condition(to_tensor(photo[None]), stylizer.read_style([reference]), 1.0)
            noise = torch.randn(condition.x_0.shape, generator=torch.Generator().manual_seed(0)).to(condition.x_0)
            x = schedule.add_noise(condition.x_0, noise, torch.tensor([times[0]], device=noise.device))
            latents = sample_last(sample(stylizer.denoiser(condition, guidance), x, times, schedule))
            result = stylizer.canvas.unpad(stylizer.decode(latents), self.size_px, self.size_px)
            pixels = to_frames(result)[0].round().astype(np.uint8)
            cells.append(np.hstack([photo, fit(reference, self.size_px, self.size_px), pixels]))
        rows = [np.hstack(cells[i : i + 2]) for i in range(0, len(cells) - len(cells) % 2, 2)]
        return np.vstack(rows)
