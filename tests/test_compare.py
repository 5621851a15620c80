"""Outputs judged by their source: on clips whose figures are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from stdvid.compare import LONG_FRAMES, Comparison
from stdvid.compare import compare as compare_all
from stdvid.errors import InputError
from stdvid_cli.app import main

Clip = Callable[..., Path]
LOSSLESS = {"codec": "ffv1", "pix_fmt": "yuv444p", "options": {}, "size": (96, 64)}
N = 14


def compare(source: Path, output: Path, style: Sequence[np.ndarray] = ()) -> Comparison:  # type: ignore[type-arg]
    """A single output."""
    [found] = compare_all(source, [output], style)
    return found


def view(k: int, shot: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    """Frame k of a camera that moves over a picture."""
    coarse = np.random.default_rng(shot).integers(0, 256, (6, 14, 3), np.uint8)
    return np.ascontiguousarray(cv2.resize(coarse, (160, 64), interpolation=cv2.INTER_CUBIC)[:, k : k + 96])


@pytest.fixture
def source(clip: Clip) -> Path:
    return clip("moving.mkv", n=N, images=[view(k) for k in range(N)], **LOSSLESS)


def test_a_copy_has_what_the_source_has(source: Path) -> None:
    result = compare(source, source)
    assert (result.frames, result.shots) == (N, 1)
    assert result.figures["warp_error"] == result.floor["warp_error"]
    assert result.figures["warp_error"] < 1e-3
    assert result.figures["warp_error_long"] == result.floor["warp_error_long"] is not None
    assert result.figures["difference_bias"] == 0
    assert result.figures["structure"] == pytest.approx(1)
    assert result.figures["sharpness"] == pytest.approx(1)
    assert "style_moved" not in result.figures
    assert result.notes == ()


def test_boiling_and_nailed_paint_are_seen(source: Path, clip: Clip) -> None:
    rng, grain = np.random.default_rng(0), np.random.default_rng(1).normal(0, 25, (64, 96, 3))

    def paint(name: str, noise: Callable[[], np.ndarray]) -> dict[str, float | None]:  # type: ignore[type-arg]
        images = [np.clip(view(k) + noise(), 0, 255).astype(np.uint8) for k in range(N)]
        return compare(source, clip(name, n=N, images=images, **LOSSLESS)).figures

    nailed = paint("nailed.mkv", lambda: grain)  # does not boil, and does not move with the picture
    boiling = paint("boiling.mkv", lambda: rng.normal(0, 25, (64, 96, 3)))
    world = np.random.default_rng(2).normal(0, 25, (64, 160, 3))
    coated = [np.clip(view(k) + world[:, k : k + 96], 0, 255).astype(np.uint8) for k in range(N)]
    moving = compare(source, clip("coated.mkv", n=N, images=coated, **LOSSLESS)).figures
    assert moving["difference_bias"] > 10 / 255  # it moves, and has more contrast than the source
    assert moving["moving_bias"] == pytest.approx(moving["difference_bias"], rel=0.1)
    assert nailed["moving_bias"] > 10 * nailed["difference_bias"]  # it ought to move
    plain = compare(source, source).figures
    for name in ("warp_error", "warp_error_long"):
        assert nailed[name] > 3 * plain[name]
    assert boiling["difference_bias"] > 5 * nailed["difference_bias"]


def test_nothing_is_compared_across_a_cut(clip: Clip) -> None:
    images = [view(k % 8, k // 8) for k in range(24)]
    result = compare(*[clip("cuts.mkv", n=24, images=images, **LOSSLESS)] * 2)
    assert result.shots == 3
    assert result.floor["warp_error"] < 1e-3
    assert result.figures["warp_error_long"] is None  # no shot is longer than LONG_FRAMES
    assert LONG_FRAMES > 8


def test_style_moved_is_measured_where_a_style_is_given(source: Path, clip: Clip) -> None:
    reference = cv2.resize(np.random.default_rng(5).integers(0, 256, (60, 80, 3), np.uint8), (96, 64))
    mixed = [(0.3 * view(k) + 0.7 * reference).astype(np.uint8) for k in range(N)]
    output = clip("mixed.mkv", n=N, images=mixed, **LOSSLESS)
    assert compare(source, output, [reference]).figures["style_moved"] > 0.2
    assert compare(source, source, [reference]).figures["style_moved"] == pytest.approx(0)


def test_different_lengths_and_sizes_are_compared_as_far_as_they_go(source: Path, clip: Clip) -> None:
    small = [cv2.resize(view(k), (48, 32), interpolation=cv2.INTER_AREA) for k in range(N - 3)]
    result = compare(source, clip("short.mkv", n=N - 3, images=small, **{**LOSSLESS, "size": (48, 32)}))
    assert result.frames == N - 3
    assert "'moving.mkv' has more frames" in result.notes[0]
    assert result.figures["structure"] > 0.9


def test_one_frame_has_no_figures_of_time(clip: Clip) -> None:
    one = clip("one.mkv", n=1, images=[view(0)], **LOSSLESS)
    assert compare(one, one).figures["warp_error"] is None


def test_the_command_prints_a_table_or_json(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(source), str(source)]) == 0
    table = capsys.readouterr().out
    assert "warp error" in table
    assert "style moved" not in table
    assert main(["compare", str(source), str(source), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["outputs"]
    assert row["frames"] == N
    assert row["figures"]["difference_bias"] == 0


def test_what_cannot_be_compared_is_said(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError):
        compare(source, tmp_path / "nothing.mp4")
    assert main(["compare", str(source), str(tmp_path / "nothing.mp4")]) == 3
    assert main(["compare", str(source)]) == 2
    assert main(["compare", str(source), str(source), "--style", "nonesuch"]) == 2
    assert capsys.readouterr().err.count("error: ") == 3
