"""Painting one window: what is computed, what is not, and on what a frame depends."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from stdvid.config import StylizeConfig
from stdvid.errors import Interrupted
from stdvid.media.frames import Frame
from stdvid.models.nano_stylizer import NanoStylizer
from stdvid.models.precision import fast_dtype
from stdvid.models.stylizer import Style
from stdvid.painter import Painter, stacked
from stdvid.schema import merge
from stdvid.style_guidance import StyleGuidance
from stdvid.temporal.ways import Ways
from stdvid.temporal.windows import Window, gather_windows
from stdvid.window_painter import WindowPainter

TOLERANCE = 0.01 if fast_dtype(torch.device("cpu")) is torch.float32 else 6.0
"""Of pixel values; bfloat16 keeps 8 bits."""


def frame(index: int, look: int | None = None) -> Frame:
    image = np.random.default_rng(index if look is None else look).integers(0, 256, (24, 32, 3), np.uint8)
    return Frame(image, index, Fraction(1, 25), index)


@cache
def style_of(stylizer: NanoStylizer) -> Style:
    return stylizer.read_style([np.random.default_rng(99).integers(0, 256, (40, 40, 3), np.uint8)])


def painter(
    stylizer: NanoStylizer, times: tuple[int, ...] = (599, -1), size: tuple[int, int] = (32, 24), **sections: Any
) -> WindowPainter:
    config = merge(StylizeConfig(), {"sampling": {"color": 0.0, "style_guidance": 0}})
    config = merge(config, sections)
    return WindowPainter(Painter(stylizer, style_of(stylizer), times, config, size, threading.Event()), config.video)


def calls_of(stylizer: NanoStylizer, work: Callable[[], object]) -> list[int]:
    """The batch of each network call during `work`."""
    batches: list[int] = []
    handle = stylizer.model.unet.register_forward_hook(lambda module, args, out: batches.append(len(args[0])))
    work()
    handle.remove()
    return batches


def test_only_real_frames_are_painted_whatever_pads_the_window(stylizer: NanoStylizer) -> None:
    window, real = Window(0, 0, 2, 2), [frame(0), frame(1)]
    out = painter(stylizer).paint(window, [*real, real[-1], real[-1]])
    assert out.shape == (2, 24, 32, 3)
    assert out.dtype == np.float32
    assert 0 <= float(out.min()) < float(out.max()) <= 255
    np.testing.assert_array_equal(painter(stylizer).paint(window, [*real, frame(7), frame(8)]), out)


@pytest.mark.parametrize(
    ("times", "guidance", "size", "calls"),
    [
        ((599, -1), 1.0, (32, 24), [3]),
        ((599, 299, -1), 1.0, (32, 24), [3, 3]),
        ((599, 299, -1), 2.0, (32, 24), [3, 3, 3, 3]),
        ((599, -1), 1.0, (600, 500), [2, 1]),
        ((599, 299, -1), 1.0, (1000, 600), [1] * 6),
    ],
)
@pytest.mark.parametrize("consistency", ["none", "noise", "flow"])
def test_network_calls_are_steps_times_groups_times_guidance(
    stylizer: NanoStylizer,
    times: tuple[int, ...],
    guidance: float,
    size: tuple[int, int],
    calls: list[int],
    consistency: str,
) -> None:
    own = painter(stylizer, times, size, sampling={"guidance": guidance}, video={"consistency": consistency})
    frames = [frame(i) for i in range(3)]
    assert calls_of(stylizer, lambda: own.paint(Window(0, 0, 3), frames)) == calls


@pytest.mark.parametrize(("size", "group"), [((100, 60), 100), ((1000, 600), 1), ((4000, 3000), 1), ((500, 400), 3)])
def test_groups_hold_so_many_pixels_and_never_nothing(
    stylizer: NanoStylizer, size: tuple[int, int], group: int
) -> None:
    assert painter(stylizer, size=size).hands.group == group


def test_own_noise_depends_on_the_seed_and_the_frame_alone(stylizer: NanoStylizer) -> None:
    boiling = painter(stylizer, video={"consistency": "none"})
    early = boiling.paint(Window(0, 3, 6), [frame(3), frame(4), frame(5)])
    late = boiling.paint(Window(1, 5, 7), [frame(5), frame(6)])
    np.testing.assert_allclose(early[2], late[0], atol=TOLERANCE)
    twins = boiling.paint(Window(0, 0, 2), [frame(0, look=1), frame(1, look=1)])
    assert float(abs(twins[0] - twins[1]).mean()) > 1
    other = painter(stylizer, video={"consistency": "none"}, sampling={"seed": 1})
    assert float(abs(other.paint(Window(1, 5, 7), [frame(5), frame(6)])[0] - late[0]).mean()) > 1


def test_one_noise_for_all_paints_equal_frames_alike(stylizer: NanoStylizer) -> None:
    twins = painter(stylizer, video={"consistency": "noise"}).paint(
        Window(4, 8, 10), [frame(8, look=1), frame(9, look=1)]
    )
    np.testing.assert_allclose(twins[0], twins[1], atol=TOLERANCE)


def pan(count: int, step: int = 3) -> list[Frame]:
    """A camera that moves `step` pixels a frame to the right over a still picture."""
    coarse = np.random.default_rng(7).integers(40, 216, (16, 40, 3), np.uint8)
    wide = cv2.resize(coarse, (160, 64), interpolation=cv2.INTER_CUBIC)
    return [Frame(wide[:, step * i : step * i + 96].copy(), i, Fraction(1, 25), i) for i in range(count)]


def test_strokes_move_with_the_picture(stylizer: NanoStylizer) -> None:
    """The part that two neighbours both show is painted alike: far more so than under noise fixed to the screen."""
    errors = {}
    for mode in ("flow", "full", "noise"):
        own = painter(stylizer, (599, 299, -1), (96, 64), video={"consistency": mode}, sampling={"color": 1.0})
        out = own.paint(Window(0, 0, 6), pan(6))
        errors[mode] = float(np.mean([abs(b[8:-8, 8:-12] - a[8:-8, 11:-9]).mean() for a, b in pairwise(out)]))
    assert max(errors["flow"], errors["full"]) < 0.3 * errors["noise"]


def test_windows_of_a_shot_are_a_chain_without_a_seam(stylizer: NanoStylizer) -> None:
    frames, video = pan(9), {"consistency": "flow", "window": 5, "overlap": 1}
    one = painter(stylizer, size=(96, 64), video=video).paint(Window(0, 0, 9), frames)
    own = painter(stylizer, size=(96, 64), video=video)
    calls: list[int] = []
    parts = []
    for window in (Window(0, 0, 5), Window(1, 4, 9)):
        calls += calls_of(stylizer, lambda w=window: parts.append(own.paint(w, frames[w.start : w.stop])))
    np.testing.assert_array_equal(parts[0][-1], parts[1][0])
    assert calls == [5, 4]  # the shared frame is painted once
    assert float(abs(np.concatenate([parts[0], parts[1][1:]]) - one).mean()) < 2  # but for the palette of the window
    again = own.paint(Window(0, 0, 5), frames[:5])  # a new shot begins afresh
    np.testing.assert_array_equal(again, parts[0])


FOUR_STEPS = (599, 449, 299, 149, -1)


def blinking(count: int) -> list[Frame]:
    """A still picture, in each frame of which something else is to be seen for that frame alone."""
    frames = [pan(1)[0].image.copy() for _ in range(count)]
    for i, image in enumerate(frames):
        square = image[20:36, 4 + 13 * i : 16 + 13 * i]
        square[:] = 255 - square
    return [Frame(image, i, Fraction(1, 25), i) for i, image in enumerate(frames)]


@pytest.mark.parametrize(
    ("least", "calls"), [(None, [3] * 4), (9, [3] * 4), (4, [3] * 4), (3, [1] * 12), (2, [1] * 6), (1, [1] * 3)]
)
def test_frames_of_which_little_is_new_take_fewer_steps(
    stylizer: NanoStylizer, least: int | None, calls: list[int]
) -> None:
    own = painter(stylizer, FOUR_STEPS, (96, 64), sampling={"steps_between": least})
    assert calls_of(stylizer, lambda: own.paint(Window(0, 0, 5), blinking(5))) == [1] * 8 + calls


@pytest.mark.parametrize(("least", "calls"), [(1, 2), (2, 3)])
def test_of_one_step_too_the_network_sees_the_new_part_alone(stylizer: NanoStylizer, least: int, calls: int) -> None:
    own = painter(stylizer, (599, -1), (96, 64), sampling={"steps": 1, "steps_between": least})
    assert calls_of(stylizer, lambda: own.paint(Window(0, 0, 3), pan(3, step=0))) == [1] * calls


@pytest.mark.parametrize(("columns", "calls"), [(0, 1), (8, 2), (48, 4)])
def test_anchors_take_as_many_steps_as_their_new_part_is_worth(
    stylizer: NanoStylizer, columns: int, calls: int
) -> None:
    own = painter(stylizer, FOUR_STEPS, (96, 64), sampling={"steps_between": 1})
    frames = pan(2, step=0)
    frames[1].image[:, :columns] ^= 255
    assert calls_of(stylizer, lambda: own.paint(Window(0, 0, 2), frames)) == [1] * (4 + calls)


def test_frames_that_are_new_take_all_steps_beside_others_that_are_not(stylizer: NanoStylizer) -> None:
    own = painter(stylizer, FOUR_STEPS, (96, 64), sampling={"steps_between": 1})
    frames = pan(7, step=0)
    frames[3] = Frame(255 - frames[3].image, 3, Fraction(1, 25), 3)
    assert calls_of(stylizer, lambda: own.paint(Window(0, 0, 7), frames)) == [1] * (8 + 4)


@pytest.mark.parametrize("step", [0, 1])
def test_where_nothing_is_new_nothing_need_be_painted(stylizer: NanoStylizer, step: int) -> None:
    own = painter(stylizer, FOUR_STEPS, (96, 64), sampling={"steps_between": 1})
    painted: list[Any] = []
    assert calls_of(stylizer, lambda: painted.append(own.paint(Window(0, 0, 5), pan(5, step)))) == [1] * (4 + 1)
    for image in painted[0][1:4] if step == 0 else []:
        np.testing.assert_allclose(image, painted[0][0], atol=3)


def test_groups_change_nothing_whatever_the_steps(stylizer: NanoStylizer) -> None:
    painted = []
    for group in (1, 3, 100):
        own = painter(stylizer, FOUR_STEPS, (96, 64), sampling={"steps_between": 1})
        own.hands.group = group  # type: ignore[attr-defined]
        painted.append(own.paint(Window(0, 0, 8), pan(8)))
    np.testing.assert_allclose(painted[0], painted[2], atol=TOLERANCE)
    np.testing.assert_allclose(painted[1], painted[2], atol=TOLERANCE)


def shot_of(frames: list[Frame], window: int) -> list[tuple[Window, list[Frame]]]:
    return [(piece, held) for piece, held in gather_windows(frames, window, 1)]


def test_anchors_first_then_windows_in_any_order_and_side_by_side(stylizer: NanoStylizer) -> None:
    """With consistency "full": the same frames, bit for bit, from 1 worker in order and from 3 in any."""
    frames, video = pan(17, step=2), {"consistency": "full", "window": 5}
    own = painter(
        stylizer, (599, 299, -1), (96, 64), video=video, sampling={"color": 1.0, "style_guidance": 3, "gamma": 0.3}
    )
    in_order = [own.paint(window, held) for window, held in shot_of(frames, 5)]

    windows = [stacked(held[: window.n_frames]) for window, held in shot_of(frames, 5)]
    ways = [Ways.through(images) for images in windows]
    look = own.hands.look(windows[0])
    anchors = [own.hands.anchor(windows[0][0], look)]
    for images, way in zip(windows, ways, strict=True):
        anchors.append(own.hands.anchor(images[-1], look, anchors[-1], way))

    def work(number: int) -> np.ndarray:  # type: ignore[type-arg]
        return own.hands.between(windows[number], look, ways[number], anchors[number], anchors[number + 1])

    order = [2, 0, 3, 1]
    with ThreadPoolExecutor(3) as workers:
        together = dict(zip(order, workers.map(work, order), strict=True))
    assert len(in_order) == 4
    for number, painted in enumerate(in_order):
        np.testing.assert_array_equal(together[number], painted)
        np.testing.assert_array_equal(work(number), painted)


@pytest.mark.parametrize("mode", ["flow", "full"])
def test_the_palette_of_a_shot_does_not_come_from_the_black_before_it(stylizer: NanoStylizer, mode: str) -> None:
    frames = pan(9)
    black = [dataclasses.replace(frame, image=np.zeros_like(frame.image)) for frame in frames[:5]]
    own = painter(stylizer, size=(96, 64), video={"consistency": mode, "window": 5, "overlap": 1})
    painted = [own.paint(window, held) for window, held in shot_of(black + frames, 5)]
    alone = own.paint(Window(0, 0, 5), frames[:5])
    assert abs(painted[2][2:4].mean((0, 1, 2)) - alone.mean((0, 1, 2))).max() < 6
    tables = [own.hands.look(stacked(part)).colours.table for part in (black, frames)]
    assert (tables[0] - tables[1]).abs().max() > 0.1


def test_windows_meet_in_their_anchors(stylizer: NanoStylizer) -> None:
    frames = pan(9)
    own = painter(stylizer, size=(96, 64), video={"consistency": "full", "window": 5})
    calls: list[int] = []
    parts = []
    for window, held in shot_of(frames, 5):
        calls += calls_of(stylizer, lambda w=window, h=held: parts.append(own.paint(w, h)))
    np.testing.assert_array_equal(parts[0][-1], parts[1][0])
    assert sum(calls) == 9  # each frame once
    again = own.paint(Window(0, 0, 5), frames[:5])  # a new shot begins afresh
    np.testing.assert_array_equal(again, parts[0])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_shots_have_anchors_too(stylizer: NanoStylizer, count: int) -> None:
    own = painter(stylizer, size=(96, 64), video={"consistency": "full", "window": 5})
    out = own.paint(Window(0, 0, count, 5 - count), pan(count) + pan(count)[-1:] * (5 - count))
    assert out.shape == (count, 64, 96, 3)


def test_what_only_the_end_shows_is_painted_as_there(stylizer: NanoStylizer) -> None:
    """A pan: what enters the picture is not in the window's first frame, but in its last."""
    frames, errors = pan(8, step=6), {}
    for mode in ("full", "noise"):
        video = {"consistency": mode, "window": 8}
        own = painter(stylizer, (599, 299, -1), (96, 64), video=video, sampling={"color": 1.0})
        out = own.paint(Window(0, 0, 8), frames)
        errors[mode] = float(abs(out[5][8:-8, 72:84] - out[7][8:-8, 60:72]).mean())
    assert errors["full"] < 0.4 * errors["noise"]


