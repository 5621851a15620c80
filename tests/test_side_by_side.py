"""Windows painted side by side by threads: the frames of one after another, errors and interrupts where they belong."""

from __future__ import annotations

import threading
import weakref
from fractions import Fraction

import numpy as np
import pytest
import torch

from stdvid.config import StylizeConfig
from stdvid.errors import Interrupted, ModelError
from stdvid.media.frames import Frame
from stdvid.models.nano_stylizer import NanoStylizer
from stdvid.painter import Image, Images, Painter
from stdvid.schema import merge
from stdvid.side_by_side import ThreadPainter
from stdvid.temporal.ways import Ways
from stdvid.temporal.windows import gather_windows
from stdvid.window_painter import Hands, WindowPainter

FRAMES, WINDOW, SIZE = 14, 4, (48, 32)


def picture(index: int) -> Image:
    return np.ascontiguousarray(noise(5, SIZE[1], SIZE[0] + FRAMES)[:, index : index + SIZE[0]])


def noise(seed: int, height: int, width: int) -> Image:
    """Of few colours: a palette of all of them takes seconds."""
    return np.random.default_rng(seed).integers(0, 4, (height, width, 3), np.uint8) * 85


def painter(stylizer: NanoStylizer, mode: str) -> Painter:
    video = {"consistency": mode, "window": WINDOW, "overlap": 1}
    config = merge(StylizeConfig(), {"video": video, "sampling": {"style_guidance": 4}})
    style = stylizer.read_style([noise(9, 64, 64)])
    return Painter(stylizer, style, (599, 299, -1), config, SIZE, threading.Event())


def painted(hands: Hands, config: StylizeConfig) -> list[np.ndarray]:
    frames = (Frame(picture(i), i, Fraction(1, 25), i) for i in range(FRAMES))
    windows = gather_windows(frames, WINDOW, 1)
    return [begun.frames() for begun in WindowPainter(hands, config.video).paint_all(windows)]


@pytest.mark.parametrize("mode", ["full", "flow", "noise", "none"])
@pytest.mark.parametrize("workers", [2, 3])
def test_threads_paint_the_frames_of_one(stylizer: NanoStylizer, mode: str, workers: int) -> None:
    alone = painter(stylizer, mode)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = painted(alone, alone.config)
        with ThreadPainter(painter(stylizer, mode), workers) as hands:
            found = painted(hands, alone.config)
            assert 0 < hands.network_seconds < hands.painter.network_seconds
    finally:
        torch.set_num_threads(threads)
    assert len(found) == len(expected) > 3
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_goes_wrong_in_a_thread_is_raised_where_it_is_waited_for(
    stylizer: NanoStylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = painter(stylizer, "full")

    def broken(*_: object) -> None:
        raise ModelError("broken")

    monkeypatch.setattr(own, "anchor", broken)
    with ThreadPainter(own, 2) as hands, pytest.raises(ModelError, match="broken"):
        painted(hands, own.config)


def test_an_interrupt_ends_the_wait(stylizer: NanoStylizer) -> None:
    own = painter(stylizer, "full")
    own.stop.set()
    with ThreadPainter(own, 2) as hands, pytest.raises(Interrupted):
        painted(hands, own.config)


def test_what_waits_for_another_task_holds_no_thread(stylizer: NanoStylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    own = painter(stylizer, "full")
    gate, images = threading.Event(), np.stack([picture(0), picture(1)])

    def look(_: Image) -> str:
        assert gate.wait(20)  # only a failing test waits so long
        return "a look"

    monkeypatch.setattr(own, "look", look)
    monkeypatch.setattr(own, "anchor", lambda _, given, *__: given)
    with ThreadPainter(own, 2) as hands:
        anchor = hands.anchor(images[0], hands.look(images))  # waits for a look that is not there
        assert hands.value(hands.ways(images)).first[0] is None  # which keeps no thread from others
        assert not anchor.done()
        gate.set()
        assert hands.value(anchor) == "a look"


def test_what_windows_needed_is_let_go(stylizer: NanoStylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    own, made, alive = painter(stylizer, "full"), [], []  # type: ignore[var-annotated]

    def ways(images: Images) -> Ways:
        found = Ways.through(images)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(own, "ways", ways)
    frames = (Frame(picture(i), i, Fraction(1, 25), i) for i in range(FRAMES))
    with ThreadPainter(own, 2) as hands:
        for begun in WindowPainter(hands, own.config.video).paint_all(gather_windows(frames, 3, 1)):
            begun.frames()
            del begun
            alive.append(sum(ref() is not None for ref in made))
    assert len(alive) > 5
    assert max(alive) <= 4
