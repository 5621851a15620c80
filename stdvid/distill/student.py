"""The student's task: single-trajectory distillation (arXiv 2412.18945), and style on its clean prediction.

    x_t from the bank, started at x_eta and nowhere else
    x_{t-k} = J_phi(x_t, t -> t-k)                      one guided teacher step
    s ~ U{max(0, i-R), ..., i-1},  R = ceil(i_eta rate)
    L_STD = d(J_theta(x_t, t -> s), sg[J_theta-(x_{t-k}, t-k -> s)]),  x_{t-k} itself as target when s = t-k

A denoiser trained on squared errors averages strokes away. The style term puts them back: the Gram distance of the
student's clean prediction to the reference, at states of the student's own trajectories, which a second bank walks.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from stdvid.diffusion.denoiser import Guided
from stdvid.diffusion.schedule import Schedule, grid_time, start_index
from stdvid.diffusion.solver import jump
from stdvid.distill.bank import Slot, TrajectoryBank, stack
from stdvid.distill.checkpoint import prefixed, under
from stdvid.distill.data import Pool, random_crop, step_rng, torch_generator
from stdvid.distill.losses import (
    contrastive_loss,
    grain_loss,
    low_frequency_loss,
    pseudo_huber,
    stroke_picture,
    structure_loss,
)
from stdvid.distill.settings import OptimSettings, StudentLoss
from stdvid.distill.sheets import Sheet
from stdvid.metrics.features import LiteFeatures
from stdvid.metrics.style import gram_distances
from stdvid.models.nano import Nano, decode, encode
from stdvid.models.palette import Palette, transfer_palette
from stdvid.models.structure import structure_map
from stdvid.models.style_encoder import STYLE_CROP_PX

X0_LIMIT = 1.1
"""Clean predictions are clamped here before the solver, in training as in sampling."""

FEATURE_STRIDE_PX = 16
"""The deepest feature map of the style networks has one position per this many pixels."""


class StudentTask:
    """See the module; a `Task` of the trainer."""

    def __init__(
        self,
        model: Nano,
        teacher: Nano,
        architecture: dict[str, Any],
        schedule: Schedule,
        styles: Pool,
        photos: Pool,
        sheet: Sheet,
        loss: StudentLoss,
        optim: OptimSettings,
        crop_px: int,
        accelerator: Accelerator,
    ) -> None:
        self.model, self.teacher, self.architecture, self.schedule = model, teacher, architecture, schedule
        self.styles, self.photos, self._sheet = styles, photos, sheet
        self.settings, self.optim, self.crop_px, self.accelerator = loss, optim, crop_px, accelerator
        self.target = copy.deepcopy(model).eval().requires_grad_(False)
        self.start = start_index(loss.strength)
        self.window = math.ceil(self.start * loss.window_rate)
        self.bank = TrajectoryBank(loss.bank_slots, loss.bank_probability)
        self.style_bank = TrajectoryBank(loss.bank_slots, loss.bank_probability)
        networks = [LiteFeatures(name) for name in loss.style_networks] if loss.style > 0 else []
        self.networks = [network.to(accelerator.device) for network in networks]

    def fresh(self, rng: np.random.Generator, crop_px: int) -> Slot:
        """Start a trajectory: a photograph in the palette of a reference, noised to exactly t_eta."""
        photo = random_crop(self.photos.draw(rng), crop_px, rng)[None]
        picture = self.styles.draw(rng)
        reference = random_crop(picture, STYLE_CROP_PX, rng, (0.8, 1.6))
        target = random_crop(picture, min(256, *picture.shape[:2]) // 16 * 16, rng, (1.0, 1.3))
        amount = float(rng.choice([1.0, 1.0, 0.7]))
        matched = transfer_palette(photo, Palette.of(photo), Palette.of(target[None]), amount)
        x_0 = encode(matched)
        noise = torch.randn(x_0.shape, generator=torch_generator(rng))
        x_eta = self.schedule.add_noise(x_0, noise, torch.tensor([self._time(self.start)]))
        structure = encode(structure_map(photo, rng.uniform(0.8, 2.0)))
        guidance = float(rng.uniform(self.settings.guidance_min, self.settings.guidance_max))
        return Slot(x_0[0], x_eta[0], structure[0], reference, target, guidance, self.start)

    @staticmethod
    def _time(index: int) -> int:
        return int(grid_time(index))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum of the terms that have a weight."""
        rng = step_rng(self.optim.seed, step)
        total = torch.zeros((), device=self.accelerator.device)
        parts: dict[str, float] = {}
        if self.settings.std > 0:
            std = self.std_loss(rng)
            total = total + self.settings.std * std
            parts["std"] = float(std.detach())
        if self.settings.style > 0:
            terms = self.style_terms(rng)
            for name, weight in (
                ("style", self.settings.style),
                ("contrastive", self.settings.contrastive),
                ("structure", self.settings.structure),
                ("low_frequency", self.settings.low_frequency),
                ("grain", self.settings.grain),
            ):
                total = total + weight * terms[name]
                parts[name] = float(terms[name].detach())
        return total, parts

    def _x0(self, network: Nano, x_t: Tensor, t: Tensor, structure: Tensor, reference: Tensor) -> Tensor:
        with self.accelerator.autocast():
            code = network.style(reference.contiguous(memory_format=torch.channels_last))
            clean: Tensor = network(x_t, t, structure, code)
        return clean

    def std_loss(self, rng: np.random.Generator) -> Tensor:
        """L_STD on slots of the bank; moves them one teacher step on."""
        slots = self.bank.draw(self.optim.batch, rng, lambda: self.fresh(rng, self.crop_px))
        device = self.accelerator.device
        x_t, structure, reference = (stack(slots, name).to(device) for name in ("x_t", "structure", "reference"))
        index = torch.tensor([slot.index for slot in slots], device=device)
        aim = torch.tensor([int(rng.integers(max(0, s.index - self.window), s.index)) for s in slots], device=device)
        t, previous, s = (torch.as_tensor(grid_time(i)) for i in (index, index - 1, aim))
        scale = torch.tensor([slot.guidance for slot in slots], device=device).view(-1, 1, 1, 1)
        with torch.no_grad():
            x_previous = jump(self.schedule, x_t, self._guided_x0(x_t, t, structure, reference, scale), t, previous)
            clean = self._x0(self.target, x_previous, previous.clamp(min=0), structure, reference)
            at_target = (aim == index - 1).view(-1, 1, 1, 1)
            # where s = t-k the jump would divide by its own sigma (0 at the clean image): take the state itself
            safe = torch.where(aim == index - 1, t, previous)
            target = torch.where(
                at_target, x_previous, jump(self.schedule, x_previous, clean.clamp(-X0_LIMIT, X0_LIMIT), safe, s)
            )
        prediction = jump(self.schedule, x_t, self._x0(self.model, x_t, t, structure, reference), t, s)
        moved = [slot.moved(x, slot.index - 1) for slot, x in zip(slots, x_previous.cpu(), strict=True)]
        self.bank.put(moved)
        return pseudo_huber(prediction, target)

    def _guided_x0(self, x_t: Tensor, t: Tensor, structure: Tensor, reference: Tensor, scale: Tensor) -> Tensor:
        with self.accelerator.autocast():
            code = self.teacher.style(reference)
        null = self.teacher.style.null(code)

        def under_code(used: Any) -> Any:
            def call(x: Tensor, time: Tensor) -> Tensor:
                with self.accelerator.autocast():
                    out: Tensor = self.teacher(x, time, structure, used)
                return out.clamp(-X0_LIMIT, X0_LIMIT)

            return call

        return Guided(under_code(code), under_code(null), scale)(x_t, t)

    def style_terms(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """Terms on the clean prediction at states of the student's own trajectories; moves them on."""
        settings, device = self.settings, self.accelerator.device
        slots = self.style_bank.draw(settings.style_batch, rng, lambda: self.fresh(rng, settings.style_crop_px))
        x_0, x_t, structure, reference = (
            stack(slots, name).to(device) for name in ("x_0", "x_t", "structure", "reference")
        )
        index = torch.tensor([slot.index for slot in slots], device=device)
        # strides of runs of 2 to 8 steps, so that the student serves them all
        strides = rng.integers(math.ceil(self.start / 8), math.ceil(self.start / 2), endpoint=True, size=len(slots))
        after = (index - torch.from_numpy(strides).to(device)).clamp(min=0)
        t, s = torch.as_tensor(grid_time(index)), torch.as_tensor(grid_time(after))
        clean = self._x0(self.model, x_t, t, structure, reference)
        with torch.no_grad():
            x_s = jump(self.schedule, x_t, clean.clamp(-X0_LIMIT, X0_LIMIT), t, s).cpu()
        moved = [slot.moved(x, int(i)) for slot, x, i in zip(slots, x_s, after, strict=True)]
        self.style_bank.put(moved)
        images, content = decode(clean), decode(x_0)
        side = min(slot.target.shape[-1] for slot in slots)
        targets = torch.stack([slot.target[:, :side, :side] for slot in slots]).to(device)
        distances = self._style_distances(images, targets, rng)
        return {
            "style": distances.diagonal().mean(),
            "contrastive": contrastive_loss(distances),
            "structure": structure_loss(images, content),
            "low_frequency": low_frequency_loss(images, content),
            "grain": grain_loss(images, content, targets),
        }

    def _style_distances(self, images: Tensor, targets: Tensor, rng: np.random.Generator) -> Tensor:
        """Gram distances of each picture to each reference of the batch, [N, N]."""
        # the features are strided: off their lattice by chance, or the network learns a grid that only they see
        top, left = (int(rng.integers(FEATURE_STRIDE_PX)) for _ in range(2))
        images = F.pad(images, (left, FEATURE_STRIDE_PX - left, top, FEATURE_STRIDE_PX - top), mode="reflect")
        if rng.random() < self.settings.stroke_share:
            images, targets = stroke_picture(images), stroke_picture(targets)
        # one network a step: what fools one only is corrected by the next
        network = self.networks[int(rng.integers(len(self.networks)))]
        with self.accelerator.autocast():
            with torch.no_grad():
                wanted = network(targets)
            painted = network(images)
        return gram_distances(painted, wanted)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the target network toward the student."""
        if self.settings.std > 0:
            pairs = zip(self.target.parameters(), self.model.parameters(), strict=True)
            targets, students = map(list, zip(*pairs, strict=True))
            torch._foreach_lerp_(targets, students, 1 - self.settings.target_decay)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Target network and both banks."""
        bank, bank_meta = self.bank.state()
        style_bank, style_meta = self.style_bank.state()
        tensors = {
            **prefixed("target", self.target.state_dict()),
            **prefixed("bank", bank),
            **prefixed("style_bank", style_bank),
        }
        facts = {
            "architecture": self.architecture,
            "strength": self.settings.strength,
            "start": self._time(self.start),
            "bank": bank_meta,
            "style_bank": style_meta,
        }
        return tensors, facts

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.target.load_state_dict(under("target", tensors))
        self.bank.restore(under("bank", tensors), meta["bank"])
        self.style_bank.restore(under("style_bank", tensors), meta["style_bank"])

    def sheet(self, model: Nano) -> NDArray[np.uint8]:
        """Held-out pairs in 4 steps."""
        return self._sheet.draw(model, self.schedule, steps=4)
