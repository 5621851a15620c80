"""The eight ways in which a picture can be turned."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdvid.media.orientation import Orientation
from stdvid.media.probe import probe
from stdvid.media.reader import PyAVReader

TURNS = [
    (0, False, False),
    (90, False, False),
    (180, False, False),
    (-90, False, False),
    (0, True, False),
    (0, False, True),
]


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_the_reader_gives_upright_frames(clip, pictures, turn):
    path = clip("turned.mp4", n=2, turn=turn)
    upright = pictures.make(64, 48)
    expected = np.rot90(upright, turn[0] // 90)
    expected = expected[:, ::-1] if turn[1] else expected
    expected = expected[::-1] if turn[2] else expected
    frame = next(iter(PyAVReader(path)))
    assert frame.image.shape == expected.shape
    assert abs(pictures.quadrants(frame.image) - pictures.quadrants(expected)).max() <= 4


@pytest.mark.parametrize("turn", TURNS[:4], ids=str)
def test_probe_tells_rotation_and_upright_size(clip, turn):
    video = probe(clip("turned.mp4", n=2, turn=turn)).video
    assert abs(video.orientation.rotation) == abs(turn[0])
    assert video.frame_size == ((48, 64) if turn[0] in (90, -90) else (64, 48))


def test_mirroring_is_told_from_rotation():
    assert Orientation(False, True, False).mirrored
    assert not Orientation(False, True, True).mirrored
    assert Orientation(False, True, True).rotation == 180
    assert not Orientation(True, False, True).mirrored
    assert Orientation(True, False, True).rotation == 90


def test_result_is_contiguous():
    assert Orientation(True, True, False).apply(np.zeros((4, 6, 3), np.uint8)).flags.c_contiguous


@pytest.mark.parametrize("degrees", [0, 90, 180, -90, -180, 270])
def test_rotation_alone(degrees):
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(Orientation.of_rotation(degrees).apply(image), np.rot90(image, degrees // 90))


EIGHT = [Orientation(bool(n & 1), bool(n & 2), bool(n & 4)) for n in range(8)]


@pytest.mark.parametrize("orientation", EIGHT, ids=str)
def test_rotation_and_mirroring_tell_the_whole_story(orientation: Orientation) -> None:
    """Turned by `rotation` and then mirrored left-right if `mirrored`, NumPy arrives at the same picture."""
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    expected = np.rot90(image, orientation.rotation // 90)
    expected = expected[:, ::-1] if orientation.mirrored else expected
    result = orientation.apply(image)
    np.testing.assert_array_equal(result, expected)
    assert orientation.size(6, 4) == (result.shape[1], result.shape[0])


@given(st.integers(-4, 4), st.floats(-44, 44), st.floats(0.1, 4), st.booleans())
def test_a_matrix_is_read_as_the_nearest_quarter_turn(turns: int, off: float, scale: float, mirror: bool) -> None:
    """FFmpeg's matrix of a counter-clockwise turn with y downwards, in 16.16 fixed point."""
    angle = math.radians(90 * turns + off)
    cos, sin = (round(scale * 65536 * f(angle)) for f in (math.cos, math.sin))
    a, b, c, d = cos, -sin, sin, cos
    if mirror:
        a, c = -a, -c
    found = Orientation.of_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
    assert (found.rotation % 360, found.mirrored) == (90 * turns % 360, mirror)
