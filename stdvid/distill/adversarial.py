"""The asymmetric adversarial loss (arXiv 2412.18945, section "asymmetric adversarial loss").

    fake:  decode( x_s )                               the student's state at noise level s
    real:  decode( alpha(r) y + sigma(r) eps ),  r < s   data at a lower noise level

The discriminator sees the student a little noisier than the data, so the student is drawn toward cleaner, more
saturated states. Data y are crops of the reference's own picture: what the strokes of the style really look like.

With `mismatch`, real pictures under the style vector of another count as fake too: without that a discriminator may
judge painting as such and ignore the style (matching-aware loss, arXiv 1605.05396, section 4.2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from stdvid.diffusion.schedule import CLEAN, Schedule, grid_time, start_index
from stdvid.distill.checkpoint import optimizer_tensors, prefixed, restore_optimizer, under
from stdvid.distill.consistency import Jump
from stdvid.distill.data import torch_generator
from stdvid.distill.discriminator import Discriminator, augment, discriminator_loss, fake_loss, gradient_penalty
from stdvid.distill.gradients import average_gradients
from stdvid.distill.players import Players
from stdvid.distill.settings import StudentLoss


class AdversarialTerm:
    """See the module; holds the discriminator and its optimizer."""

    def __init__(
        self,
        players: Players[Any],
        schedule: Schedule,
        vector_dim: int,
        loss: StudentLoss,
        seed: int,
        accelerator: Accelerator,
    ) -> None:
        self.players, start = players, start_index(loss.strength)
        self.schedule, self.start, self.settings, self.accelerator = schedule, start, loss, accelerator
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.discriminator = Discriminator(vector_dim, loss.discriminator_network).to(accelerator.device)
        self.optimizer = torch.optim.AdamW(self.discriminator.parameters(), lr=loss.discriminator_lr, betas=(0.0, 0.99))

    def __call__(self, jumped: Jump[Any], rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """One step of the discriminator, then the student's loss -D(fake); the discriminator's loss for the log."""
        fake = self.players.decode(jumped.clean if self.settings.adversarial_mode == "x0" else jumped.prediction)
        real = self._real(jumped, rng, fake.shape[-1])
        condition, generator = jumped.vector.detach().float(), torch_generator(rng)
        for parameter in self.discriminator.parameters():
            parameter.requires_grad_(True)
        judged = self._discriminate(fake.detach(), real, condition, generator)
        for parameter in self.discriminator.parameters():
            parameter.requires_grad_(False)
        with self.accelerator.autocast():
            logits = self.discriminator(self.discriminator.features(augment(fake, generator)), _for(fake, condition))
        return -logits.mean(), {"discriminator": judged}

    def _discriminate(self, fake: Tensor, real: Tensor, condition: Tensor, generator: torch.Generator) -> float:
        with torch.no_grad(), self.accelerator.autocast():
            real_maps, fake_maps = (self.discriminator.features(augment(x, generator)) for x in (real, fake))
        real_maps = [m.requires_grad_() for m in real_maps]
        with self.accelerator.autocast():
            logits = self.discriminator(real_maps, condition)
            fake_logits = self.discriminator(fake_maps, _for(fake, condition))
        loss = discriminator_loss(logits, fake_logits, self.settings.adversarial_loss)
        if self.settings.mismatch > 0:
            with self.accelerator.autocast():
                mismatched = self.discriminator(real_maps, condition.roll(1, 0))
            loss = loss + self.settings.mismatch * fake_loss(mismatched, self.settings.adversarial_loss)
        total = loss + self.settings.r1 * gradient_penalty(logits, real_maps)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        average_gradients(self.discriminator.parameters(), self.accelerator)
        self.optimizer.step()
        return float(loss.detach())

    def _real(self, jumped: Jump[Any], rng: np.random.Generator, side: int) -> Tensor:
        """Data at the noise level that the mode says, [N, 3, side, side]."""
        device = self.accelerator.device
        y = self.players.encode(torch.stack([_crop(slot.target.to(device), side, rng) for slot in jumped.slots]))
        r = torch.tensor([self._level(s, rng) for s in jumped.s.tolist()], device=y.device)
        noise = torch.randn(y.shape, generator=torch_generator(rng)).to(y)
        return self.players.decode(self.schedule.add_noise(y, noise, r))

    def _level(self, s: int, rng: np.random.Generator) -> int:
        mode = self.settings.adversarial_mode
        if mode in ("x0", "xs-x0"):
            return CLEAN
        if mode == "xs-xs":
            return s
        if mode == "xs-xr":
            return int(rng.integers(CLEAN, max(s, CLEAN + 1)))
        return int(rng.integers(s + 1, int(grid_time(self.start)) + 1))

    def state(self) -> dict[str, Tensor]:
        """Heads and moments."""
        moments = optimizer_tensors(self.optimizer, self.discriminator)
        return {**prefixed("heads", self.discriminator.state_dict()), **prefixed("moments", moments)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self.discriminator.load_state_dict(under("heads", tensors))
        restore_optimizer(self.optimizer, self.discriminator, under("moments", tensors))


def _for(pictures: Tensor, condition: Tensor) -> Tensor:
    """The condition [N, D] of each of M pictures, several of which may belong to one slot."""
    return condition.repeat_interleave(len(pictures) // len(condition), 0)


def _crop(picture: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """A square of `side` px out of [3, H, W], at random; smaller pictures are enlarged."""
    short = min(picture.shape[-2:])
    if short < side:
        picture = F.interpolate(picture[None], scale_factor=side / short, mode="bilinear")[0]
    top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[-2:])
    return picture[:, top : top + side, left : left + side]


def adversarial_term(
    players: Players[Any], schedule: Schedule, vector_dim: int, loss: StudentLoss, seed: int, accelerator: Accelerator
) -> AdversarialTerm | None:
    """The adversarial loss, where it has a weight."""
    return AdversarialTerm(players, schedule, vector_dim, loss, seed, accelerator) if loss.adversarial > 0 else None
