"""The discriminator and the asymmetric adversarial loss."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from stdvid.diffusion.schedule import CLEAN, cosine
from stdvid.distill.adversarial import AdversarialTerm
from stdvid.distill.build import build_student
from stdvid.distill.consistency import Jump
from stdvid.distill.discriminator import LocalBatchNorm, augment, discriminator_loss, gradient_penalty
from stdvid.distill.nano_players import NanoPlayers
from stdvid.distill.settings import StudentLoss, StudentSettings
from stdvid.distill.slots import Slot
from stdvid.distill.trainer import train
from stdvid.models.nano import Nano
from stdvid.models.patches import encode

SIDE = 64


def make_term(**settings: Any) -> AdversarialTerm:
    loss = StudentLoss(adversarial=1.0, **settings)
    accelerator = Accelerator(cpu=True)
    tiny = Nano([16, 16, 32], layers=1, heads=2, token_dim=16, vector_dim=8)
    return AdversarialTerm(NanoPlayers(tiny, tiny, accelerator), cosine(), 8, loss, 0, accelerator)


def noise(n: int, seed: int, side: int = SIDE) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def make_jump(fake: Tensor, real: Tensor, s: int) -> Jump:
    latents = encode(fake)
    slots = [
        Slot(x[0], x[0], x[0], picture, picture, 1.0, 30) for x, picture in zip(latents[:, None], real, strict=True)
    ]
    return Jump(slots, torch.full((len(fake),), s), latents, latents, latents, torch.ones(len(fake), 8))


@pytest.mark.parametrize("mode", ["x0", "xs-xs", "xs-x0", "xs-xr", "xs-xR"])
def test_the_data_is_at_the_level_that_the_mode_says(mode: str) -> None:
    term, rng = make_term(adversarial_mode=mode), np.random.default_rng(0)
    for s in (CLEAN, 19, 299, 579):
        levels = {term._level(s, rng) for _ in range(300)}
        if mode in ("x0", "xs-x0"):
            assert levels == {CLEAN}
        elif mode == "xs-xs":
            assert levels == {s}
        elif mode == "xs-xr":
            assert max(levels) < s or levels == {CLEAN}
            assert min(levels) >= CLEAN
        else:
            assert s < min(levels) <= max(levels) <= 599


@pytest.mark.parametrize("kind", ["hinge", "wgan"])
def test_it_learns_to_tell_textures_apart_and_sends_a_gradient(kind: str) -> None:
    term, rng = (
        make_term(adversarial_mode="xs-x0", adversarial_loss=kind, discriminator_lr=5e-3),
        np.random.default_rng(0),
    )
    losses = []
    for step in range(12):
        fine = noise(4, step)
        smooth = torch.nn.functional.interpolate(noise(4, step + 100, 8), SIDE, mode="bilinear")
        _, logged = term(make_jump(smooth, fine, 299), rng)
        losses.append(logged["discriminator"])
    assert np.mean(losses[-3:]) < np.mean(losses[:2]) - 0.08
    jumped = make_jump(smooth, fine, 299)
    prediction = jumped.prediction.clone().requires_grad_()
    value, _ = term(dataclasses.replace(jumped, prediction=prediction), rng)
    value.backward()
    assert prediction.grad is not None
    assert float(prediction.grad.abs().sum()) > 0
    assert all(p.grad is None or not p.requires_grad for p in term.discriminator.parameters())


def own_minus_other(mismatch: float) -> float:
    """How much better a discriminator likes pictures under their own style vector, after some training."""
    term = make_term(adversarial_mode="xs-x0", mismatch=mismatch, discriminator_lr=5e-3)
    rng, vectors = np.random.default_rng(0), torch.eye(8)[[0, 1, 0, 1]] * 3

    def pictures(seed: int) -> Tensor:
        smooth = torch.nn.functional.interpolate(noise(2, seed + 50, 8), SIDE, mode="bilinear")
        return torch.stack([p for pair in zip(noise(2, seed), smooth, strict=True) for p in pair])

    for step in range(12):
        jumped = make_jump(torch.zeros(4, 3, SIDE, SIDE), pictures(step), 299)
        term(dataclasses.replace(jumped, vector=vectors), rng)
    maps = term.discriminator.features(pictures(99))
    own, other = (float(term.discriminator(maps, v).detach().mean()) for v in (vectors, vectors.roll(1, 0)))
    return own - other


def test_mismatched_styles_teach_the_discriminator_to_mind_the_style() -> None:
    assert own_minus_other(1.0) > own_minus_other(0.0) + 0.3


def test_small_reference_pictures_are_enlarged() -> None:
    jumped = make_jump(noise(2, 0), noise(2, 1, 32), 299)
    assert make_term()._real(jumped, np.random.default_rng(0), SIDE).shape == (2, 3, SIDE, SIDE)


def test_augmentation_moves_and_hides_but_keeps_colours() -> None:
    images = torch.full((3, 3, 40, 40), 0.5, requires_grad=True)
    seen = augment(images, torch.Generator().manual_seed(0))
    assert seen.shape == images.shape
    assert set(seen.unique().tolist()) == {0.0, 0.5}
    assert 0.4 < float((seen == 0.5).float().mean()) < 1
    seen.sum().backward()
    assert images.grad is not None
    assert torch.equal(seen, augment(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(seen, augment(images, torch.Generator().manual_seed(1)))


def test_losses_by_hand() -> None:
    real, fake = torch.tensor([[0.5, 2.0]]), torch.tensor([[-2.0, 0.5]])
    assert float(discriminator_loss(real, fake, "hinge")) == pytest.approx(0.25 + 0.75)
    assert float(discriminator_loss(real, fake, "wgan")) == pytest.approx(-0.75 - 1.25)
    maps = [torch.ones(2, 1, 2, 2, requires_grad=True)]
    assert float(gradient_penalty(3 * maps[0].flatten(1), maps).detach()) == pytest.approx(4 * 9)


def test_local_batch_norm_normalises_groups_of_eight() -> None:
    x = torch.cat([noise(8, 0, 4), 5 + 3 * noise(8, 1, 4)])
    out = LocalBatchNorm(3)(x)
    for group in (out[:8], out[8:]):
        torch.testing.assert_close(group.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(group.std((0, 2, 3), unbiased=False), torch.ones(3), atol=1e-3, rtol=0)


def test_a_student_trains_with_it(student_settings: StudentSettings, teacher_run: Path, tmp_path: Path) -> None:
    loss = dataclasses.replace(student_settings.loss, adversarial=0.5, distillation=1.0)
    settings = dataclasses.replace(student_settings, teacher=str(teacher_run), loss=loss)
    run = build_student(settings, tmp_path / "s", "cpu")
    events = list(train(run, max_steps=3, max_seconds=600, stop=lambda: False))
    assert all({"adversarial", "discriminator", "distillation"} <= e.parts.keys() for e in events)
    assert all(np.isfinite(v) for e in events for v in e.parts.values())
