import numpy as np
import pytest

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
