"""stdvid bench: every figure is measured for real, on a small clip."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from stdvid.bench import limit
from stdvid.bench.media_path import Untouched
from stdvid.config import load_preset
from stdvid.media.reader import PyAVReader
from stdvid.schema import merge
from stdvid.stylize import Job, Workers, plan, run
from stdvid_cli.app import main

Clip = Callable[..., Path]


def test_all_figures_come_of_one_run(
    clip: Clip, style: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limit, "SIDE", 256)
    source = clip("source.mp4", n=20)
    assert main(["bench", str(source), "--style", str(style), "--frames", "18", "--json"]) == 0
    out, err = capfd.readouterr()
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert err.splitlines()[0] == "measuring painting"
    assert (found["frames"], found["steps"]) == (18, 4)
    assert found["fps"] == pytest.approx(1 / found["seconds_per_frame"], rel=1e-3)
    assert 0 < found["network_share_of_wall"] < 1
    assert 0 < found["start_s"] < found["first_frame_s"] < 18 * found["seconds_per_frame"]
    assert 0 < found["speedup_over_eager"] < found["speedup_start_to_file"]
    assert found["flop_share_of_limit"] > 0
    assert found["over_stylization"] > 0
    assert (found["media_over_ffmpeg"] is None) == (shutil.which("ffmpeg") is None)
    assert found["peak_rss_mib"] > 100
    assert (found["backend"], found["dtype"]) in {("openvino", "int8"), ("torch", "fp32"), ("torch", "bf16")}


def test_a_run_that_paints_nothing_passes_every_frame(clip: Clip, style: Path, tmp_path: Path) -> None:
    source = clip("source.mkv", n=21)
    config = merge(
        load_preset("nano"),
        {"video": {"consistency": "none"}, "encode": {"codec": "libx264rgb", "crf": 0}},
    )
    run(plan(Job(source, (style,), tmp_path / "out.mkv", config)), hands=cast(Workers, Untouched()))
    pairs = []
    for path in (source, tmp_path / "out.mkv"):
        with PyAVReader(path) as reader:
            pairs.append(np.stack([frame.image for frame in reader]))
    np.testing.assert_array_equal(pairs[0], pairs[1])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_limit_is_of_products_in_the_precision(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setattr(limit, "SIDE", 64)
    products = limit.matrix_products(precision)
    products()
    products()


def test_a_clip_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tmp_path / "none.mp4")]) == 3
    assert "no such file" in capsys.readouterr().err


def test_one_frame_is_no_clip(clip: Clip, style: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(clip("one.mp4", n=1)), "--style", str(style)]) == 3
    assert "has 1 frame" in capsys.readouterr().err
