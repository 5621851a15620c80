"""The tools beside the package, on a synthesised clip: the contact sheet and the media round trip."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stdvid.config import preset_names
from stdvid_cli.names import bundled_styles

ROOT = Path(__file__).resolve().parents[1]
Clip = Callable[..., Path]


def tool(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tool_{Path(path).stem}", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sheets() -> ModuleType:
    return tool("docs/contact_sheet.py")


@pytest.fixture(scope="module")
def roundtrip() -> ModuleType:
    return tool("benchmarks/media_roundtrip.py")


def call(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", [module.__name__, *map(str, arguments)])
    code: int = module.main()
    return code


def test_a_sheet_shows_the_same_moments_of_every_clip(
    sheets: ModuleType, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Any
) -> None:
    clips, sheet = [clip("a.mp4", n=12), clip("b.mp4", n=12, first=700)], tmp_path / "sheet.png"
    assert call(sheets, monkeypatch, *clips, sheet, "--frames", 3, "--width", 64) == 0
    image = np.array(Image.open(sheet))
    assert image.shape == (48 * 2 + 4, 64 * 3 + 4 * 2, 3)
    assert bool((image[48:52] == 255).all())
    for top in (0, 52):
        for column, number in enumerate((0, 6, 11)):  # 0, .22 and .44 s at 25 frames a second
            shown = image[top : top + 48, 68 * column : 68 * column + 64]
            expected = pictures.quadrants(pictures.make(64, 48, number))
            assert np.abs(pictures.quadrants(shown) - expected).max() < 25


def test_moments_end_with_the_shortest_clip(sheets: ModuleType, clip: Clip) -> None:
    short, long = clip("short.mp4", n=4), clip("long.mp4", n=20)
    assert sheets.duration_s(short) == Fraction(3, 25)
    assert sheets.contact_sheet([short, long], 1, 32).size == (32, 24 + 4 + 24)
    assert sheets.contact_sheet([long, short], 4, 32).size == (32 * 4 + 4 * 3, 24 + 4 + 24)


def test_pixels_of_a_sheet_are_square(sheets: ModuleType, clip: Clip) -> None:
    wide = clip("wide.mp4", n=3, aspect=Fraction(4, 3))
    assert sheets.contact_sheet([wide], 2, 64).size == (64 * 2 + 4, 36)


@pytest.mark.parametrize("options", [("--frames", 0), ("--width", 8)])
def test_a_sheet_of_nothing_is_refused(
    sheets: ModuleType, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(SystemExit) as caught:
        call(sheets, monkeypatch, clip("a.mp4", n=12), tmp_path / "no.png", *options)
    assert caught.value.code == 2
    assert "at least 1 and 16" in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()


def test_files_survive_the_round_trip_and_what_is_no_video_is_refused(
    roundtrip: ModuleType,
    clip: Clip,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(clip("sound.mp4", n=12, audio=2).read_bytes())
    (folder / "story.mp4").write_text("Once upon a time.\n" * 50)
    report = tmp_path / "report.json"
    assert call(roundtrip, monkeypatch, folder, "--formats", "mp4,mkv", "--short", 32, "--json", report) == 0
    rows = {(row["file"], row["format"]): row for row in json.loads(report.read_text())}
    assert set(rows) == {(f, x) for f in ("clip.mp4", "story.mp4") for x in ("mp4", "mkv")}
    for extension in ("mp4", "mkv"):
        row = rows["clip.mp4", extension]
        assert (row["frames_in"], row["frames_out"], row["audio_streams"]) == (12, 12, 2)
        assert row["audio_identical"] == [True, True]
        assert row["pts_error_ticks"] <= 1
        assert "story.mp4" in rows["story.mp4", extension]["input_error"]
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "4 runs, 2 refused with an InputError, 0 failed"
    assert [line[:4] for line in out[:-1]] == ["ok  "] * 4


def test_the_round_trip_through_the_model_keeps_frames_and_times(
    roundtrip: ModuleType, clip: Clip, tmp_path: Path
) -> None:
    style = next(iter(bundled_styles().values()))
    row = roundtrip.round_trip(clip("six.mp4", n=6), tmp_path / "out.mp4", 32, style, False)
    assert row["ok"] is True
    assert (row["frames_out"], row["pts_error_ticks"]) == (6, 0)
    assert row["aspect_error"] < 0.02


def lab_rows(label: str, seeds: int, offset: float) -> list[dict[str, Any]]:
    return [
        {
            "name": label,
            "label": label,
            "seed": seed,
            "steps": steps,
            "calls": steps,
            "guidance": 1.0,
            "values": {"end_error": [offset + 0.1 * pair + 0.01 * seed for pair in range(4)]},
        }
        for seed in range(seeds)
        for steps in (1, 2)
    ]


def test_the_laboratory_averages_seeds_and_compares_pair_by_pair() -> None:
    lab = tool("benchmarks/lab.py")
    rows = lab_rows("STD", 3, 0.2) + lab_rows("TCD", 2, 0.25)
    table = lab.markdown(rows, "end_error").splitlines()
    assert table[0] == "| end_error | guidance | 1 steps | 2 steps |"
    # mean over pairs of .2 + .15 + .01; t(.975, 3) * .1291 / 2 = .205; standard deviation of the seeds' means .01
    assert table[2].startswith("| STD | 1 | 0.360 ±0.205 (seeds ±0.0100) |")
    # the seeds that both have, pair by pair: exactly .05 apart
    assert lab.differences(rows, (1, 2), "STD", "end_error") == (
        "| STD minus TCD | | -0.0500 ±0.0000 | -0.0500 ±0.0000 |"
    )


def test_every_row_of_the_laboratory_has_a_preset() -> None:
    lab = tool("benchmarks/lab.py")
    known = set(preset_names("distill"))
    for table in lab.TABLES.values():
        assert {line.preset for line in table.lines} <= known
        assert all("=" in setting for setting in table.settings)


@pytest.mark.bench
def test_the_bank_saves_most_of_the_teacher() -> None:
    # a process of its own: accelerate fixes the precision of a process once
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_bank.py"), "--steps", "2", "--rounds", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "times as fast" in result.stdout
