"""What a run computes in: decided in its plan, part of what its journal belongs to, the same for whoever paints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import Clip

from stdvid import journal
from stdvid.cluster import _Order
from stdvid.config import StylizeConfig
from stdvid.errors import Interrupted, ModelError
from stdvid.media.reader import PyAVReader
from stdvid.models.bundle import Bundle, read_bundle
from stdvid.models.openvino_trial import Verdict
from stdvid.schema import merge
from stdvid.stylize import Job, Progress, plan, run
from stdvid_cli.app import main

pytest.importorskip("openvino")

pytestmark = pytest.mark.skipif(read_bundle("nano").networks[0].int8 is None, reason="nano has no int8 network")


def job(source: Path, style: Path, output: Path, precision: str = "auto", **options: Any) -> Job:
    sections = {
        "model": {"precision": precision},
        "sampling": {"steps": 2, "style_guidance": 0},
        "video": {"size": 32, "window": 3, "overlap": 1},
        "encode": {"codec": "ffv1", "crf": "none"},
    }
    return Job(source, (style,), output, merge(StylizeConfig(), sections), device="cpu", **options)


def frames(path: Path) -> Any:
    with PyAVReader(path) as reader:
        return np.stack([frame.image for frame in reader]).astype(int)


def test_a_plan_settles_it_and_its_key_knows(clip: Clip, style: Path, tmp_path: Path) -> None:
    source, output = clip("a.mp4", n=5), tmp_path / "o.mkv"
    plans = {name: plan(job(source, style, output, name)) for name in ("auto", "int8", "fp32", "bf16")}
    assert plans["auto"].precision == plans["auto"].job.config.model.precision == "int8"
    assert plans["auto"].key == plans["int8"].key
    assert len({planned.key for planned in plans.values()}) == 3
    assert [plans[name].to_dict()["precision"] for name in plans] == ["int8", "int8", "fp32", "bf16"]
    assert isinstance(plans["auto"].model, Bundle)
    assert plans["auto"].model.precision == "int8"


def test_int8_paints_nearly_what_fp32_does(clip: Clip, style: Path, tmp_path: Path) -> None:
    source = clip("a.mp4", n=5)
    for name in ("fp32", "int8"):
        run(plan(job(source, style, tmp_path / f"{name}.mkv", name)))
    exact, quick = (frames(tmp_path / f"{name}.mkv") for name in ("fp32", "int8"))
    assert exact.shape == quick.shape
    assert 0 < abs(exact - quick).mean() < 3


def test_a_run_that_died_goes_on_in_its_own_precision_alone(clip: Clip, style: Path, tmp_path: Path) -> None:
    source, output = clip("a.mp4", n=9), tmp_path / "o.mkv"

    def die(progress: Progress) -> None:
        if progress.frames_done >= 4:
            raise Interrupted("here")

    def begin() -> None:
        with pytest.raises(Interrupted):
            run(plan(job(source, style, output)), die)
        assert journal.folder_of(output).is_dir()

    begin()
    again = run(plan(job(source, style, output)))
    assert again.resumed > 0
    whole = output.read_bytes()
    output.unlink()
    begin()
    other = run(plan(job(source, style, output, "fp32")))
    assert other.resumed == 0
    assert output.read_bytes() != whole


def test_torch_paints_where_int8_does_not_work_and_says_so_once(
    clip: Clip, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Bundle, "int8_works", lambda *_: Verdict(False, "OpenVINO is not installed"))
    command = ["stylize", str(clip("a.mp4", n=3)), "--style", str(style), "--size", "32", "--style-guidance", "0"]
    assert main([*command, "-o", str(tmp_path / "o.mp4"), "--progress", "none"]) == 0
    said = capsys.readouterr().err
    assert said.count("int8 is not used: OpenVINO is not installed; torch takes about twice as long") == 1
    assert main([*command, "-o", str(tmp_path / "p.mp4"), "--precision", "int8"]) == 2
    assert "precision int8: OpenVINO is not installed" in capsys.readouterr().err


def test_a_dry_run_and_a_preview_know_it(
    clip: Clip, style: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(clip("a.mp4", n=3))
    assert main(["stylize", source, "--style", str(style), "--size", "32", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["precision"] == "int8"
    for precision in ("fp32", "int8"):
        command = ["preview", source, "--style", str(style), "--size", "32", "-o", str(tmp_path / f"{precision}.png")]
        assert main([*command, "--precision", precision]) == 0
    assert (tmp_path / "fp32.png").read_bytes() != (tmp_path / "int8.png").read_bytes()
    assert main(["stylize", source, "--style", str(style), "--precision", "fp16", "--dry-run"]) == 2
    assert "takes no precision fp16" in capsys.readouterr().err


def test_a_worker_does_what_the_plan_says_or_fails(
    clip: Clip, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stdvid.models import openvino_backend
    from stdvid.models.catalogue import _load, load_model

    planned = plan(job(clip("a.mp4", n=3), style, tmp_path / "o.mkv"))
    names = {field.name for field in dataclasses.fields(_Order)}
    assert "config" in names  # that of the plan

    def missing(*_: Any) -> None:
        raise ImportError("No module named 'openvino'")

    monkeypatch.setattr(openvino_backend, "compiled_once", missing)
    _load.cache_clear()
    config = planned.job.config
    with pytest.raises(ModelError, match="--precision fp32"):
        load_model(config.model, config.sampling, planned.network, planned.device)
