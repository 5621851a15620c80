"""The teacher's task: denoise a crop of a picture, given its structure and the style of another crop of it.

No pairs and no pretrained network are needed, and it is the setting of SDEdit exactly. Style and structure are
dropped at random, so the teacher can be guided (arXiv 2207.12598).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from stdvid.diffusion.schedule import Schedule
from stdvid.distill.ahead import Ahead
from stdvid.distill.data import Pool, random_crop, step_rng
from stdvid.distill.settings import TeacherSettings
from stdvid.distill.sheets import Sheet
from stdvid.models.nano import Nano
from stdvid.models.patches import encode
from stdvid.models.structure import structure_map
from stdvid.models.style_encoder import STYLE_CROP_PX


@dataclass(frozen=True)
class Batch:
    """What one step sees: `pixels` [N, 3, P, P] to be denoised, `references` [N, 3, S, S], float in [-1, 1], blur of
    the structure maps, which pictures keep structure and style (bool [N]), times `t` (int [N]), seed of the noise."""

    pixels: Tensor
    references: Tensor
    blur_px: float
    keep_structure: Tensor
    keep_style: Tensor
    t: Tensor
    seed: int


class TeacherTask:
    """See the module; a `Task` of the trainer."""

    def __init__(
        self,
        model: Nano,
        architecture: dict[str, Any],
        schedule: Schedule,
        styles: Pool,
        photos: Pool,
        sheet: Sheet,
        settings: TeacherSettings,
        accelerator: Accelerator,
    ) -> None:
        self.architecture = architecture
        self.model, self.schedule, self.styles, self.photos = model, schedule, styles, photos
        self._sheet, self.settings, self.accelerator = sheet, settings, accelerator
        self._batches = Ahead(self._batch, settings.data.workers)

    def _batch(self, step: int) -> Batch:
        optim, settings = self.settings.optim, self.settings.loss
        rng, n, crop_px = step_rng(optim.seed, step), optim.batch, self.settings.data.crop_px
        targets, crops = [], []
        for _ in range(n):
            image = (self.photos if rng.random() < settings.photo_share else self.styles).draw(rng)
            targets.append(random_crop(image, crop_px, rng))
            crops.append(random_crop(image, STYLE_CROP_PX, rng, (0.8, 1.6)))
        return Batch(
            torch.stack(targets),
            torch.stack(crops),
            float(rng.uniform(0.8, 2.5)),
            torch.from_numpy(rng.random(n) >= settings.drop_structure),
            torch.from_numpy(rng.random(n) >= settings.drop_style),
            torch.from_numpy(rng.integers(settings.max_time, size=n)),
            int(rng.integers(2**62)),
        )

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Weighted squared error of x_0; weight min(1 / sigma^2, max_weight)."""
        batch, device = self._batches.take(step), self.accelerator.device
        pixels, references, t = (x.to(device) for x in (batch.pixels, batch.references, batch.t))
        structure = encode(structure_map(pixels, batch.blur_px))
        structure = structure * batch.keep_structure.to(structure).view(-1, 1, 1, 1)
        x_0 = encode(pixels)
        generator = torch.Generator(device).manual_seed(batch.seed)
        x_t = self.schedule.add_noise(x_0, torch.randn(x_0.shape, generator=generator, device=device), t)
        keep_style = batch.keep_style.to(device)
        with self.accelerator.autocast():
            code = self.model.style(references.contiguous(memory_format=torch.channels_last))
            code = code.select(keep_style, self.model.style.null(code))
            predicted = self.model(x_t, t, structure, code)
        _, sigma = self.schedule.alpha_sigma(t)
        error = (predicted - x_0).square().mean((1, 2, 3))
        weight = (1 / sigma.flatten() ** 2).clamp(max=self.settings.loss.max_weight)
        return (error * weight).mean(), {"x0_error": float(error.mean().detach())}

    def after_step(self, step: int) -> None:
        """Nothing to do."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What an exported bundle must say of the network."""
        facts = {"architecture": self.architecture, "strength": None, "start": self.settings.loss.max_time - 1}
        return {}, facts

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Nothing to restore."""

    def sheet(self, model: nn.Module) -> NDArray[np.uint8]:
        """Held-out pairs, 12 guided steps."""
        return self._sheet.draw(cast(Nano, model), self.schedule, steps=12, guidance=2.0)
