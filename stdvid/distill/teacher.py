"""The teacher's task: denoise a crop of a picture, given its structure and the style of another crop of it.

No pairs and no pretrained network are needed, and it is the setting of SDEdit exactly. Style and structure are
dropped at random, so the teacher can be guided (arXiv 2207.12598).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from stdvid.diffusion.schedule import Schedule
from stdvid.distill.data import Pool, random_crop, step_rng, torch_generator
from stdvid.distill.settings import TeacherSettings
from stdvid.distill.sheets import Sheet
from stdvid.models.nano import Nano, encode
from stdvid.models.structure import structure_map
from stdvid.models.style_encoder import STYLE_CROP_PX


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

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Weighted squared error of x_0; weight min(1 / sigma^2, max_weight)."""
        optim, settings = self.settings.optim, self.settings.loss
        rng, n, crop_px = step_rng(optim.seed, step), optim.batch, self.settings.data.crop_px
        targets, crops = [], []
        for _ in range(n):
            image = (self.photos if rng.random() < settings.photo_share else self.styles).draw(rng)
            targets.append(random_crop(image, crop_px, rng))
            crops.append(random_crop(image, STYLE_CROP_PX, rng, (0.8, 1.6)))
        device = self.accelerator.device
        pixels, references = torch.stack(targets).to(device), torch.stack(crops).to(device)
        structure = encode(structure_map(pixels, rng.uniform(0.8, 2.5)))
        keep = torch.from_numpy(rng.random(n) >= settings.drop_structure).to(structure)
        structure = structure * keep.view(-1, 1, 1, 1)
        x_0 = encode(pixels)
        t = torch.from_numpy(rng.integers(settings.max_time, size=n)).to(device)
        noise = torch.randn(x_0.shape, generator=torch_generator(rng)).to(device)
        x_t = self.schedule.add_noise(x_0, noise, t)
        keep_style = torch.from_numpy(rng.random(n) >= settings.drop_style).to(device)
        with self.accelerator.autocast():
            code = self.model.style(references.contiguous(memory_format=torch.channels_last))
            code = code.select(keep_style, self.model.style.null(code))
            predicted = self.model(x_t, t, structure, code)
        _, sigma = self.schedule.alpha_sigma(t)
        error = (predicted - x_0).square().mean((1, 2, 3))
        weight = (1 / sigma.flatten() ** 2).clamp(max=settings.max_weight)
        return (error * weight).mean(), {"x0_error": float(error.mean().detach())}

    def after_step(self, step: int) -> None:
        """Nothing to do."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What an exported bundle must say of the network."""
        facts = {"architecture": self.architecture, "strength": None, "start": self.settings.loss.max_time - 1}
        return {}, facts

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Nothing to restore."""

    def sheet(self, model: Nano) -> NDArray[np.uint8]:
        """Held-out pairs, 12 guided steps."""
        return self._sheet.draw(model, self.schedule, steps=12, guidance=2.0)
