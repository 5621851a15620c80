"""A tiny training set and settings that run in seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from stdvid.distill.build import build_teacher
from stdvid.distill.data import is_held_out
from stdvid.distill.settings import DataSettings, OptimSettings, StudentLoss, StudentSettings, TeacherSettings
from stdvid.distill.trainer import train

TINY = {"channels": [16, 16, 16], "layers": 1, "heads": 2, "token_dim": 16, "vector_dim": 16}


def write_pictures(folder: Path, prefix: str, train: int = 4, held_out: int = 2) -> Path:
    """Coloured noise at several scales, as many on each side of the hold-out as asked for."""
    folder.mkdir()
    wanted = {False: train, True: held_out}
    rng = np.random.default_rng(7)
    for number in range(1000):
        name = f"{prefix}{number}.png"
        if wanted[is_held_out(name)] == 0:
            continue
        wanted[is_held_out(name)] -= 1
        coarse = rng.integers(0, 256, (8, 10, 3), np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(coarse, (100, 80), interpolation=cv2.INTER_CUBIC))
        if not any(wanted.values()):
            return folder
    raise AssertionError("no names left")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSettings:
    """Two folders of pictures, 32 px crops."""
    root = tmp_path_factory.mktemp("pictures")
    styles, photos = write_pictures(root / "styles", "s"), write_pictures(root / "photos", "p")
    return DataSettings(styles=(str(styles),), photos=(str(photos),), crop_px=32, short_side_px=80)


@pytest.fixture(scope="session")
def optim() -> OptimSettings:
    """Small batches, everything logged, no sheets."""
    return OptimSettings(batch=2, warmup_steps=2, log_every=1, sheet_every=1000, precision="no")


@pytest.fixture(scope="session")
def teacher_settings(data: DataSettings, optim: OptimSettings) -> TeacherSettings:
    return TeacherSettings(data=data, optim=optim, architecture=dict(TINY))


@pytest.fixture(scope="session")
def teacher_run(teacher_settings: TeacherSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a teacher of two steps; nobody writes to it."""
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    for _ in train(build_teacher(teacher_settings, folder, "cpu"), max_steps=2, max_seconds=600, stop=lambda: False):
        pass
    return folder


@pytest.fixture
def student_settings(data: DataSettings, optim: OptimSettings) -> StudentSettings:
    return StudentSettings(data=data, optim=optim, loss=StudentLoss(bank_slots=6))
