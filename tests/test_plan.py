"""Plans by hand: frames, memory, estimates, devices, and in which order mistakes are found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from stdvid.config import StylizeConfig
from stdvid.errors import InputError, ModelError, OutputError, OutputExistsError, UsageError
from stdvid.media.timebase import parse_time_point
from stdvid.models.bundle import Bundle, Trained, write_bundle
from stdvid.models.nano import Nano
from stdvid.planning import resolve_device
from stdvid.schema import merge
from stdvid.stylize import Job, Progress, plan, run

Clip = Callable[..., Path]
Make = Callable[..., Job]
TINY: dict[str, Any] = {"channels": [16, 16, 16], "layers": 1, "heads": 2, "token_dim": 16, "vector_dim": 16}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Nano(**TINY)
    return write_bundle(tmp_path_factory.mktemp("plan") / "tiny", "tiny", TINY, [Trained(model, 0.6, 599)], "# Tiny\n")


@pytest.fixture
def make(clip: Clip, bundle: Bundle, tmp_path: Path) -> Make:
    """make({"video": {...}}, start="3f", ...): a job on a clip of 12 frames, 64x48 at 25 a second."""
    style = tmp_path / "style.png"
    cv2.imwrite(str(style), np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))

    def job(overrides: dict[str, Any] | None = None, **options: Any) -> Job:
        base = {
            "model": {"base": str(bundle.folder)},
            "sampling": {"steps": 2, "style_guidance": 0},
            "encode": {"enc": {"preset": "ultrafast"}},
        }
        config = merge(merge(StylizeConfig(), base), overrides or {})
        points = {k: parse_time_point(options.pop(k)) for k in ("start", "end") if k in options}
        given = {"source": clip("plan.mp4", n=12), "styles": (style,), "output": tmp_path / "out.mp4"} | options
        return Job(config=config, **given, **points)

    return job


@pytest.mark.parametrize(
    ("points", "frames"),
    [
        ({}, 12),
        ({"start": "3f"}, 9),
        ({"end": "5f"}, 5),
        ({"start": "0.2"}, 7),
        ({"start": "2f", "end": "0.4"}, 8),
        ({"end": "60"}, 12),
        ({"end": "0.1"}, 3),
        ({"start": "900f"}, 1),
    ],
)
def test_frames_that_are_to_be_expected(make: Make, points: dict[str, str], frames: int) -> None:
    assert plan(make(**points)).frames == frames


@pytest.mark.parametrize(("window", "overlap", "windows"), [(16, 4, 1), (12, 0, 1), (5, 2, 4), (4, 0, 3), (2, 1, 11)])
def test_windows_that_cover_them(make: Make, window: int, overlap: int, windows: int) -> None:
    assert plan(make({"video": {"window": window, "overlap": overlap, "consistency": "flow"}})).windows == windows


@pytest.mark.parametrize(("window", "windows"), [(16, 1), (12, 1), (6, 3), (5, 3), (2, 11), (1, 11)])
def test_windows_that_share_their_ends(make: Make, window: int, windows: int) -> None:
    planned = plan(make({"video": {"window": window, "overlap": 0, "consistency": "full"}}))
    assert planned.windows == windows
    assert planned.to_dict()["overlap_frames"] == 1


def test_memory_by_hand_and_flat_in_duration(make: Make, clip: Clip) -> None:
    # 64 x 48 pixels, 16 frames, 3 channels of 4 floats and 3 bytes; 600 000 pixels of activations at 450 bytes
    assert plan(make()).memory_mib() == round(500 + (16 * 3072 * (57 + 36) + 600_000 * 450) / 2**20) == 762
    assert plan(make(source=clip("long.mp4", n=40))).memory_mib() == 762
    wide = plan(make({"video": {"size": "1000x1000", "window": 1, "overlap": 0, "consistency": "flow"}}))
    assert wide.memory_mib() == round(500 + (1_000_000 * 57 + 1_000_000 * 450) / 2**20)
    guided = plan(
        make(
            {
                "sampling": {"style_guidance": 1},
                "video": {"size": "1000x1000", "window": 1, "overlap": 0, "consistency": "flow"},
            }
        )
    )
    assert guided.memory_mib() == round(500 + (1_000_000 * 57 + 1_000_000 * 5450) / 2**20)


@pytest.mark.parametrize(
    ("consistency", "guidance", "steps", "calls"),
    [("noise", 1.0, 2, 28), ("none", 2.0, 2, 56), ("noise", 1.0, 5, 70), ("flow", 1.0, 2, 24), ("flow", 2.0, 5, 120)],
)
def test_the_estimate_by_hand(
    make: Make, monkeypatch: pytest.MonkeyPatch, consistency: str, guidance: float, steps: int, calls: int
) -> None:
    monkeypatch.setattr("stdvid.planning._matmul_flops_per_s", lambda *_: 1e9)  # a known machine
    monkeypatch.setattr("stdvid.planning.NETWORK_SHARE_OF_MATMUL", {torch.float32: 0.5, torch.bfloat16: 0.5})
    # two windows, 8 and 6 real frames: 14 * steps calls; with flow the 2 that they share are painted once
    video = {"window": 8, "overlap": 2, "consistency": consistency}
    planned = plan(make({"sampling": {"guidance": guidance, "steps": steps}, "video": video}))
    pixels, frames = (64 + 32) * (48 + 32), {"flow": 12}.get(consistency, 14)
    around = {"flow": 150_000}.get(consistency, 50_000) * frames
    assert planned.estimate_s == pytest.approx(
        planned.model.flops_per_pixel * pixels * calls / 0.5e9 + around * pixels / 1e9
    )


@pytest.mark.parametrize(
    ("least", "steps", "share"),
    [(None, 4, 1), (4, 4, 1), (1, 4, 0.125), (2, 4, 0.25), (1, 8, 0.125), (5, 2, 1), (1, 1, 0.5), (2, 1, 1)],
)
def test_frames_between_anchors_are_estimated_by_what_is_new(
    make: Make, monkeypatch: pytest.MonkeyPatch, least: int | None, steps: int, share: float
) -> None:
    monkeypatch.setattr("stdvid.planning._matmul_flops_per_s", lambda *_: 1e9)
    monkeypatch.setattr("stdvid.planning.NETWORK_SHARE_OF_MATMUL", {torch.float32: 0.5, torch.bfloat16: 0.5})
    planned = plan(make({"sampling": {"steps": steps, "steps_between": least}, "video": {"window": 6, "overlap": 1}}))
    calls = (3 + 9 * share) * steps  # three windows, each of which ends in an anchor; 12 frames
    pixels = (64 + 32) * (48 + 32)
    expected = planned.model.flops_per_pixel * pixels * calls / 0.5e9 + 12 * 180_000 * pixels / 1e9
    assert planned.estimate_s == pytest.approx(expected)


@pytest.mark.parametrize(("consistency", "drawn"), [("noise", 14), ("flow", 12 * 0.25), ("full", 12 * 0.25)])
def test_style_guidance_is_in_the_estimate(
    make: Make, monkeypatch: pytest.MonkeyPatch, consistency: str, drawn: float
) -> None:
    monkeypatch.setattr("stdvid.planning._matmul_flops_per_s", lambda *_: 1e9)
    monkeypatch.setattr("stdvid.planning.NETWORK_SHARE_OF_MATMUL", {torch.float32: 0.5, torch.bfloat16: 0.5})
    video = {"window": 8, "overlap": 2, "consistency": consistency}
    plain, guided = (plan(make({"sampling": {"style_guidance": n}, "video": video})).estimate_s for n in (0, 10))
    assert plain is not None
    assert guided == pytest.approx(plain + drawn * 10 * 125_000 * (64 + 32) * (48 + 32) / 0.5e9)


def test_the_speed_of_this_machine_is_measured_once(make: Make) -> None:
    planned = plan(make())
    first = planned.estimate_s
    assert first is not None
    assert first > 0
    assert planned.to_dict()["estimate_s"] == float(f"{first:.2g}")


def test_a_clip_of_unknown_length_is_planned_and_run_without_promises(make: Make) -> None:
    planned = dataclasses.replace(plan(make()), frames=None)
    facts = json.loads(json.dumps(planned.to_dict(), default=str))
    assert (planned.windows, planned.estimate_s) == (None, None)
    assert (facts["frames"], facts["windows"], facts["estimate_s"]) == (None, None, None)
    seen: list[Progress] = []
    assert run(planned, seen.append).frames == 12
    assert {(now.frames_total, now.eta_s) for now in seen} == {(None, None)}


def test_a_plan_repeats_what_was_asked_and_what_was_decided(make: Make, bundle: Bundle) -> None:
    job = make({"sampling": {"steps": 3, "seed": 7}, "video": {"size": 32, "consistency": "none"}}, device="cpu")
    facts = plan(job).to_dict()
    assert facts["precision"] in ("fp32", "bf16")  # the bundle has no int8 network
    settled = merge(job.config, {"model": {"precision": facts["precision"]}})
    assert facts["config"] == dataclasses.asdict(settled)
    assert (facts["model"], facts["network"]) == ("tiny", "student_eta0.60.safetensors")
    assert (facts["strength"], facts["start_time"], facts["steps"], facts["seed"]) == (0.6, 599, 3, 7)
    assert (facts["size"], facts["consistency"], facts["device"]) == ("42x32", "none", "cpu")
    assert facts["source"]["path"] == facts["input"] == str(job.source)


@pytest.mark.parametrize(
    ("strength", "notes"), [(0.6, ()), (0.3, ("strength 0.3 rounded to 0.6; 'tiny' has students for 0.6",))]
)
def test_rounding_is_noted(make: Make, strength: float, notes: tuple[str, ...]) -> None:
    planned = plan(make({"sampling": {"strength": strength}}))
    assert planned.notes == notes
    assert planned.times[0] == 599


@pytest.mark.parametrize(
    ("overrides", "options", "error", "words"),
    [
        ({}, {"source": Path("none.mp4")}, InputError, "no such file"),
        ({}, {"styles": (Path("none.png"),)}, InputError, "style reference: "),
        ({}, {"output": Path("nowhere/out.mp4")}, OutputError, "there is no folder"),
        ({}, {"output": Path("out.abc")}, UsageError, "extension .abc"),
        ({}, {"device": "tpu"}, UsageError, "device 'tpu' is not available"),
        ({"encode": {"codec": "libnothing"}}, {}, UsageError, "'libnothing' is not an encoder"),
        ({"encode": {"codec": "h264_none", "crf": None}}, {}, UsageError, "'h264_none'"),
        ({"sampling": {"steps": 1000}}, {}, UsageError, "1000 steps from time 599; allowed are 1 to 600"),
        ({"model": {"base": "nanoo"}}, {}, UsageError, "no model named 'nanoo'"),
        ({"model": {"base": "."}}, {}, ModelError, "not a model bundle"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: Any, options: Any, error: Any, words: str
) -> None:
    job = make(overrides, **options)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error) as caught:
        plan(job)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("overwrite", [None, False])
def test_an_output_that_exists_is_found_before_the_input_is_opened(make: Make, tmp_path: Path, overwrite: Any) -> None:
    (tmp_path / "out.mp4").write_bytes(b"old")
    with pytest.raises(OutputExistsError, match="use -y"):
        plan(make(source=tmp_path / "none.mp4", overwrite=overwrite))
    assert plan(make(overwrite=True)).frames == 12


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    there = {
        "cpu",
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
    }
    assert resolve_device("auto").type in there
    for name in {"cuda", "mps", "gpu", "CPU"} - there:
        with pytest.raises(UsageError, match=f"device '{name}' is not available; usable here: cpu"):
            resolve_device(name)


def test_weights_damaged_between_plan_and_run_leave_nothing(make: Make, bundle: Bundle, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for path in bundle.folder.iterdir():
        (own / path.name).write_bytes(path.read_bytes())
    planned = plan(make({"model": {"base": str(own)}}))
    with (own / planned.network.file).open("ab") as file:
        file.write(b"?")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModelError, match="SHA-256"):
        run(planned)
    assert sorted(tmp_path.iterdir()) == before


def test_a_style_is_not_written_over(make: Make) -> None:
    style = make().styles[0]
    before = style.read_bytes()
    with pytest.raises(UsageError, match="is an input itself"):
        plan(make(output=style, overwrite=True))
    assert style.read_bytes() == before


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ({"end": "0"}, "leaves no frame"),
        ({"end": "0f"}, "leaves no frame"),
        ({"start": "2", "end": "1"}, "not before end"),
    ],
)
def test_an_empty_range_is_refused_before_any_work(make: Make, points: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan(make(**points))
