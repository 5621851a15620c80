"""stdvid distill: mistakes are one line; a trained network becomes a bundle that stylizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from stdvid.config import find_preset, preset_names
from stdvid.distill.build import build_teacher
from stdvid.distill.settings import StudentSettings, TeacherSettings
from stdvid.distill.trainer import train
from stdvid.errors import UsageError
from stdvid.models.bundle import read_bundle
from stdvid.schema import from_toml
from stdvid_cli.app import main
from stdvid_cli.distill import _settings

CONFIG = """
[data]
crop_px = 32
short_side_px = 80
[optim]
batch = 2
warmup_steps = 2
sheet_every = 1000
log_every = 1
precision = "no"
[architecture]
channels = [16, 16, 16]
layers = 1
heads = 2
token_dim = 16
vector_dim = 16
"""


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    for kind in ("styles", "photos"):
        (tmp_path / kind).mkdir()
        for number in range(3):
            coarse = np.random.default_rng(number).integers(0, 256, (8, 10, 3), np.uint8)
            image = cv2.resize(coarse, (100, 80), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(tmp_path / kind / f"{kind}{number}.png"), image)
    return ["--styles", str(tmp_path / "styles"), "--photos", str(tmp_path / "photos")]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("teacher", 2, "--out"),
        ("teacher --out run --steps 3", 2, "--steps"),
        ("teacher --out run --max-steps -1", 2, "--max-steps"),
        ("teacher --out run --config nano-techer", 2, "did you mean 'nano-teacher'?"),
        ("teacher --out run --config none.toml", 2, "cannot read none.toml"),
        ("teacher --out run --config wrong.toml", 2, "unknown key 'optim.bach'; did you mean 'optim.batch'?"),
        ("teacher --out run --config exact.toml --device cpu --styles nowhere --photos nowhere", 3, "nowhere"),
        ("student --out run --method dmd", 2, "loss.method is 'dmd', a string; allowed: 'std', 'lcm'"),
        ("student --out run --config exact.toml --device cpu --teacher nowhere", 2, "no model named 'nowhere'"),
        ("eval nano --styles s --photos p", 2, "--teacher"),
        ("eval nano --teacher nano --styles s --photos p --pairs 0", 2, "--pairs"),
        ("export run --out out --name n --card none.md", 3, "model card 'none.md' cannot be read"),
        ("export run --out out --name n --card card.md", 3, "not a checkpoint"),
    ],
)
def test_mistakes(
    arguments: str, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STDVID_DEBUG", raising=False)
    Path("wrong.toml").write_text("[optim]\nbach = 4\n")
    Path("exact.toml").write_text("[optim]\nprecision = 'no'\n")  # a process has one precision for all its runs
    Path("card.md").write_text("# Card\n")
    assert main(["distill", *arguments.split()]) == code
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert out == ""
    assert not Path("out").exists()


def test_a_trained_network_is_exported_and_used(
    folders: list[str], clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(CONFIG)
    Path("card.md").write_text("# Mine\n")
    data = {"styles": [folders[1]], "photos": [folders[3]]}
    settings = from_toml(TeacherSettings, Path("tiny.toml"), {"data": data})
    run = build_teacher(settings, Path("run"), "cpu")
    assert [event.step for event in train(run, max_steps=1, max_seconds=60, stop=lambda: False)] == [1]
    again = ["distill", "teacher", "--config", "tiny.toml", "--out", "run", "--device", "cpu", *folders]
    assert main([*again, "--seed", "4"]) == 2
    assert "holds a run with other settings" in capsys.readouterr().err

    assert main(["distill", "export", "run", "--out", "mine", "--name", "mine", "--card", "card.md"]) == 0
    path, _, sha256 = capsys.readouterr().out.split()
    bundle = read_bundle("mine")
    [entry] = bundle.networks
    assert (bundle.name, entry.strength, entry.sha256) == ("mine", None, sha256)
    assert Path(path) == Path("mine") / entry.file
    assert Path("mine/MODEL_CARD.md").read_text() == "# Mine\n"

    Path("use.toml").write_text(f"[model]\nbase = '{tmp_path / 'mine'}'\n[sampling]\nsteps = 1\nstrength = 0.5\n")
    style = str(next(Path("styles").iterdir()))
    options = ["--preset", "use.toml", "--style", style, "--size", "32", "-o", "out.mp4", "-q"]
    assert main(["stylize", str(clip("use.mp4", n=3)), *options]) == 0
    assert Path("out.mp4").stat().st_size > 0


def test_settings_can_be_set_one_by_one() -> None:
    settings = _settings(
        StudentSettings,
        None,
        "nano-student",
        {"loss": {"method": "tcd"}},
        ["loss.strength=0.75", "lora_rank=4", "teacher=some/where", "data.weights={pg_ = 0.5}"],
    )
    assert (settings.loss.strength, settings.lora_rank, settings.teacher) == (0.75, 4, "some/where")
    assert settings.loss.method == "tcd"  # options of their own win
    assert settings.data.weights["pg_"] == 0.5
    assert settings.data.weights["oca_"] == 0.05
    for pair in ("loss.strength", "=3", "loss..x=1"):
        with pytest.raises(UsageError, match="KEY=VALUE"):
            _settings(StudentSettings, None, "nano-student", {}, [pair])
    with pytest.raises(UsageError, match=r"did you mean 'loss\.strength'"):
        _settings(StudentSettings, None, "nano-student", {}, ["loss.strenght=1"])


@pytest.mark.parametrize("name", preset_names("distill"))
def test_every_training_preset_loads_and_says_what_it_is(name: str) -> None:
    path = find_preset(name, "distill")
    cls = TeacherSettings if name.startswith("nano-teacher") else StudentSettings
    from_toml(cls, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    if any(line.startswith("extends") for line in lines):
        own = [line for line in lines if "=" in line and not line.startswith(("#", "extends"))]
        assert own
        assert all("#" in line for line in own)
