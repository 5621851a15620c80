"""The style terms: strokes, put back by the Gram distance of the student's clean prediction to the reference.

A denoiser trained on squared errors averages strokes away. The terms are taken at states of the student's *own*
trajectories, which a bank walks with strides of runs of 2 to 8 steps.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from stdvid.diffusion.schedule import Schedule, grid_time, start_index
from stdvid.diffusion.solver import jump
from stdvid.distill.bank import TrajectoryBank, stack
from stdvid.distill.losses import contrastive_loss
from stdvid.distill.nano_players import X0_LIMIT
from stdvid.distill.settings import StudentLoss
from stdvid.distill.slots import Slot, SlotSource
from stdvid.metrics.features import STRIDE_PX, LiteFeatures
from stdvid.models.nano import Nano
from stdvid.models.patches import decode
from stdvid.models.style_encoder import read_style
from stdvid.picture_losses import (
    LEAST_CALM,
    STROKE_MAPS,
    area_distances,
    area_grams,
    areas,
    by_rank,
    detail,
    detail_loss,
    low_frequency_loss,
    roughness,
    stroke_picture,
    structure_loss,
    wanted_detail,
)

CROPS_PER_SIDE = 2
"""The style is read off the very picture that strokes are compared to, in so many crops a side: as stylization does."""

FRESH = 2
"""Sets the random numbers of these slots apart from others of the same run."""


class StyleTerms:
    """See the module; holds the feature networks and the bank of the student's trajectories."""

    def __init__(
        self,
        model: Nano,
        schedule: Schedule,
        source: SlotSource,
        loss: StudentLoss,
        accelerator: Accelerator,
        *,
        seed: int,
    ) -> None:
        self.model, self.schedule, self.settings, self.accelerator = model, schedule, loss, accelerator
        self.start = start_index(loss.strength)
        self.bank: TrajectoryBank[Slot] = TrajectoryBank(
            loss.bank_slots, loss.bank_probability, resident=loss.bank_resident, device=accelerator.device
        )
        self.fresh = source.stream((seed, FRESH), loss.style_crop_px, lambda rng: self.start)
        networks = [LiteFeatures(name, STROKE_MAPS) for name in loss.style_networks]
        self.networks = [network.to(accelerator.device) for network in networks]

    def __call__(self, rng: np.random.Generator) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each term; the trajectories move on."""
        settings, device = self.settings, self.accelerator.device
        slots = self.bank.draw(settings.style_batch, rng, self.fresh)
        x_0, x_t, structure = (stack(slots, name, device) for name in ("x_0", "x_t", "structure"))
        side = min(slot.target.shape[-1] for slot in slots)
        targets = torch.stack([slot.target[:, :side, :side].to(device) for slot in slots])
        index = torch.tensor([slot.index for slot in slots], device=device)
        strides = rng.integers(math.ceil(self.start / 8), math.ceil(self.start / 2), endpoint=True, size=len(slots))
        after = (index - torch.from_numpy(strides).to(device)).clamp(min=0)
        t, s = torch.as_tensor(grid_time(index)), torch.as_tensor(grid_time(after))
        with self.accelerator.autocast():
            code = read_style(self.model.style, targets, CROPS_PER_SIDE)
            clean = self.model(x_t, t, structure, code)
        with torch.no_grad():
            x_s = jump(self.schedule, x_t, clean.clamp(-X0_LIMIT, X0_LIMIT), t, s)
        self.bank.put([slot.moved(x, i) for slot, x, i in zip(slots, x_s, after.tolist(), strict=True)])
        images, content = decode(clean), decode(x_0)
        distances = self._distances(images, content, targets, rng)
        wanted = wanted_detail(content, by_rank(detail(targets)))
        return {
            "style": (settings.style, distances.diagonal().mean()),
            "contrastive": (settings.contrastive, contrastive_loss(distances)),
            "structure": (settings.structure, structure_loss(images, content)),
            "low_frequency": (settings.low_frequency, low_frequency_loss(images, content)),
            "detail": (settings.detail, detail_loss(images, wanted)),
            "roughness": (settings.roughness, roughness(images)),
        }

    def _distances(self, images: Tensor, content: Tensor, targets: Tensor, rng: np.random.Generator) -> Tensor:
        """Gram distances of each picture to each reference of the batch, area by area, [N, N]."""
        where, there = areas(content), areas(targets, LEAST_CALM)
        # the features are strided: off their lattice by chance, or the network learns a grid that only they see
        top, left = (int(rng.integers(STRIDE_PX)) for _ in range(2))
        border = (left, STRIDE_PX - left, top, STRIDE_PX - top)
        images, where = (F.pad(x, border, mode="reflect") for x in (images, where))
        if rng.random() < self.settings.stroke_share:
            images, targets = stroke_picture(images), stroke_picture(targets)
        # one network a step: what fools one only is corrected by the next
        network = self.networks[int(rng.integers(len(self.networks)))]
        with self.accelerator.autocast():
            with torch.no_grad():
                wanted = area_grams(network(targets), there)
            painted = area_grams(network(images), where)
        distances = area_distances(painted, where, wanted)
        # relative to a nearly black reference anything is far: beyond 1 in logarithms, or one such pair leads the step
        return torch.where(distances < 1, distances, 1 + distances.clamp(min=1).log())
