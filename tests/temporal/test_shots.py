"""Cuts are found while frames stream by, and nothing crosses them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdvid.media.frames import Frame, Image
from stdvid.temporal.blend import Stitcher
from stdvid.temporal.shots import LOOKAHEAD, split_shots
from stdvid.temporal.windows import gather_shots

LENGTHS = (12, 7, 20, 9, 15, 11)
"""Six shots: five hard cuts."""


def scene(number: int, height: int = 90, width: int = 120) -> Image:
    """A picture of its own for each scene."""
    coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (2 * width, height), interpolation=cv2.INTER_CUBIC)


def panning(lengths: tuple[int, ...], step_px: int = 2) -> Iterator[Frame]:
    """Scenes one after the other, the camera moving over each, with a little noise."""
    rng, index = np.random.default_rng(0), 0
    for number, length in enumerate(lengths):
        picture = scene(number)
        for k in range(length):
            view = picture[:, k * step_px : k * step_px + 120].astype(np.int16) + rng.integers(-4, 5, (90, 120, 3))
            yield Frame(np.ascontiguousarray(view.clip(0, 255).astype(np.uint8)), index, Fraction(1, 25), index)
            index += 1


def shots_of(frames: Iterator[Frame]) -> list[int]:
    split = list(split_shots(frames))
    assert [frame.index for _, frame in split] == list(range(len(split)))
    return [shot for shot, _ in split]


def test_every_cut_is_found_where_it_is() -> None:
    assert shots_of(panning(LENGTHS)) == [shot for shot, length in enumerate(LENGTHS) for _ in range(length)]


@pytest.mark.parametrize("step_px", [0, 1, 3])
def test_a_moving_camera_is_no_cut(step_px: int) -> None:
    assert set(shots_of(panning((40,), step_px))) == {0}


def test_a_flash_is_no_cut() -> None:
    frames = list(panning((30,)))
    white = Frame(np.full_like(frames[0].image, 255), 15, Fraction(1, 25), 15)
    assert shots_of(iter([*frames[:15], white, *frames[16:]]))[-1] <= 1


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_short_streams_lose_nothing(n: int) -> None:
    assert shots_of(panning((n,))) == [0] * n


def test_no_more_frames_are_read_ahead_than_needed() -> None:
    read = 0

    def source() -> Iterator[Frame]:
        nonlocal read
        for frame in panning((20,)):
            read += 1
            yield frame

    for number, _ in enumerate(split_shots(source())):
        assert read <= number + 1 + LOOKAHEAD


@given(st.lists(st.integers(1, 14), min_size=1, max_size=5), st.integers(1, 7), st.data())
def test_windows_and_blending_stay_within_a_shot(lengths: list[int], window: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, window - 1))
    numbered = [(shot, shot) for shot, length in enumerate(lengths) for _ in range(length)]
    stitcher, out = Stitcher(window, overlap), []
    covered = []
    for piece, frames in gather_shots(iter(numbered), window, overlap):
        assert len(set(frames)) == 1
        assert len(frames) == piece.size == window
        covered += range(piece.start, piece.stop)
        out += stitcher.add(piece, np.full((window, 2, 2, 3), float(frames[0]), np.float32))
    out += stitcher.flush()
    assert set(covered) == set(range(len(numbered)))
    # a frame of one shot holds nothing of another
    assert [float(frame.mean()) for frame in out] == [float(shot) for _, shot in numbered]
    assert all(np.ptp(frame) == 0 for frame in out)


def test_a_fade_to_black_with_the_noise_of_a_codec_is_no_cut() -> None:
    frames, noise = list(panning((24,))), np.random.default_rng(0)
    for number, frame in enumerate(frames):
        share = max(0.0, 1 - number / 16)
        grain = noise.integers(-1, 2, frame.image.shape) * (share > 0)
        dark = (frame.image * share + grain).clip(0, 255).astype(np.uint8)
        frames[number] = dataclasses.replace(frame, image=dark)
    assert set(shots_of(iter(frames))) == {0}


def test_colours_that_differ_in_hue_alone_are_cut() -> None:
    colours = [(200, 50, 50), (50, 200, 50), (50, 50, 200)]
    pictures = [np.full((36, 64, 3), colour, np.uint8) for colour in colours for _ in range(8)]
    frames = (Frame(picture, n, Fraction(1, 25), n) for n, picture in enumerate(pictures))
    assert shots_of(frames) == [n // 8 for n in range(24)]
