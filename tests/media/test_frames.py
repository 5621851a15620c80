from fractions import Fraction

import numpy as np
import pytest

from stdvid.media.frames import Frame, FrameChunk

BASE = Fraction(1, 25)


def frame(index, /, **changes):
    values = {"image": np.full((4, 6, 3), index, np.uint8), "pts": index * 2, "time_base": BASE, "index": index}
    return Frame(**(values | changes))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 6, 3), np.float32),
        np.zeros((4, 6), np.uint8),
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((0, 6, 3), np.uint8),
        np.zeros((4, 12, 3), np.uint8)[:, ::2],
        [[1, 2, 3]],
    ],
)
def test_frame_refuses_other_pictures(image):
    with pytest.raises((TypeError, ValueError), match=r"Frame\.image: got"):
        frame(0, image=image)


@pytest.mark.parametrize("changes", [{"index": -1}, {"duration": -1}, {"time_base": Fraction(0)}])
def test_frame_refuses_nonsense_numbers(changes):
    with pytest.raises(ValueError, match="Frame"):
        frame(0, **changes)


def test_time_is_exact():
    assert frame(3).time == Fraction(6, 25)


def test_chunk_stacks_and_gives_back_its_frames():
    frames = [frame(i, duration=2) for i in (5, 6, 7)]
    chunk = FrameChunk.from_frames(frames)
    assert chunk.images.shape == (3, 4, 6, 3)
    assert (len(chunk), chunk.first_index, chunk.pts) == (3, 5, (10, 12, 14))
    for before, after in zip(frames, chunk, strict=True):
        assert (before.pts, before.index, before.duration) == (after.pts, after.index, after.duration)
        np.testing.assert_array_equal(before.image, after.image)


def test_chunk_refuses_gaps_disorder_and_nothing():
    with pytest.raises(ValueError, match="consecutive"):
        FrameChunk.from_frames([frame(1), frame(3)])
    with pytest.raises(ValueError, match="increasing"):
        FrameChunk.from_frames([frame(1), frame(2, pts=2)])
    with pytest.raises(ValueError, match="no frame"):
        FrameChunk.from_frames([])
    with pytest.raises(ValueError, match="agree"):
        FrameChunk(np.zeros((2, 4, 6, 3), np.uint8), (1,), BASE, 0, (0,))
