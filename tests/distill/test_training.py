"""Runs: they learn, they resume bit for bit, and what they leave behind can be used."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stdvid.diffusion.denoiser import Denoiser, Guided
from stdvid.diffusion.sampler import sample, sample_last
from stdvid.diffusion.schedule import cosine
from stdvid.diffusion.solver import jump
from stdvid.distill.build import build_student, build_teacher, export_bundle, load_network, load_run
from stdvid.distill.checkpoint import CHECKPOINT, load_checkpoint
from stdvid.distill.settings import StudentLoss, StudentSettings, TeacherSettings
from stdvid.distill.slots import SlotSource
from stdvid.distill.student import StudentTask
from stdvid.distill.trainer import Run, learning_rate, train
from stdvid.errors import InputError, ModelError, UsageError
from stdvid.models.style_encoder import StyleCode


def go(run: Run, steps: int) -> Run:
    for _ in train(run, max_steps=steps, max_seconds=600, stop=lambda: False):
        pass
    return run


def equal_checkpoints(a: Path, b: Path) -> None:
    (ours, our_meta), (theirs, their_meta) = load_checkpoint(a / CHECKPOINT), load_checkpoint(b / CHECKPOINT)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    for meta in (our_meta, their_meta):
        meta.pop("seconds")
    assert our_meta == their_meta


def test_teacher_learns(teacher_settings: TeacherSettings, tmp_path: Path) -> None:
    optim = dataclasses.replace(teacher_settings.optim, lr=3e-3, log_every=10)
    run = build_teacher(dataclasses.replace(teacher_settings, optim=optim), tmp_path / "run", "cpu")
    errors = [e.parts["x0_error"] for e in train(run, max_steps=60, max_seconds=600, stop=lambda: False)]
    assert len(errors) == 6
    assert errors[-1] < 0.8 * errors[0]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [10, 20, 30, 40, 50, 60]
    assert (tmp_path / "run" / "config.toml").exists()
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_teacher_resumes_bit_for_bit(teacher_settings: TeacherSettings, tmp_path: Path) -> None:
    go(build_teacher(teacher_settings, tmp_path / "whole", "cpu"), 4)
    go(build_teacher(teacher_settings, tmp_path / "parts", "cpu"), 2)
    resumed = build_teacher(teacher_settings, tmp_path / "parts", "cpu")
    assert resumed.step == 2
    go(resumed, 4)
    equal_checkpoints(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"bank_refresh": "drop", "bank_condition": False},
        {"states": "rollout"},
        {"begin": "anywhere"},
        {"style": 1.0, "style_batch": 2, "style_crop_px": 64},
        {"method": "tdd"},
        {"adversarial": 0.7},
    ],
    ids=["std", "reference bank", "rollout", "anywhere", "std+style", "tdd", "std+adversarial"],
)
def test_student_resumes_bit_for_bit_with_its_banks(
    student_settings: StudentSettings, teacher_run: Path, tmp_path: Path, terms: dict[str, float]
) -> None:
    loss = dataclasses.replace(student_settings.loss, **terms)  # type: ignore[arg-type]
    settings = dataclasses.replace(student_settings, teacher=str(teacher_run), loss=loss)
    go(build_student(settings, tmp_path / "whole", "cpu"), 4)
    go(build_student(settings, tmp_path / "parts", "cpu"), 2)
    go(build_student(settings, tmp_path / "parts", "cpu"), 4)
    equal_checkpoints(tmp_path / "whole", tmp_path / "parts")


def test_pictures_cut_by_other_processes_are_the_same(teacher_settings: TeacherSettings, tmp_path: Path) -> None:
    helped = dataclasses.replace(teacher_settings.data, workers=2)
    go(build_teacher(teacher_settings, tmp_path / "alone", "cpu"), 3)
    go(build_teacher(dataclasses.replace(teacher_settings, data=helped), tmp_path / "helped", "cpu"), 3)
    equal_checkpoints(tmp_path / "alone", tmp_path / "helped")


@pytest.mark.slow
def test_pictures_for_a_student_cut_by_other_processes_are_the_same(
    student_settings: StudentSettings, teacher_run: Path, tmp_path: Path
) -> None:
    loss = dataclasses.replace(student_settings.loss, style=1.0, style_batch=2, style_crop_px=64)
    student = dataclasses.replace(student_settings, teacher=str(teacher_run), loss=loss)
    go(build_student(student, tmp_path / "student", "cpu"), 4)
    parts = dataclasses.replace(student, data=dataclasses.replace(student.data, workers=2))
    go(build_student(parts, tmp_path / "parts", "cpu"), 2)
    go(build_student(parts, tmp_path / "parts", "cpu"), 4)
    equal_checkpoints(tmp_path / "student", tmp_path / "parts")


def test_a_lora_student_resumes_bit_for_bit(
    student_settings: StudentSettings, teacher_run: Path, tmp_path: Path
) -> None:
    settings = dataclasses.replace(student_settings, teacher=str(teacher_run), lora_rank=2)
    go(build_student(settings, tmp_path / "whole", "cpu"), 4)
    go(build_student(settings, tmp_path / "parts", "cpu"), 2)
    go(build_student(settings, tmp_path / "parts", "cpu"), 4)
    equal_checkpoints(tmp_path / "whole", tmp_path / "parts")


def test_a_teacher_goes_on_from_another(teacher_settings: TeacherSettings, teacher_run: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(teacher_settings, start=str(teacher_run), architecture={})
    run = build_teacher(settings, tmp_path / "on", "cpu")
    assert run.step == 0
    for ours, theirs in zip(run.task.model.parameters(), load_run(teacher_run)[0].model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(UsageError, match="start and architecture"):
        build_teacher(dataclasses.replace(teacher_settings, start=str(teacher_run)), tmp_path / "both", "cpu")


def test_staggered_trajectories_are_those_of_the_teacher(
    student_settings: StudentSettings, teacher_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = dataclasses.replace(student_settings.loss, bank_slots=12)
    settings = dataclasses.replace(student_settings, teacher=str(teacher_run), loss=loss)
    run = build_student(settings, tmp_path / "s", "cpu")
    assert isinstance(run.task, StudentTask)
    consistency, begun = run.task.consistency, []
    draw = SlotSource.draw
    monkeypatch.setattr(SlotSource, "draw", lambda *a: begun.append(draw(*a)) or begun[-1])
    run.train_step()
    assert len({slot.index for slot in consistency.bank.slots}) > 3  # all times are met from the first step on
    slot = min(consistency.bank.slots, key=lambda stored: stored.index)
    (first,) = [fresh for fresh in begun if fresh.x_0 is slot.x_0]
    assert first.index == 30
    teacher = consistency.players.phi
    code = teacher.style(first.reference[None])
    null = teacher.style.null(code)

    def denoise(used: StyleCode) -> Denoiser:
        return lambda x, t: teacher(x, t, first.structure[None], used).clamp(-1.1, 1.1)

    guided = Guided(denoise(code), denoise(null), first.guidance)
    times = [20 * i - 1 for i in range(30, slot.index - 1, -1)]
    walked = sample_last(sample(guided, first.x_t[None], times, cosine()))[0]
    torch.testing.assert_close(walked, slot.x_t, atol=1e-4, rtol=0)


def test_student_walks_trajectories_of_its_teacher_from_exactly_the_start(
    student_settings: StudentSettings, teacher_run: Path, tmp_path: Path
) -> None:
    loss = dataclasses.replace(student_settings.loss, bank_stagger=False)
    settings = dataclasses.replace(student_settings, teacher=str(teacher_run), loss=loss)
    run = build_student(settings, tmp_path / "student", "cpu")
    task = run.task
    assert isinstance(task, StudentTask)
    consistency = task.consistency
    assert consistency.start == 30
    run.train_step()
    before = list(consistency.bank.slots)
    assert {slot.index for slot in before} == {29}
    run.train_step()
    for slot in consistency.bank.slots:
        (old,) = [s for s in before if s.x_0 is slot.x_0] or [slot]
        if old is slot:
            continue
        # one guided DDIM step of the teacher under the condition that the slot remembers
        assert (slot.index, slot.guidance) == (28, old.guidance)
        code = consistency.players.phi.style(old.reference[None])
        t, s = torch.tensor([579]), torch.tensor([559])
        with torch.no_grad():
            with_style, without = (
                consistency.players.phi(old.x_t[None], t, old.structure[None], c).clamp(-1.1, 1.1)
                for c in (code, consistency.players.phi.style.null(code))
            )
        x_0 = without + old.guidance * (with_style - without)
        torch.testing.assert_close(jump(cosine(), old.x_t[None], x_0, t, s)[0], slot.x_t, atol=1e-4, rtol=0)
        break
    else:
        pytest.fail("no stored trajectory was moved on")


def test_untrained_student_agrees_with_its_unguided_teacher(
    student_settings: StudentSettings, teacher_run: Path, tmp_path: Path
) -> None:
    loss = dataclasses.replace(student_settings.loss, guidance_min=1.0, guidance_max=1.0, window_rate=0.01)
    settings = dataclasses.replace(student_settings, teacher=str(teacher_run), loss=loss)
    run = build_student(settings, tmp_path / "student", "cpu")
    # R = 1: the target is the teacher's own state, and the student is its copy
    assert float(run.task.loss(0)[0].detach()) < 1e-4
    guided = dataclasses.replace(settings, loss=dataclasses.replace(loss, guidance_min=9.0, guidance_max=9.0))
    other = build_student(guided, tmp_path / "guided", "cpu")
    assert float(other.task.loss(0)[0].detach()) > 1e-5


def test_exported_runs_are_bundles(student_settings: StudentSettings, teacher_run: Path, tmp_path: Path) -> None:
    go(build_student(dataclasses.replace(student_settings, teacher=str(teacher_run)), tmp_path / "s", "cpu"), 1)
    bundle = export_bundle([tmp_path / "s"], tmp_path / "bundle", "mine", "# Card\n")
    assert [(n.strength, n.start) for n in bundle.networks] == [(0.6, 599)]
    teacher = export_bundle([teacher_run], tmp_path / "bundle-teacher", "mine-teacher", "# Card\n")
    assert [(n.strength, n.start) for n in teacher.networks] == [(None, 799)]
    loaded = bundle.load(bundle.networks[0], torch.device("cpu")).model
    trained, facts = load_run(tmp_path / "s")
    assert facts["step"] == 1
    torch.testing.assert_close(
        loaded.unet.conv_in.weight, trained.model.unet.conv_in.weight.half().float(), atol=0, rtol=0, check_stride=False
    )


def test_a_lora_student_is_a_small_file_beside_its_base(
    student_settings: StudentSettings, teacher_run: Path, tmp_path: Path
) -> None:
    settings = dataclasses.replace(student_settings, teacher=str(teacher_run), lora_rank=2)
    fast = dataclasses.replace(settings.optim, lr=1e-2)
    go(build_student(dataclasses.replace(settings, optim=fast), tmp_path / "s", "cpu"), 3)
    before, _ = load_run(teacher_run)
    trained, _ = load_run(tmp_path / "s")
    assert trained.lora
    for name, weight in before.model.state_dict().items():
        assert torch.equal(weight, trained.model.state_dict()[name])  # the base is frozen
    adapted, _ = load_network(str(tmp_path / "s"), 0.6)
    change = adapted.unet.conv_in.weight - trained.model.unet.conv_in.weight
    assert float(change.detach().abs().max()) > 0

    alone = export_bundle([tmp_path / "s"], tmp_path / "alone", "mine", "# Card\n")
    with_base = export_bundle([tmp_path / "s", teacher_run], tmp_path / "both", "mine", "# Card\n")
    assert [n.base for n in alone.networks] == ["base.safetensors"]
    assert [n.base for n in with_base.networks] == [None, "teacher.safetensors"]
    assert not (with_base.folder / "base.safetensors").exists()
    for bundle in (alone, with_base):
        loaded = bundle.load(bundle.networks[-1], torch.device("cpu")).model
        for ours, theirs in zip(loaded.parameters(), adapted.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3, check_stride=False)


def test_students_start_from_bundles_too(student_settings: StudentSettings, teacher_run: Path, tmp_path: Path) -> None:
    export_bundle([teacher_run], tmp_path / "bundle", "mine", "# Card")
    settings = dataclasses.replace(student_settings, teacher=str(tmp_path / "bundle"), start=str(teacher_run))
    run = build_student(settings, tmp_path / "s", "cpu")
    assert isinstance(run.task, StudentTask)
    teacher, model = run.task.consistency.players.phi, run.task.model
    for ours, theirs in zip(teacher.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs.half().float())
        assert theirs.requires_grad
        assert not ours.requires_grad
    go(run, 1)


def test_precision_follows_the_processor() -> None:
    native = torch.cpu._is_amx_tile_supported()
    # a process of its own: accelerate fixes the precision of a process once
    script = "from stdvid.distill.build import *; print(accelerator_for('cpu', OptimSettings()).mixed_precision)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert found == ("bf16" if native else "no")


def test_a_run_of_other_settings_is_not_overwritten(teacher_settings: TeacherSettings, teacher_run: Path) -> None:
    optim = dataclasses.replace(teacher_settings.optim, lr=1.0)
    with pytest.raises(UsageError, match="other settings"):
        build_teacher(dataclasses.replace(teacher_settings, optim=optim), teacher_run, "cpu")


def test_missing_pieces_are_said(
    teacher_settings: TeacherSettings, student_settings: StudentSettings, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no teacher"):
        build_student(student_settings, tmp_path / "s", "cpu")
    with pytest.raises(ModelError, match="not a model bundle"):
        build_student(dataclasses.replace(student_settings, teacher=str(tmp_path)), tmp_path / "s2", "cpu")
    with pytest.raises(UsageError, match="no model named 'nowhere'"):
        build_student(dataclasses.replace(student_settings, teacher="nowhere"), tmp_path / "s3", "cpu")
    with pytest.raises(ModelError, match="not a checkpoint"):
        export_bundle([tmp_path], tmp_path / "bundle", "mine", "# Card")
    lone = dataclasses.replace(student_settings.loss, adversarial=0.5, distillation=0.0)
    with pytest.raises(UsageError, match="adversarial has a weight"):
        build_student(dataclasses.replace(student_settings, teacher="nano-teacher", loss=lone), tmp_path / "s4", "cpu")
    no_data = dataclasses.replace(teacher_settings.data, styles=())
    with pytest.raises(UsageError, match="no training pictures"):
        build_teacher(dataclasses.replace(teacher_settings, data=no_data), tmp_path / "t", "cpu")
    nowhere = dataclasses.replace(teacher_settings.data, styles=(str(tmp_path / "nowhere"),))
    with pytest.raises(InputError, match="not a folder"):
        build_teacher(dataclasses.replace(teacher_settings, data=nowhere), tmp_path / "t2", "cpu")


def test_stop_ends_the_run_with_a_checkpoint(teacher_settings: TeacherSettings, tmp_path: Path) -> None:
    run = build_teacher(teacher_settings, tmp_path / "run", "cpu")
    for _ in train(run, max_steps=100, max_seconds=600, stop=lambda: run.step >= 2):
        pass
    assert load_checkpoint(tmp_path / "run" / CHECKPOINT)[1]["step"] == 2


def test_learning_rate_warms_up_stays_and_falls(teacher_settings: TeacherSettings) -> None:
    optim = dataclasses.replace(teacher_settings.optim, lr=1.0, warmup_steps=10, decay_after=100)
    assert learning_rate(0, optim) == pytest.approx(0.1)
    assert learning_rate(50, optim) == 1
    assert learning_rate(400, optim) == pytest.approx(0.5)


def test_sheet_shows_held_out_pairs(student_settings: StudentSettings, teacher_run: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(student_settings, teacher=str(teacher_run), loss=StudentLoss())
    run = build_student(settings, tmp_path / "s", "cpu")
    sheet = run.task.sheet(run.ema.module)
    assert sheet.shape == (3 * 256, 6 * 256, 3)
    assert sheet.std() > 5