def test_a_single_frame_neither_uses_nor_changes_the_chain(stylizer: NanoStylizer) -> None:
    frames, own = pan(8), painter(stylizer, size=(96, 64), video={"window": 4, "overlap": 0})
    first = own.paint(Window(0, 0, 4), frames[:4])
    alone = own.paint_one(Window(0, 0, 4), frames[:4], 0)
    np.testing.assert_allclose(alone[0], first[0], atol=TOLERANCE)
    rest = own.paint(Window(1, 4, 8), frames[4:])
    fresh = painter(stylizer, size=(96, 64), video={"window": 4, "overlap": 0})
    fresh.paint(Window(0, 0, 4), frames[:4])
    np.testing.assert_array_equal(fresh.paint(Window(1, 4, 8), frames[4:]), rest)


@pytest.mark.parametrize("consistency", ["none", "noise", "flow", "full"])
def test_style_guidance_draws_upon_every_frame(stylizer: NanoStylizer, consistency: str) -> None:
    frames = [frame(index, look=0) for index in range(3)]
    plain, drawn = (
        painter(stylizer, sampling={"style_guidance": n}, video={"consistency": consistency}).paint(
            Window(0, 0, 3), frames
        )
        for n in (0, 6)
    )
    assert drawn.shape == plain.shape
    assert all(np.abs(a - b).mean() > 1 for a, b in zip(plain, drawn, strict=True))


