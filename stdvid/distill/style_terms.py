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
from stdvid.distill.consistency import X0_LIMIT
from stdvid.distill.losses import contrastive_loss
from stdvid.distill.settings import StudentLoss
from stdvid.distill.slots import SlotSource
from stdvid.metrics.features import STRIDE_PX, LiteFeatures
from stdvid.metrics.style import gram_distances
from stdvid.models.nano import Nano, decode
from stdvid.picture_losses import grain_loss, low_frequency_loss, stroke_picture, structure_loss


class StyleTerms:
    """See the module; holds the feature networks and the bank of the student's trajectories."""

    def __init__(self, schedule: Schedule, source: SlotSource, loss: StudentLoss, accelerator: Accelerator) -> None:
        self.schedule, self.source, self.settings, self.accelerator = schedule, source, loss, accelerator
        self.start = start_index(loss.strength)
        self.bank = TrajectoryBank(loss.bank_slots, loss.bank_probability)
        networks = [LiteFeatures(name) for name in loss.style_networks] if loss.style > 0 else []
        self.networks = [network.to(accelerator.device) for network in networks]

    def __call__(self, model: Nano, rng: np.random.Generator) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each term; the trajectories move on."""
        settings, device = self.settings, self.accelerator.device
        slots = self.bank.draw(
            settings.style_batch, rng, lambda: self.source.draw(rng, settings.style_crop_px, self.start)
        )
        x_0, x_t, structure, reference = (
            stack(slots, name, device) for name in ("x_0", "x_t", "structure", "reference")
        )
        index = torch.tensor([slot.index for slot in slots], device=device)
        strides = rng.integers(math.ceil(self.start / 8), math.ceil(self.start / 2), endpoint=True, size=len(slots))
        after = (index - torch.from_numpy(strides).to(device)).clamp(min=0)
        t, s = torch.as_tensor(grid_time(index)), torch.as_tensor(grid_time(after))
        with self.accelerator.autocast():
            code = model.style(reference.contiguous(memory_format=torch.channels_last))
            clean = model(x_t, t, structure, code)
        with torch.no_grad():
            x_s = jump(self.schedule, x_t, clean.clamp(-X0_LIMIT, X0_LIMIT), t, s)
        self.bank.put([slot.moved(x, int(i)) for slot, x, i in zip(slots, x_s, after, strict=True)])
        images, content = decode(clean), decode(x_0)
        side = min(slot.target.shape[-1] for slot in slots)
        targets = torch.stack([slot.target[:, :side, :side] for slot in slots]).to(device)
        distances = self._distances(images, targets, rng)
        return {
            "style": (settings.style, distances.diagonal().mean()),
            "contrastive": (settings.contrastive, contrastive_loss(distances)),
            "structure": (settings.structure, structure_loss(images, content)),
            "low_frequency": (settings.low_frequency, low_frequency_loss(images, content)),
            "grain": (settings.grain, grain_loss(images, content, targets)),
        }

    def _distances(self, images: Tensor, targets: Tensor, rng: np.random.Generator) -> Tensor:
        """Gram distances of each picture to each reference of the batch, [N, N]."""
        # the features are strided: off their lattice by chance, or the network learns a grid that only they see
        top, left = (int(rng.integers(STRIDE_PX)) for _ in range(2))
        images = F.pad(images, (left, STRIDE_PX - left, top, STRIDE_PX - top), mode="reflect")
        if rng.random() < self.settings.stroke_share:
            images, targets = stroke_picture(images), stroke_picture(targets)
        # one network a step: what fools one only is corrected by the next
        network = self.networks[int(rng.integers(len(self.networks)))]
        with self.accelerator.autocast():
            with torch.no_grad():
                wanted = network(targets)
            painted = network(images)
        distances = gram_distances(painted, wanted)
        # relative to a nearly black reference anything is far: beyond 1 in logarithms, or one such pair leads the step
        return torch.where(distances < 1, distances, 1 + distances.clamp(min=1).log())
