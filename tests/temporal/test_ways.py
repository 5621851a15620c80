"""Ways through a window whose motion is known exactly: where frames were in the first one, and will be in the last."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stdvid.temporal.flow import Image, warp
from stdvid.temporal.propagate import KEPT
from stdvid.temporal.ways import Ways

HEIGHT, WIDTH, STEP, COUNT = 64, 128, 3, 6


def texture(height: int, width: int, seed: int) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def pan() -> list[Image]:
    wide = texture(HEIGHT, WIDTH + 64, 3)
    return [wide[:, STEP * i : STEP * i + WIDTH].copy() for i in range(COUNT)]


def passing(width: int = 40) -> list[Image]:
    """A square that crosses a resting picture."""
    images = []
    for i in range(COUNT):
        image = texture(HEIGHT, WIDTH, 1) // 2 + 40
        image[12:52, 10 + 6 * i : 10 + 6 * i + width] = texture(40, width, 2) // 2 + 60
        images.append(image)
    return images


def test_motion_adds_up_along_the_way() -> None:
    ways = Ways.through(pan())
    for number in range(COUNT):
        for match, frames in ((ways.first[number], number), (ways.last[number], number - COUNT + 1)):
            if match is None:
                assert frames == 0
                continue
            middle = match.flow[12:-12, 24:-24]
            assert middle[..., 0].mean() == pytest.approx(STEP * frames, abs=0.3)
            assert middle[..., 1].mean() == pytest.approx(0, abs=0.2)
            assert float(np.median(match.trust[12:-12, 24:-24])) > 0.9 * KEPT


def test_what_leaves_or_enters_is_not_trusted() -> None:
    ways = Ways.through(pan())
    first, last = ways.first[-1], ways.last[0]
    assert first is not None
    assert last is not None
    entered, left = STEP * (COUNT - 1), STEP * (COUNT - 1)
    assert float(first.trust[:, -entered + 2 :].max()) < 0.1
    assert float(last.trust[:, : left - 2].max()) < 0.1


def test_what_was_hidden_on_the_way_is_not_trusted() -> None:
    """Background that the square has uncovered since the first frame is new, however long ago that was."""
    ways = Ways.through(passing())
    for number in (2, 4, 5):
        match = ways.first[number]
        assert match is not None
        uncovered = match.trust[18:46, 12 : 10 + 6 * number - 2]
        assert float(uncovered.mean()) < 0.35
        resting = match.trust[4:60, 96:]
        assert float(resting.min()) > 0.9 * KEPT


def test_what_is_new_since_the_first_frame_is_in_the_last() -> None:
    ways = Ways.through(passing())
    middle = ways.last[3]
    assert middle is not None
    assert float(middle.trust[18:46, 12:24].mean()) > 0.8  # uncovered by then, and to the end


def test_single_frames_and_pairs() -> None:
    image = pan()[0]
    assert Ways.through([image]).of(0) == (None, None, None)
    pair = Ways.through(pan()[:2])
    before, last, first = pair.of(1)
    assert last is None
    assert before is not None
    assert first is not None
    assert first.flow is before.flow
    assert pair.of(0)[1] is not None


def lifting() -> list[Image]:
    """A dark arm, lifted over ground on which there is next to nothing."""
    ground = cv2.GaussianBlur(texture(144, 192, 4), (0, 0), 6) // 8 + 180
    images = []
    for i in range(16):
        end = (40 + 2 * i, 110 - 5 * i)
        images.append(cv2.line(ground.copy(), (150, 100), end, (90, 60, 50), 7, cv2.LINE_AA))
    return images


def distance_to_arm(image: Image) -> NDArray[np.float32]:
    return cv2.distanceTransform((image[..., 2] > 150).astype(np.uint8), cv2.DIST_L2, 5)


def test_ground_does_not_come_from_beside_a_thing_that_has_left_it() -> None:
    """There the thing's outline was painted, and would stay on the ground."""
    images = lifting()
    away = distance_to_arm(images[-1]) > 12
    first = Ways.through(images).first[-1]
    assert first is not None
    distance_then = warp(distance_to_arm(images[0]), first.flow)
    assert float(np.sum(first.trust[..., 0] * (away & (distance_then < 4)))) < 10
    assert float(first.trust[..., 0][away & (distance_then > 20)].mean()) > 0.9 * KEPT