@pytest.mark.parametrize("consistency", ["flow", "full"])
def test_what_was_drawn_is_not_drawn_again(
    stylizer: NanoStylizer, monkeypatch: pytest.MonkeyPatch, consistency: str
) -> None:
    iterations: list[int] = []
    draw = StyleGuidance.draw

    def counted(
        self: StyleGuidance, image: torch.Tensor, content: torch.Tensor, n: int, **options: Any
    ) -> torch.Tensor:
        iterations.append(n)
        return draw(self, image, content, n, **options)

    monkeypatch.setattr(StyleGuidance, "draw", counted)
    frames = [frame(0, look=0), frame(1, look=0), frame(2, look=7)]
    own = painter(stylizer, sampling={"style_guidance": 6}, video={"consistency": consistency})
    out = own.paint(Window(0, 0, 3), frames)
    assert iterations == [6, 6]  # a still frame costs nothing, another picture everything
    assert np.abs(out[1] - out[0]).max() < TOLERANCE


def test_what_rests_stays_as_it_was_drawn_however_long(stylizer: NanoStylizer) -> None:
    frames = [frame(index, look=0) for index in range(24)]
    out = painter(stylizer, sampling={"style_guidance": 6}).paint(Window(0, 0, 24), frames)
    assert np.abs(out[-1] - out[0]).max() < TOLERANCE
    assert np.abs(out[-1] - out[0]).mean() < TOLERANCE / 10


def test_fresh_noise_between_steps_is_reproducible(stylizer: NanoStylizer) -> None:
    times, window = (599, 299, -1), Window(0, 0, 1)
    plain, noisy, again = (
        painter(stylizer, times, sampling={"gamma": gamma}).paint(window, [frame(0)]) for gamma in (0.0, 0.5, 0.5)
    )
    np.testing.assert_array_equal(noisy, again)
    assert float(abs(noisy - plain).mean()) > 0.1


def test_a_stop_is_noticed_between_steps(stylizer: NanoStylizer) -> None:
    own = painter(stylizer, (599, 449, 299, 149, -1))
    own.hands.stop.set()

    def work() -> None:
        with pytest.raises(Interrupted, match="interrupted"):
            own.paint(Window(0, 0, 1), [frame(0)])

    assert calls_of(stylizer, work) == [1]


def test_network_time_adds_up(stylizer: NanoStylizer) -> None:
    own = painter(stylizer)
    assert own.hands.network_seconds == 0
    own.paint(Window(0, 0, 1), [frame(0)])
    once = own.hands.network_seconds
    own.paint(Window(0, 0, 1), [frame(0)])
    assert 0 < once < own.hands.network_seconds
