"""Fades whose gain and offset are known, over things that move and things that do not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from stdvid.temporal.fade import NONE, fade
from stdvid.temporal.flow import DisFlow, Image
from stdvid.temporal.origin import Origin
from stdvid.temporal.propagate import KEPT, match
from stdvid.temporal.strokes import follow
from stdvid.temporal.ways import Ways

HEIGHT, WIDTH = 96, 128
EVERYWHERE = np.ones((HEIGHT, WIDTH), bool)


def texture(seed: int) -> Image:
    coarse = np.random.default_rng(seed).integers(20, 236, (HEIGHT // 4, WIDTH // 4, 3), np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def mixed(image: Image, share: float, colour: int) -> Image:
    """What a fade to `colour` has left of a picture."""
    return np.rint(share * image + (1 - share) * np.float64(colour)).astype(np.uint8)


def half_replaced(image: Image) -> Image:
    other = image.copy()
    other[:, : WIDTH // 3] = texture(9)[:, : WIDTH // 3]
    return other


@pytest.mark.parametrize("colour", [0, 255])
@pytest.mark.parametrize("share", [0.95, 0.6, 0.1])
def test_gain_and_offset_are_found_also_where_a_third_is_something_else(share: float, colour: int) -> None:
    before = texture(1)
    for now in (mixed(before, share, colour), mixed(half_replaced(before), share, colour)):
        found = fade(now, before, EVERYWHERE)
        assert found.gain == pytest.approx(share, abs=0.035)
        assert np.abs(found.offset - (1 - share) * colour).max() < 4


@pytest.mark.parametrize("now", [texture(1), texture(2), half_replaced(texture(1)), np.roll(texture(1), 9, 1)])
def test_what_stays_moves_or_is_another_picture_is_no_fade(now: Image) -> None:
    assert fade(now, texture(1), EVERYWHERE) is NONE


def test_pictures_of_one_colour_and_pictures_hidden_wholly() -> None:
    dark, bright = (np.full((HEIGHT, WIDTH, 3), value, np.uint8) for value in (40, 90))
    found = fade(bright, dark, EVERYWHERE)
    assert found.gain == 1
    assert np.array_equal(found.of(dark), bright)
    assert fade(bright, dark, ~EVERYWHERE) is NONE


@pytest.mark.parametrize("colour", [0, 255])
def test_a_fade_out_is_followed_with_the_contrast_that_is_left(colour: int) -> None:
    before, now = mixed(texture(1), 0.8, colour), mixed(texture(1), 0.6, colour)
    found = match(now, before, DisFlow())
    assert np.median(found.trust) > 0.9 * KEPT
    paint, flat = (texture(5) / 127.5 - 1).astype(np.float32), np.zeros((HEIGHT, WIDTH, 3), np.float32)
    ways = (found, replace(found, gain=1.0))
    weaker, unfaded = (follow(flat, [paint], Origin([way]))[20:-20, 20:-20] for way in ways)
    np.testing.assert_allclose(weaker, 0.75 * unfaded, atol=0.01)


def test_a_fade_in_is_known_from_the_frame_where_it_ends_and_not_from_where_it_begins() -> None:
    ways = Ways.through([mixed(texture(1), share, 0) for share in (0.0, 0.25, 0.5, 0.75, 1.0)])
    for first, last in zip(ways.first[2:], ways.last[2:-1], strict=False):
        assert first is not None
        assert first.trust.max() < 0.01
        assert last is not None
        assert np.median(last.trust) > 0.9 * KEPT
        assert last.gain < 1


def test_exposure_that_wavers_costs_no_paint() -> None:
    ways = Ways.through([mixed(texture(1), share, 0) for share in (0.9, 0.92, 0.9, 0.88, 0.9)])
    assert all(np.median(way.trust) > 0.8 * KEPT for way in (*ways.first[1:], *ways.last[:-1]) if way)
