"""nano on a card: the pictures of the CPU, frame by frame and as a shot, drawn upon, stopped and resumed."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from cards import CARD, CPU, ON_A_CARD, assert_near, exact, judges, pan, reference

from stdvid.config import StylizeConfig
from stdvid.diffusion.sampler import sample, sample_last
from stdvid.journal import Journal
from stdvid.media.frames import Frame
from stdvid.models.bundle import read_bundle
from stdvid.models.nano_stylizer import NanoStylizer
from stdvid.models.precision import fast_dtype
from stdvid.models.stylizer import to_frames, to_tensor
from stdvid.painter import Painter
from stdvid.schema import merge
from stdvid.temporal.windows import gather_windows
from stdvid.window_painter import WindowPainter

__all__ = ["judges"]

pytestmark = ON_A_CARD

TIMES = (599, 299, -1)
SIZE = (96, 64)
COUNT, WINDOW = 9, 5


@cache
def nano(kind: str) -> NanoStylizer:
    """The embedded student on a kind of device."""
    bundle = read_bundle("nano")
    return bundle.load(bundle.network_for(0.6)[0], torch.device(kind))


def pictures(device: torch.device, *, guidance: float = 1.0, in_float32: bool = False) -> np.ndarray:
    """Three frames repainted by the network alone, under noise of the CPU."""
    with exact() if in_float32 else nullcontext():
        stylizer = nano(device.type)
        frames = to_tensor(pan(3))
        condition = stylizer.condition(frames, stylizer.read_style([reference()]), 1.0)
        drawn = np.random.default_rng(0).standard_normal(condition.x_0.shape, np.float32)
        noise, start = torch.from_numpy(drawn).to(device), torch.tensor([TIMES[0]], device=device)
        x = stylizer.schedule.add_noise(condition.x_0, noise, start)
        steps = sample(stylizer.denoiser(condition, guidance), x, TIMES, stylizer.schedule)
        with torch.no_grad():
            painted = stylizer.decode(sample_last(steps))
        return to_frames(stylizer.canvas.unpad(painted, *frames.shape[-2:]))


def shot(windows: WindowPainter) -> list[np.ndarray]:
    """The frames of each window of a pan."""
    return [windows.paint(window, held) for window, held in pieces()]


def pieces() -> list:
    frames = [Frame(image, k, Fraction(1, 25), k) for k, image in enumerate(pan(COUNT))]
    return list(gather_windows(frames, WINDOW, 1))


def painter(device: torch.device, iterations: int) -> WindowPainter:
    """Of a shot with consistency "full" in 2 steps, with so many iterations of style guidance."""
    config = merge(
        StylizeConfig(),
        {
            "sampling": {"steps": 2, "style_guidance": iterations},
            "video": {"consistency": "full", "window": WINDOW, "overlap": 1},
        },
    )
    stylizer = nano(device.type)
    hands = Painter(stylizer, stylizer.read_style([reference()]), TIMES, config, SIZE, threading.Event())
    return WindowPainter(hands, config.video)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_nano_paints_what_the_cpu_paints(guidance: float) -> None:
    expected = pictures(CPU, guidance=guidance, in_float32=True)
    assert expected.std() > 10  # pictures
    same = pictures(CARD, guidance=guidance, in_float32=True)
    assert_near(same, expected, 0.05, 0.3, "nano in float32")
    fast = pictures(CARD, guidance=guidance)
    assert_near(fast, expected, 2, 8, f"nano in {fast_dtype(CARD)}")


@pytest.mark.parametrize("iterations", [0, 4], ids=["plain", "drawn"])
def test_a_shot_is_painted_as_on_the_cpu_and_alike_each_time(iterations: int, request: pytest.FixtureRequest) -> None:
    if iterations:
        request.getfixturevalue("judges")
    with exact():
        expected = np.concatenate(shot(painter(CPU, iterations)))
        same = np.concatenate(shot(painter(CARD, iterations)))
    first, second = (np.concatenate(shot(painter(CARD, iterations))) for _ in range(2))
    assert expected.reshape(len(expected), -1).std(1).min() > 10
    loose = 10 if iterations else 1  # sums are added up in any order there, and a descent makes much of little
    assert_near(same, expected, 0.1 * loose, 0.5 * loose, "a shot in float32")
    assert_near(first, expected, 2, 8, f"a shot in {fast_dtype(CARD)}")
    assert_near(second, first, 0.05 * loose, 0.5 * loose, "a shot painted twice")
    moved = np.abs(first[1:5, :, :-3] - first[:4, :, 3:]).mean()
    assert moved < 0.5 * np.abs(first[1:5] - first[:4]).mean()  # paint goes with the picture


def test_a_shot_goes_on_from_what_the_journal_has_kept(tmp_path: Path) -> None:
    windows = pieces()
    whole = painter(CARD, 0)
    begun = [whole.begin(window, held) for window, held in windows[:1]]
    with Journal(tmp_path / "out.mp4", "key") as journal:
        journal.add(1, WINDOW, [], begun[0].state())
    expected = whole.paint(*windows[1])
    resumed = painter(CARD, 0)
    resumed.skip(*windows[0])
    with Journal(tmp_path / "out.mp4", "key") as journal:
        resumed.restore(journal.state())
    assert_near(resumed.paint(*windows[1]), expected, 0.05, 0.5, "a shot resumed")
