"""The evaluation: its reference is the teacher's own trajectory, and its figures move the way they should."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from stdvid.diffusion.sampler import sample, sample_last
from stdvid.diffusion.schedule import cosine, grid_time, sampling_times
from stdvid.distill.build import load_entrant, load_entrants
from stdvid.distill.evaluation import Entrant, Evaluation, Pair, Row, Trajectory, evaluate, half_width
from stdvid.distill.report import best, unguided
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
    own, few, many, *rows = list(evaluate(evaluation, [teacher], [1, 15], [1.0]))
    assert (own.name, own.steps, own.calls, own.mean["end_error"]) == ("teacher, whole", 30, 30, 0)
    assert [(row.name, row.steps, row.calls) for row in (few, many)] == [("teacher", 1, 1), ("teacher", 15, 15)]
    assert [(row.steps, row.calls) for row in rows] == [(1, 1), (15, 15)]
    assert rows[0].mean["end_error"] == few.mean["end_error"]
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
    html = tmp_path / "report.html"
    options = ["--pairs", "2", "--size", "64", "--steps", "2", "--steps", "4", "--json", str(figures)]
    command = ["distill", "eval", run, "--teacher", run, *folders, *options, "--html", str(html)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "end error" in result.output
    rows = json.loads(figures.read_text())
    teacher, student = (
        [("teacher, whole", 30), *[("teacher", n) for n in (2, 4, 2, 4)]],
        [("teacher", 2), ("teacher", 4)],
    )
    assert [(row["name"], row["steps"]) for row in rows] == teacher + student
    assert all(len(values) == 2 for row in rows for values in row["values"].values())
    page = html.read_text()
    assert page.count("<svg") == 2 * 4
    assert page.count("<tr>") == 1 + len(rows)
    assert "data:image/jpeg;base64," in page
    namespaces = ("http://www.w3.org", "http://purl.org", "http://creativecommons.org", "https://matplotlib.org")
    for name in namespaces:
        page = page.replace(name, "")
    assert "://" not in page  # self-contained; pictures in base64 have no colon


def test_what_could_not_be_written_or_judged_is_said_before_the_work(teacher_run: Path, tmp_path: Path) -> None:
    base = ["distill", "eval", str(teacher_run), "--teacher", str(teacher_run), "--styles", "x", "--photos", "y"]
    for options, message in (
        (["--json", str(tmp_path)], "cannot be written"),
        (["--html", str(tmp_path / "nowhere" / "a.html")], "cannot be written"),
        (["--aesthetic", "a.safetensors"], "belong together"),
        (["--csd", str(tmp_path / "no.safetensors")], "no readable safetensors"),
    ):
        result = CliRunner().invoke(app, [*base, *options])
        assert result.exit_code != 0
        assert message in str(result.exception)


def test_external_judges_are_more_columns(teacher: Entrant, pairs: list[Pair]) -> None:
    class Brightness:
        name = "brightness"

        def __call__(self, image: Tensor, content: Tensor, reference: Tensor) -> float:
            assert image.shape == content.shape == (1, 3, 64, 64)
            return float(image.mean())

    row = Evaluation(teacher.stylizer, pairs, 0.6, 1.0, [Brightness()]).judge(teacher, 2)
    assert all(-1 <= value <= 1 for value in row.values["brightness"])


def test_best_against_best_takes_the_guidance_that_serves_each_most() -> None:
    def row(name: str, steps: int, guidance: float, value: float) -> Row:
        return Row(name, steps, guidance, steps, {"figure": [value]})

    rows = [row("a", 1, 1, 0.2), row("a", 1, 2, 0.3), row("a", 4, 1, 0.5), row("b", 1, 2, 0.1), row("b", 1, 1, 0.4)]
    found = {name: [(r.steps, r.guidance) for r in line] for name, line in best(rows, "figure", more=True).items()}
    assert found == {"a": [(1, 2), (4, 1)], "b": [(1, 1)]}
    found = {name: [(r.steps, r.guidance) for r in line] for name, line in best(rows, "figure", more=False).items()}
    assert found == {"a": [(1, 1), (4, 1)], "b": [(1, 2)]}
    assert [r.name for r in unguided(rows)] == ["a", "a", "b"]


def test_intervals_are_those_of_student() -> None:
    # four values of standard deviation 1: t(.975, 3) = 3.182 times 1 / 2
    values = [-(1.5**0.5), 0.0, 0.0, 1.5**0.5]
    assert half_width(values) == pytest.approx(3.1824 / 2, rel=1e-4)
    assert np.isnan(half_width([1.0]))


def test_a_trajectory_starts_where_it_is_told(teacher: Entrant, pairs: list[Pair]) -> None:
    evaluation = Evaluation(teacher.stylizer, pairs[:1], 0.6, 1.0)
    condition = evaluation._condition(teacher.stylizer, pairs[0])
    short = Trajectory(teacher.stylizer, condition, evaluation.ways[0].states[0], 10, 1.0)
    assert short.times[0] == 199
    assert len(short.states) == 11


def test_runs_whose_folders_have_one_name_are_told_apart(teacher_run: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "a" / "seed0", tmp_path / "b" / "seed0", tmp_path / "seed1"]
    for folder in folders:
        shutil.copytree(teacher_run, folder)
    names = [entrant.name for entrant in load_entrants([str(folder) for folder in folders], 0.6)]
    assert names == [str(folders[0]), str(folders[1]), "seed1"]
