"""The whole path on models of the hub, tiny ones of the real classes: real clips in, real files out."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_models
import torch
from clips import frames_of

from stdvid import journal
from stdvid.config import StylizeConfig, load_preset
from stdvid.errors import Interrupted
from stdvid.media.frames import Frame
from stdvid.media.timebase import parse_time_point
from stdvid.models.catalogue import find_model, load_model
from stdvid.models.latent_stylizer import LatentStylizer
from stdvid.painter import Painter, stacked
from stdvid.preview import find_moment, paint_moment
from stdvid.schema import merge
from stdvid.stylize import Job, plan, run
from stdvid.temporal.windows import gather_windows
from stdvid.window_painter import WindowPainter
from stdvid_cli.app import main

Clip = Callable[..., Path]
CPU = torch.device("cpu")
PLAIN: dict[str, Any] = {
    "sampling": {"steps": 2, "style_guidance": 0},
    "video": {"size": 64},
    "encode": {"crf": 0, "enc": {"preset": "ultrafast"}},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.build_all(tmp_path_factory.mktemp("tiny"))


def preset(tiny: Path, kind: str = "sd15", motion: bool = False, lora: str = "") -> Path:
    """A preset beside the models, which it names by paths relative to itself; `lora`: more keys of it."""
    name = f"{kind}{'-moving' * motion}{abs(hash(lora)) * bool(lora)}"
    lines = [
        "[model]",
        f"base = './{kind}'",
        f"motion_adapter = './{kind}-motion'" if motion else "",
        "[[model.lora]]",
        f"path = '{kind}-lora.safetensors'",
        lora,
        "[model.ip_adapter]",
        f"path = './{kind}-ip'",
        "weight_name = 'ip.safetensors'",
    ]
    path = tiny / f"{name}.toml"
    path.write_text("\n".join(lines))
    return path


def config_of(path: Path, *overrides: dict[str, Any]) -> StylizeConfig:
    config = load_preset(str(path), PLAIN)
    for override in overrides:
        config = merge(config, override)
    return config


def pan(count: int, size: int = 64) -> list[np.ndarray]:
    """A camera that moves to the right over a still picture."""
    coarse = np.random.default_rng(7).integers(40, 216, (8, 20, 3), np.uint8)
    wide = cv2.resize(coarse, (size * 5 // 2, size), interpolation=cv2.INTER_CUBIC)
    return [wide[:, i : i + size].copy() for i in range(count)]


def film(clip: Clip, count: int = 40) -> Path:
    return clip(f"pan{count}.mp4", n=count, size=(64, 64), images=pan(count))


FAST = {
    ("sd15", False): ("full",),
    ("sdxl", False): ("none",),
    ("sd15", True): ("flow",),
    ("sdxl", True): ("noise",),
}


@pytest.mark.parametrize(
    ("kind", "motion", "mode"),
    [
        pytest.param(kind, motion, mode, marks=[] if mode in modes else [pytest.mark.slow])
        for (kind, motion), modes in FAST.items()
        for mode in ("none", "noise", "flow", "full")
    ],
)
def test_as_many_frames_out_as_in_at_the_same_times(
    tiny: Path, clip: Clip, style: Path, tmp_path: Path, kind: str, motion: bool, mode: str
) -> None:
    config = config_of(preset(tiny, kind, motion), {"video": {"consistency": mode}})
    planned = plan(Job(film(clip), (style,), tmp_path / "out.mp4", config))
    assert planned.model.name.endswith(f"/{kind}")
    assert run(planned).frames == 40
    (before, times), (after, new_times) = frames_of(film(clip)), frames_of(tmp_path / "out.mp4")
    assert new_times == times
    assert after.shape == before.shape
    assert after.reshape(40, -1).std(1).min() > 5  # no frame is of one colour
    assert np.abs(after.astype(int) - before).mean() > 5  # nor what it was


def test_a_preset_file_from_the_command_line_and_its_prompt(
    tiny: Path, clip: Clip, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)  # the paths in the preset are not relative to this
    common = ["--preset", str(preset(tiny)), "--size", "64", "--steps", "2", "--style-guidance", "0", "-q"]
    command = ["stylize", str(film(clip, 3)), "--style", str(style), *common, "--crf", "0"]
    for name, options in [("a", []), ("b", ["--prompt", "the ink"])]:
        assert main([*command, "-o", f"{name}.mp4", *options, "--guidance", "5"]) == 0, capfd.readouterr().err
    plain, prompted = (frames_of(tmp_path / f"{name}.mp4")[0].astype(int) for name in "ab")
    assert len(plain) == len(prompted) == 3
    assert np.abs(plain - prompted).max() > 8
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "text", "words"),
    [
        (["--prompt", "ink"], "", "takes no --prompt"),
        (["--negative-prompt", "ink"], "", "takes no --negative-prompt"),
        ([], "[[model.lora]]\npath = 'a.safetensors'", "takes no lora"),
        ([], "[model]\nvae = './vae'", "takes no vae"),
        ([], "[model.ip_adapter]\npath = './ip'\nweight_name = 'ip.safetensors'", "takes no ip_adapter"),
        ([], "[sampling]\nsampler = 'published'", "takes no sampler 'published'"),
    ],
)
@pytest.mark.error_log
def test_the_embedded_model_takes_nothing_of_that(
    clip: Clip, style: Path, tmp_path: Path, capfd: Any, options: list[str], text: str, words: str
) -> None:
    (tmp_path / "mine.toml").write_text(text)
    output = tmp_path / "out.mp4"
    command = ["stylize", str(film(clip, 3)), "--style", str(style), "-o", str(output), *options]
    assert main([*command, "--preset", str(tmp_path / "mine.toml")]) == 2
    err = capfd.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not output.exists()


# --- students -------------------------------------------------------------------------------------------------------


def test_a_strength_is_rounded_to_that_of_a_student(tiny: Path, clip: Clip, style: Path, tmp_path: Path) -> None:
    students = preset(tiny, lora="strength = 0.6\nstart = 599")
    for strength, noted in ((0.5, True), (0.6, False)):
        config = config_of(students, {"sampling": {"strength": strength}})
        planned = plan(Job(film(clip, 3), (style,), tmp_path / "out.mp4", config))
        assert any("strength 0.5 rounded to 0.6" in note for note in planned.notes) == noted
        assert planned.times == (599, 299, -1)
        assert planned.network.file == "sd15-lora.safetensors"


def test_a_lora_says_itself_what_it_was_distilled_for(tiny: Path, tmp_path: Path) -> None:
    for start, strength in ((739, "0.75"), (499, "0.5")):
        said = {"stdvid.strength": strength, "stdvid.start": str(start)}
        tiny_models.kohya_lora("sd15", tmp_path / f"{start}.safetensors", **said)
    (tmp_path / "mine.toml").write_text(
        f"[model]\nbase = '{tiny / 'sd15'}'\n"
        "[[model.lora]]\npath = './739.safetensors'\n[[model.lora]]\npath = '499.safetensors'\n"
    )
    config = load_preset(str(tmp_path / "mine.toml"))
    found = find_model(config.model, config.sampling)
    assert [(n.file, n.strength, n.start) for n in found.networks] == [
        ("739.safetensors", 0.75, 739),
        ("499.safetensors", 0.5, 499),
    ]
    entry, start, note = found.network_for(0.7)
    assert (entry.file, start) == ("739.safetensors", 739)
    assert note is not None
    own = dataclasses.replace(config.model.lora[0], strength=0.9, start=899)  # the preset knows better
    model = dataclasses.replace(config.model, lora=(own,))
    assert find_model(model, config.sampling).network_for(0.9)[1:] == (899, None)


# --- windows --------------------------------------------------------------------------------------------------------


def painter_of(path: Path, *overrides: dict[str, Any]) -> WindowPainter:
    config = config_of(path, *overrides)
    model = find_model(config.model, config.sampling)
    stylizer = load_model(config.model, config.sampling, model.networks[0], CPU)
    reference = np.random.default_rng(99).integers(0, 256, (40, 40, 3), np.uint8)
    hands = Painter(stylizer, stylizer.read_style([reference]), (599, 299, -1), config, (64, 64), threading.Event())
    return WindowPainter(hands, config.video)


def shot(count: int, window: int) -> list[tuple[Any, list[Frame]]]:
    frames = [Frame(image, i, Fraction(1, 25), i) for i, image in enumerate(pan(count))]
    return list(gather_windows(frames, window, 1))


@pytest.mark.parametrize("motion", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_windows_in_any_order_and_side_by_side(tiny: Path, motion: bool) -> None:
    """With consistency "full": the same frames, bit for bit, from 1 worker in order and from 3 in any."""
    own = painter_of(preset(tiny, "sd15", motion), {"video": {"consistency": "full", "window": 5}})
    pieces = shot(13, 5)
    in_order = [own.paint(window, held) for window, held in pieces]
    hands = own.hands
    windows = [stacked(held[: window.n_frames]) for window, held in pieces]
    look, ways = hands.look(windows[0]), [hands.ways(images) for images in windows]
    anchors = [hands.anchor(windows[0][0], look)]
    for images, way in zip(windows, ways, strict=True):
        anchors.append(hands.anchor(images[-1], look, anchors[-1], way))

    def work(number: int) -> np.ndarray:
        return hands.between(windows[number], look, ways[number], anchors[number], anchors[number + 1])

    order = [2, 0, 1]
    with ThreadPoolExecutor(3) as workers:
        together = dict(zip(order, workers.map(work, order), strict=True))
    assert len(in_order) == 3
    for number, painted in enumerate(in_order):
        np.testing.assert_array_equal(together[number], painted)
        np.testing.assert_array_equal(work(number), painted)
    assert np.abs(in_order[0][0] - in_order[0][3]).mean() > 1  # it is a pan


def test_with_guidance_both_halves_are_one_call_but_where_anchors_are_seen(tiny: Path) -> None:
    batches: dict[str, list[int]] = {}
    for mode in ("noise", "full"):
        own = painter_of(
            preset(tiny), {"video": {"consistency": mode, "overlap": 1, "window": 4}, "sampling": {"guidance": 5.0}}
        )
        seen = batches[mode] = []
        stylizer = own.hands.stylizer  # type: ignore[attr-defined]
        handle = stylizer.unet.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(len(args[0])))
        own.paint(*shot(4, 4)[0])
        handle.remove()
    assert batches == {"noise": [8, 8], "full": [1] * 8 + [2] * 4}


@pytest.mark.parametrize("mode", ["noise", pytest.param("full", marks=pytest.mark.slow)])
def test_a_window_longer_than_motion_modules_see(tiny: Path, mode: str) -> None:
    own = painter_of(preset(tiny, "sdxl", True), {"video": {"consistency": mode, "window": 24, "overlap": 4}})
    stylizer = own.hands.stylizer  # type: ignore[attr-defined]
    assert isinstance(stylizer, LatentStylizer)
    seen: list[int] = []
    handle = stylizer.unet.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[2]))
    (window, frames), *_ = shot(24, 24)
    try:
        painted = own.paint(window, frames)
    finally:
        handle.remove()
    calls = [count for count in seen if count > 1]  # anchors are painted alone
    assert painted.shape == (24, 64, 64, 3)
    assert set(calls) == {16}
    assert len(calls) in (4, 5)  # 2 or 3 contexts for each of 2 steps
    assert painted.reshape(24, -1).std(1).min() > 5


# --- going on, and other ways in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("motion", "mode"), [(False, "full"), *(pytest.param(True, m, marks=pytest.mark.slow) for m in ("noise", "full"))]
)
def test_stopped_and_resumed_the_output_is_the_same(
    tiny: Path, clip: Clip, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, motion: bool, mode: str
) -> None:
    monkeypatch.setattr("stdvid.recording.SEGMENT_FRAMES", 5)
    video = {"video": {"window": 5, "overlap": 2, "consistency": mode}}
    config = config_of(preset(tiny, "sd15", motion), video)
    run(plan(Job(film(clip, 14), (style,), tmp_path / "whole.mp4", config)))
    wanted = Job(film(clip, 14), (style,), tmp_path / "parts.mp4", config)
    for after in (9,) if mode == "full" else (4, 9):
        stop = threading.Event()
        with pytest.raises(Interrupted, match="frames are kept"):
            run(plan(wanted), lambda now, n=after, stop=stop: stop.set() if now.frames_done >= n else None, stop)  # type: ignore[misc]
    assert run(plan(wanted)).resumed >= 9
    assert wanted.output.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not journal.folder_of(wanted.output).exists()


def test_strokes_are_drawn_and_a_preview_shows_the_frame(tiny: Path, clip: Clip, style: Path, tmp_path: Path) -> None:
    source, reference = film(clip, 3), cv2.imread(str(style))[:, :, ::-1].copy()
    moment = find_moment(source, parse_time_point("2f"), config_of(preset(tiny)))
    cells = []
    for drawn in (0, 4):
        config = config_of(preset(tiny), {"sampling": {"style_guidance": drawn}, "video": {"consistency": "noise"}})
        cells.append(paint_moment(moment, [reference], config, CPU).image)
    assert np.abs(cells[0].astype(int) - cells[1]).mean() > 1
    run(plan(Job(source, (style,), tmp_path / "out.mp4", config)))
    frame = frames_of(tmp_path / "out.mp4")[0][2]
    grey, painted = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int) for image in (frame, cells[1]))
    assert np.abs(grey - painted).mean() < 4  # the file has half the resolution of colour
