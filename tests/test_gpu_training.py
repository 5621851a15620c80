"""Training on a card: students of nano and of the hub, all of their losses; saved, resumed, and seen on a sheet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_models
import torch
from accelerate.state import AcceleratorState
from cards import CARD, ON_A_CARD, judges, scene

from stdvid.distill.build import build_student, build_teacher
from stdvid.distill.checkpoint import CHECKPOINT, load_checkpoint
from stdvid.distill.settings import DataSettings, OptimSettings, StudentLoss, StudentSettings, TeacherSettings
from stdvid.distill.student import StudentTask
from stdvid.distill.trainer import Run

__all__ = ["judges"]

pytestmark = ON_A_CARD

ARCHITECTURE = {"channels": [16, 16, 16], "layers": 1, "heads": 2, "token_dim": 16, "vector_dim": 16}

OPTIM = OptimSettings(batch=2, warmup_steps=1)
"""In the precision that the card is fast in."""


@pytest.fixture(autouse=True)
def _no_device_of_others() -> Iterator[None]:
    """Accelerate keeps the device of the first run of a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SDXL as a preset, and pictures with captions."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_models.build("sdxl", folder / "sdxl")
    tiny_models.ip_adapter("sdxl", folder / "sdxl-ip")
    (folder / "sdxl.toml").write_text(
        '[model]\nbase = "./sdxl"\nip_adapter = { path = "./sdxl-ip", weight_name = "ip.safetensors" }\n'
        'offload = "model"\nprecision = "fp16"\n'  # for painting alone
        '[sampling]\nnegative_prompt = "a bad thing"\n'
    )
    (folder / "pictures").mkdir()
    for number in range(8):
        path = folder / "pictures" / f"{number}.png"
        cv2.imwrite(str(path), scene(number, 96, 80))
        path.with_suffix(".txt").write_text(f"the thing in ink {number}\n")
    return folder


def data_of(tiny: Path, crop_px: int) -> DataSettings:
    folders = (str(tiny / "pictures"),)
    return DataSettings(styles=folders, photos=folders, crop_px=crop_px, short_side_px=80, skip_pages=False)


def go(run: Run, steps: int) -> list[dict[str, float]]:
    """So many steps, as the loop takes them; what they are made of is finite."""
    run.task.model.train()
    taken = [run.train_step() for _ in range(steps)]
    print(taken)
    assert np.isfinite([value for parts in taken for value in parts.values()]).all()
    assert {parameter.device.type for parameter in run.task.model.parameters()} == {CARD.type}
    return taken


def resident(run: Run) -> int:
    """Slots of the bank that are on the card."""
    assert isinstance(run.task, StudentTask)
    return sum(slot.x_t.device.type == CARD.type for slot in run.task.consistency.bank.slots)


def assert_kept(run: Run, again: Run) -> None:
    """`again` goes on with what `run` had, wherever the tensors are."""
    assert again.step == run.step
    for name, value in run.task.model.state_dict().items():
        assert torch.equal(again.task.model.state_dict()[name], value), name
    tensors, _ = load_checkpoint(run.folder / CHECKPOINT)
    again.save()
    for name, value in load_checkpoint(run.folder / CHECKPOINT)[0].items():
        assert torch.equal(value, tensors[name]), name


@pytest.mark.parametrize("lora_rank", [0, 2], ids=["whole", "lora"])
def test_a_student_of_nano_with_all_losses(tiny: Path, tmp_path: Path, judges: None, lora_rank: int) -> None:
    data = data_of(tiny, 32)
    teacher = build_teacher(TeacherSettings(data=data, optim=OPTIM, architecture=dict(ARCHITECTURE)), tmp_path, "cuda")
    go(teacher, 2)
    teacher.save()
    loss = StudentLoss(
        bank_slots=6, bank_resident=2, adversarial=0.7, mismatch=0.5, style=1.0, style_batch=2, style_crop_px=64
    )
    settings = StudentSettings(teacher=str(tmp_path), lora_rank=lora_rank, data=data, optim=OPTIM, loss=loss)
    run = build_student(settings, tmp_path / "student", "cuda")
    assert {"distillation", "adversarial", "discriminator", "style", "contrastive"} <= go(run, 3)[-1].keys()
    assert 0 < resident(run) <= 2
    run.save()
    run.write_sheet()
    assert cv2.imread(str(tmp_path / "student" / "samples" / "step_000003.png")).std() > 1
    again = build_student(settings, tmp_path / "student", "cuda")
    assert_kept(run, again)
    go(again, 1)


@pytest.mark.parametrize("loss", [{}, {"adversarial": 0.5, "bank_resident": 2}], ids=["plain", "adversarial"])
def test_a_student_of_the_hub(tiny: Path, tmp_path: Path, loss: Any, request: pytest.FixtureRequest) -> None:
    if loss:
        request.getfixturevalue("judges")
    short = StudentLoss(strength=0.75, bank_slots=4, bank_stagger=False, guidance_min=5.0, guidance_max=9.0)
    settings = StudentSettings(
        teacher=str(tiny / "sdxl.toml"),
        lora_rank=4,
        gradient_checkpointing=True,
        data=data_of(tiny, 64),
        optim=OPTIM,
        loss=dataclasses.replace(short, **loss),
    )
    run = build_student(settings, tmp_path / "run", "cuda")
    before = {name: value.clone() for name, value in run.task.model.state_dict().items()}
    go(run, 2)
    assert any(not torch.equal(value, before[name]) for name, value in run.task.model.state_dict().items())
    assert resident(run) <= loss.get("bank_resident", 0)
    run.save()
    run.write_sheet()
    again = build_student(settings, tmp_path / "run", "cuda")
    assert_kept(run, again)
    go(again, 1)
