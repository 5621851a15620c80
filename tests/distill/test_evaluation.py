"""The evaluation: its reference is the teacher's own trajectory, and its figures move the way they should."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from stdvid.diffusion.sampler import sample, sample_last
from stdvid.diffusion.schedule import cosine, grid_time, sampling_times
from stdvid.distill.build import load_entrant
from stdvid.distill.evaluation import Entrant, Evaluation, Pair, Trajectory, evaluate
from stdvid.distill.settings import TeacherSettings
from stdvid.metrics.style import sliced_wasserstein
from stdvid_cli.app import app


@pytest.fixture
def teacher(teacher_run: Path) -> Entrant:
    return load_entrant(str(teacher_run), 0.6)


@pytest.fixture
def pairs() -> list[Pair]:
    rng = np.random.default_rng(0)
    pictures = [cv2.resize(rng.integers(0, 256, (9, 9, 3), np.uint8), (64, 64)) for _ in range(4)]
    return [Pair(pictures[0], pictures[1]), Pair(pictures[2], pictures[3])]


def test_the_reference_is_the_sampler_on_the_solver_grid(teacher: Entrant, pairs: list[Pair]) -> None:
    evaluation = Evaluation(teacher.stylizer, pairs, 0.6, 2.0)
    way = evaluation.ways[0]
    assert way.times[0] == 599
    assert way.times[-1] == -1
    condition = evaluation._condition(teacher.stylizer, pairs[0])
    end = sample_last(
        sample(teacher.stylizer.denoiser(condition, 2.0), way.states[0], sampling_times(599, 30), cosine())
    )
    torch.testing.assert_close(way.at(-1), end)
    # between grid times: the solver's own step made shorter
    start = int(grid_time(30))
    assert torch.equal(way.at(start), way.states[0])
    direct = sample_last(sample(teacher.stylizer.denoiser(condition, 2.0), way.states[0], [start, start - 7], cosine()))
    torch.testing.assert_close(way.at(start - 7), direct)


def test_the_teacher_is_its_own_reference_and_fewer_steps_are_farther(teacher: Entrant, pairs: list[Pair]) -> None:
    evaluation = Evaluation(teacher.stylizer, pairs, 0.6, 1.0)
    own, *rows = list(evaluate(evaluation, [teacher], [1, 15], [1.0]))
    assert (own.steps, own.calls, own.mean["end_error"]) == (30, 30, 0)
    assert [(row.steps, row.calls) for row in rows] == [(1, 1), (15, 15)]
    assert rows[0].mean["end_error"] > rows[1].mean["end_error"] > 0
    for row in rows:
        assert row.mean.keys() == row.interval.keys()
        assert all(np.isfinite(v) for v in (*row.mean.values(), *row.interval.values()))


def test_stochastic_samplers_leave_the_trajectory(teacher: Entrant, pairs: list[Pair]) -> None:
    evaluation = Evaluation(teacher.stylizer, pairs, 0.6, 1.0)
    one, five = (
        [evaluation.judge(Entrant("x", teacher.stylizer, gamma), n).mean["end_error"] for gamma in (0.0, 1.0)]
        for n in (1, 5)
    )
    assert one[0] == one[1]  # the last step adds no noise
    assert five[1] > 1.05 * five[0]


def test_sliced_wasserstein_sees_distributions_and_not_places() -> None:
    generator = torch.Generator().manual_seed(0)
    a = [torch.randn(2, 8, 16, 16, generator=generator)]
    shuffled = [a[0].flatten(2)[..., torch.randperm(256, generator=generator)].view(2, 8, 16, 16)]
    again = [torch.randn(2, 8, 12, 20, generator=generator)]
    moved = [a[0] + 1]
    assert sliced_wasserstein(a, shuffled).tolist() == pytest.approx([0, 0], abs=1e-6)
    same, other = sliced_wasserstein(a, again), sliced_wasserstein(a, moved)
    assert same.shape == (2,)
    assert bool((other > 3 * same).all())


def test_the_command_prints_a_table_and_writes_json(
    teacher_settings: TeacherSettings, teacher_run: Path, tmp_path: Path
) -> None:
    run = str(teacher_run)
    folders = ["--styles", teacher_settings.data.styles[0], "--photos", teacher_settings.data.photos[0]]
    figures = tmp_path / "figures.json"
    options = ["--pairs", "2", "--size", "64", "--steps", "2", "--steps", "4", "--json", str(figures)]
    result = CliRunner().invoke(app, ["distill", "eval", run, "--teacher", run, *folders, *options])
    assert result.exit_code == 0, result.output
    assert "end error" in result.output
    rows = json.loads(figures.read_text())
    assert [(row["name"], row["steps"]) for row in rows] == [("teacher", 30), ("teacher", 2), ("teacher", 4)]


def test_a_trajectory_starts_where_it_is_told(teacher: Entrant, pairs: list[Pair]) -> None:
    evaluation = Evaluation(teacher.stylizer, pairs[:1], 0.6, 1.0)
    condition = evaluation._condition(teacher.stylizer, pairs[0])
    short = Trajectory(teacher.stylizer, condition, evaluation.ways[0].states[0], 10, 1.0)
    assert short.times[0] == 199
    assert len(short.states) == 11
