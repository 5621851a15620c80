"""The methods: which states they train on, and which times they aim at."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stdvid.distill.build import build_student
from stdvid.distill.methods import METHODS
from stdvid.distill.settings import MethodName, StudentLoss, StudentSettings
from stdvid.distill.slots import Slot, SlotSource
from stdvid.distill.student import StudentTask


@given(
    name=st.sampled_from(sorted(METHODS)),
    start=st.integers(8, 50),
    share=st.floats(0, 1),
    rate=st.floats(0.02, 1),
    phases=st.integers(1, 8),
    seed=st.integers(0, 100),
)
def test_every_method_aims_below_its_state(
    name: MethodName, start: int, share: float, rate: float, phases: int, seed: int
) -> None:
    i = 1 + round(share * (start - 1))
    loss = StudentLoss(method=name, window_rate=rate, phases=phases)
    aim = METHODS[name].aim(np.random.default_rng(seed), i, start, loss)
    assert 0 <= aim < i
    if name == "lcm":
        assert aim == 0
    if name == "std":
        assert i - aim <= np.ceil(start * rate)
    if name == "pcm":
        assert aim in {round(start * k / phases) for k in range(phases + 1)}


def aims(name: MethodName, i: int, start: int = 30, **settings: float) -> set[int]:
    loss = dataclasses.replace(StudentLoss(method=name), **settings)
    rng = np.random.default_rng(0)
    return {METHODS[name].aim(rng, i, start, loss) for _ in range(500)}


def test_aims_are_those_of_the_papers() -> None:
    assert aims("std", 20, window_rate=0.5) == set(range(5, 20))
    assert aims("std", 10, window_rate=0.5) == set(range(10))
    assert aims("tcd", 20) == set(range(20))
    assert aims("lcm", 20) == {0}
    assert aims("pcm", 20, phases=3) == {10}
    assert aims("pcm", 10, phases=3) == {0}
    # 19 and 20 of the 8- and 6-step schedules lie below 21; times 1 - U[0, .3]
    assert aims("tdd", 21) == set(range(14, 21))


def student(settings: StudentSettings, teacher: Path, folder: Path, method: MethodName) -> StudentTask:
    loss = dataclasses.replace(settings.loss, method=method)
    run = build_student(dataclasses.replace(settings, teacher=str(teacher), loss=loss), folder, "cpu")
    assert isinstance(run.task, StudentTask)
    return run.task


def test_rivals_train_on_noised_data_and_std_on_its_trajectory(
    student_settings: StudentSettings, teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in METHODS:
        task = student(student_settings, teacher_run, tmp_path / method, method)
        started: list[Slot] = []
        draw = SlotSource.draw
        monkeypatch.setattr(
            SlotSource, "draw", lambda self, *a, draw=draw, seen=started: seen.append(draw(self, *a)) or seen[-1]
        )
        for step in range(6):
            task.loss(step)
        monkeypatch.setattr(SlotSource, "draw", draw)
        indices = {slot.index for slot in started}
        if method == "std":
            assert indices == {30}
            assert task.consistency.bank.slots
        else:
            assert len(indices) > 3
            assert indices <= set(range(1, 31))
            assert not task.consistency.bank.slots


def test_methods_differ_on_the_same_data(student_settings: StudentSettings, teacher_run: Path, tmp_path: Path) -> None:
    rivals: list[MethodName] = ["lcm", "tcd", "pcm", "tdd"]
    losses = {m: float(student(student_settings, teacher_run, tmp_path / m, m).loss(3)[0].detach()) for m in rivals}
    assert all(np.isfinite(value) for value in losses.values())
    assert len({round(value, 9) for value in losses.values()}) > 1


def test_dropped_styles_reach_the_null_code(
    student_settings: StudentSettings, teacher_run: Path, tmp_path: Path
) -> None:
    found = {}
    for method in ("tdd", "tcd"):
        task = student(student_settings, teacher_run, tmp_path / method, method)
        for step in range(8):
            task.loss(step)[0].backward()
        gradient = task.model.style.null_vector.grad
        found[method] = 0.0 if gradient is None else float(gradient.abs().sum())
    assert found["tcd"] == 0
    assert found["tdd"] > 0
    assert isinstance(task.model.style.null_token, torch.Tensor)
