"""Carrying pictures and noise along scenes whose motion is known exactly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stdvid.temporal.flow import DisFlow, Image, places_of
from stdvid.temporal.origin import Origin
from stdvid.temporal.propagate import (
    KEPT,
    LEAST_PX,
    MARGIN_PX,
    Match,
    Picture,
    around,
    carry_places,
    continued,
    match,
    noise_at,
)
from stdvid.temporal.sharp import Sharp
from stdvid.temporal.strokes import LIGHT_PX, Drawn, detail, follow, follow_drawn, fresh

HEIGHT, WIDTH, SQUARE, LEFT, TOP, STEP = 96, 128, 40, 30, 28, 6


def texture(height: int, width: int, seed: int) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def scene(x: int, light: int = 0) -> Image:
    """A textured square, its left upper corner at (x, TOP), over a resting background."""
    image = texture(HEIGHT, WIDTH, 1) // 2 + 40
    image[TOP : TOP + SQUARE, x : x + SQUARE] = texture(SQUARE, SQUARE, 2) // 2 + 60
    return image + np.uint8(light)


def painting(seed: int = 5) -> Picture:
    small = np.random.default_rng(seed).uniform(-0.8, 0.8, (HEIGHT // 4, WIDTH // 4, 3)).astype(np.float32)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


INSIDE = (slice(TOP + 8, TOP + SQUARE - 8), slice(LEFT + STEP + 8, LEFT + STEP + SQUARE - 8))
CAME_FROM = (INSIDE[0], slice(LEFT + 8, LEFT + SQUARE - 8))
UNCOVERED = (slice(TOP + 4, TOP + SQUARE - 4), slice(LEFT, LEFT + STEP))


def test_paint_moves_with_the_square_and_what_it_uncovers_is_new() -> None:
    before, now = scene(LEFT), scene(LEFT + STEP)
    found, old, new = match(now, before, DisFlow()), painting(), np.zeros((HEIGHT, WIDTH, 3), np.float32)
    result, strokes = follow(new, [old], Origin([found])), old - cv2.GaussianBlur(old, (0, 0), LIGHT_PX)
    assert float(np.abs(result[INSIDE] - strokes[CAME_FROM]).mean()) < 0.3 * float(np.abs(strokes[CAME_FROM]).mean())
    assert float(np.abs(result[:20] - strokes[:20]).mean()) < 0.1 * float(np.abs(strokes[:20]).mean())
    assert float(np.abs(result[UNCOVERED]).mean()) < 0.25 * float(np.abs(strokes[UNCOVERED]).mean())
    assert float(found.trust.max()) <= KEPT + 1e-6


def test_another_picture_is_not_followed() -> None:
    found = match(texture(HEIGHT, WIDTH, 8), scene(LEFT), DisFlow())
    assert float(found.trust.mean()) < 0.1


def test_a_change_of_light_is_there_at_once_and_strokes_stay() -> None:
    still, old = match(scene(LEFT), scene(LEFT), DisFlow()), painting()
    lighter = follow(painting(6) + np.float32(0.2), [old], Origin([still]))
    assert float(lighter.mean() - painting(6).mean()) == pytest.approx(0.2, abs=0.01)
    fine = [picture - cv2.GaussianBlur(picture, (0, 0), 2) for picture in (lighter, old)]
    assert float(np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1]) > 0.9


def test_noise_moves_with_the_square_and_keeps_its_values() -> None:
    noise = np.random.default_rng(0).standard_normal((HEIGHT, WIDTH, 3), np.float32)
    own = places_of(HEIGHT, WIDTH)
    assert np.array_equal(noise_at(noise, own), noise)
    places = carry_places(own, match(scene(LEFT + STEP), scene(LEFT), DisFlow()), own)
    carried = noise_at(noise, places)
    same = (carried[INSIDE] == noise[CAME_FROM]).all(-1)
    assert float(same.mean()) > 0.8
    assert float((carried[:20] == noise[:20]).mean()) > 0.95
    assert set(carried.ravel()) <= set(noise.ravel())
    assert float(carried.std()) == pytest.approx(1, abs=0.05)
    blank = Match(np.full((HEIGHT, WIDTH, 2), 7, np.float32), np.zeros((HEIGHT, WIDTH, 1), np.float32))
    fresh = noise_at(noise, carry_places(places, blank, own))
    assert np.array_equal(fresh[:-7, :-7], noise[:-7, :-7])  # nothing is believed: a new beginning


def test_noise_stays_white_however_long_it_is_carried() -> None:
    """Neighbours stay independent, or areas of one value would colour the picture."""
    noise = np.random.default_rng(1).standard_normal((64, 64, 3), np.float32)
    y, x = np.mgrid[:64, :64].astype(np.float32) / 64
    places = own = places_of(64, 64)
    for t in range(400):
        flow = np.stack([(x - 0.5) * np.sin(t / 9) + 0.3, (y - 0.5) * np.cos(t / 7) - 0.2], -1).astype(np.float32)
        places = carry_places(places, Match(flow, np.full((64, 64, 1), KEPT, np.float32)), own)
    carried = noise_at(noise, places)
    assert float(carried.std()) == pytest.approx(1, abs=0.05)
    for axis in (0, 1):
        neighbours = (carried * np.roll(carried, 1, axis)).mean()
        assert abs(float(neighbours)) < 0.15
    areas = cv2.resize(carried, (8, 8), interpolation=cv2.INTER_AREA)
    assert float(areas.std()) < 2 / 8  # white noise: 1/8
    assert len(np.unique(carried)) > 0.4 * carried.size  # many values, not the same few everywhere


def test_detail_neither_fades_nor_grows_over_a_long_pan() -> None:
    """300 frames of half a pixel each; by interpolation alone four fifths of the detail were gone."""
    rng = np.random.default_rng(2)
    pan = Match(np.full((64, 64, 2), (0.5, 0.3), np.float32), np.full((64, 64, 1), KEPT, np.float32))
    picture = first = rng.normal(0, 0.3, (64, 64, 3)).astype(np.float32)
    for _ in range(300):
        fresh = rng.normal(0, 0.3, (64, 64, 3)).astype(np.float32)
        picture = follow(fresh, [picture], Origin([pan])).clip(-1.1, 1.1)
    assert 0.7 < float(picture.std() / first.std()) < 1.4


def test_what_stands_still_is_not_moved_by_noise() -> None:
    rng = np.random.default_rng(3)
    noisy = [(scene(LEFT) + rng.normal(0, 0.8, (HEIGHT, WIDTH, 3))).round().clip(0, 255).astype(np.uint8) for _ in "ab"]
    found = match(noisy[1], noisy[0], DisFlow())
    assert float((found.flow == 0).all(-1).mean()) > 0.9
    assert float(found.trust.min()) > 0.9


def test_what_enters_the_picture_has_noise_that_was_not_there() -> None:
    """One strip of noise at the edge, again in every frame, would be drawn out to streaks."""
    pan = Match(np.full((HEIGHT, WIDTH, 2), (4.0, 0), np.float32), np.zeros((HEIGHT, WIDTH, 1), np.float32))
    pan.trust[:, : WIDTH - 4] = KEPT
    places, own = places_of(HEIGHT, WIDTH), places_of(HEIGHT, WIDTH)
    for k in range(1, 6):
        places = carry_places(places, pan, own)
        np.testing.assert_array_equal(places, own + np.float32([4 * k, 0]))


def test_places_continue_beyond_the_picture() -> None:
    at = places_of(6, 8) - 2
    np.testing.assert_array_equal(continued(places_of(2, 4), at), at)


def resting(trust: float = KEPT) -> Match:
    return Match(np.zeros((HEIGHT, WIDTH, 2), np.float32), np.full((HEIGHT, WIDTH, 1), trust, np.float32))


def drawn_on(ground: Picture, picture: Picture) -> Drawn:
    return Drawn(Sharp(picture), ground, detail(picture))


def test_what_was_drawn_stays_as_it_was_however_long_nothing_moves() -> None:
    x, drawn = painting(5), painting(5) + 0.3 * painting(6)
    now = drawn
    for _ in range(60):
        now = follow_drawn(x, [drawn_on(x, now)], [resting()], x)
    assert float(np.abs(now - drawn).mean()) < 0.1 * float(np.abs(drawn - x).mean())
    other = follow(x, [drawn], Origin([resting()]))  # what the network gives comes back in
    for _ in range(60):
        other = follow(x, [other], Origin([resting()]))
    assert float(np.abs(other - x).mean()) < 0.5 * float(np.abs(drawn - x).mean())


def test_new_light_reaches_what_was_drawn() -> None:
    x, drawn = painting(5), painting(6)
    brighter = follow_drawn(x + 0.3, [drawn_on(x, drawn)], [resting()], x + 0.3)
    assert float((brighter - drawn).mean()) == pytest.approx(0.3, abs=0.01)
    assert float((brighter - drawn).std()) < 0.05


def test_what_was_drawn_keeps_its_detail_on_the_way() -> None:
    drawn = np.random.default_rng(0).normal(0, 0.2, (HEIGHT, WIDTH, 3)).astype(np.float32)
    drawn = cv2.GaussianBlur(drawn, (0, 0), 1.0)
    half, flat, now = resting(), np.zeros_like(drawn), drawn
    half.flow[..., 0] = 0.5
    for _ in range(40):
        now = follow_drawn(flat, [drawn_on(flat, now)], [half], flat)
    middle = (slice(16, -16), slice(40, -40))
    kept = float(now[middle].std() / drawn[middle].std())
    assert 0.7 < kept < 1.2


def test_fresh_is_what_is_not_taken_over() -> None:
    assert float(fresh(resting()).max()) == pytest.approx(0, abs=1e-6)
    assert float(fresh(resting(0.0)).min()) == 1


def test_the_rectangle_around_what_is_fresh() -> None:
    where = np.zeros((208, 304, 1), np.float32)
    assert around(where) is None
    where[50:53, 70:73] = 1  # a speck
    where[::7, ::7] = 0.4
    assert around(where) is None
    where[:, 290:] = 1  # what a pan shows
    assert around(where) == (slice(0, 208), slice(304 - LEAST_PX, 304))
    where[:] = 0
    where[56:170, 105:220] = 1
    rows, columns = (56 - MARGIN_PX, 170 + MARGIN_PX), (105 - MARGIN_PX, 220 + MARGIN_PX)
    assert around(where) == (slice(32, 208), slice(80, 256))
    assert rows[0] >= 32
    assert columns[0] >= 80
    assert rows[1] <= 208
    assert columns[1] <= 256
    assert around(np.ones((48, 64, 1), np.float32)) == (slice(0, 48), slice(0, 64))
