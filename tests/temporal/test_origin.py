"""Pixels of one frame taken from several others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from stdvid.temporal.flow import warp
from stdvid.temporal.origin import Origin
from stdvid.temporal.propagate import KEPT, Match, Picture
from stdvid.temporal.sharp import Sharp

HEIGHT, WIDTH = 37, 53


def matched(x: float, trust: Picture | float, gain: float = 1.0) -> Match:
    """A frame that has moved by `x` pixels."""
    flow = np.full((HEIGHT, WIDTH, 2), (x, 0.4), np.float32)
    return Match(flow, np.broadcast_to(np.float32(trust), (HEIGHT, WIDTH, 1)).copy(), gain)


def pictures(count: int) -> list[Picture]:
    return list(np.random.default_rng(0).normal(0, 1, (count, HEIGHT, WIDTH, 3)).astype(np.float32))


def left_half() -> Picture:
    """Trust in the left half alone."""
    trust = np.zeros((HEIGHT, WIDTH, 1), np.float32)
    trust[:, : WIDTH // 2] = KEPT
    return trust


def test_of_one_frame_it_is_that_frame_warped() -> None:
    found, [picture] = matched(2.3, KEPT), pictures(1)
    np.testing.assert_array_equal(Origin([found]).moved([picture]), warp(picture, found.flow))


@pytest.mark.parametrize("trust", [KEPT, left_half()])
def test_what_is_sharp_is_read_sharply_much_of_it_or_little(trust: Picture | float) -> None:
    found, picture = matched(2.3, trust), cv2.GaussianBlur(pictures(1)[0], (0, 0), 0.7)
    moved, expected = Origin([found]).moved([Sharp(picture)]), warp(picture, found.flow, cv2.INTER_LANCZOS4)
    np.testing.assert_allclose(moved[:, : WIDTH // 2], expected[:, : WIDTH // 2], atol=0.1)


def test_the_last_frame_goes_before_the_others_where_it_is_trusted() -> None:
    matches, given = [matched(1.0, KEPT), matched(-3.0, left_half())], pictures(2)
    origin = Origin(matches)
    moved, (first, last) = origin.moved(given), (warp(p, m.flow) for p, m in zip(given, matches, strict=True))
    np.testing.assert_array_equal(moved[:, : WIDTH // 2], last[:, : WIDTH // 2])
    np.testing.assert_array_equal(moved[:, WIDTH // 2 :], first[:, WIDTH // 2 :])
    assert float(origin.trust.min()) > KEPT - 1e-6


def test_where_two_are_half_trusted_both_are_taken() -> None:
    matches, given = [matched(1.0, KEPT), matched(-3.0, 0.5)], pictures(2)
    first, last = (warp(p, m.flow) for p, m in zip(given, matches, strict=True))
    origin = Origin(matches)
    expected = (0.5 * last + 0.5 * KEPT * first) / (0.5 + 0.5 * KEPT)
    np.testing.assert_allclose(origin.moved(given), expected, atol=1e-5)
    np.testing.assert_allclose(origin.trust, 1 - 0.5 * (1 - KEPT), rtol=1e-5)


def test_what_is_trusted_as_far_as_wholly_is_taken_as_it_is() -> None:
    matches, given = [matched(1.0, 0.5 * KEPT), matched(-3.0, left_half())], pictures(2)
    origin = Origin(matches, KEPT)
    moved, (first, last) = origin.moved(given), (warp(p, m.flow) for p, m in zip(given, matches, strict=True))
    np.testing.assert_array_equal(moved[:, : WIDTH // 2], last[:, : WIDTH // 2])
    np.testing.assert_array_equal(moved[:, WIDTH // 2 :], first[:, WIDTH // 2 :])
    np.testing.assert_allclose(origin.trust[:, : WIDTH // 2], 1)
    np.testing.assert_allclose(origin.trust[:, WIDTH // 2 :], 0.5, rtol=1e-5)


def test_pictures_of_this_frame_are_taken_where_those_they_were_made_with_are() -> None:
    matches, given = [matched(1.0, KEPT, 0.5), matched(-3.0, left_half())], pictures(2)
    mixed = Origin(matches).mixed(given)
    np.testing.assert_array_equal(mixed[:, : WIDTH // 2], given[1][:, : WIDTH // 2])
    np.testing.assert_array_equal(mixed[:, WIDTH // 2 :], given[0][:, WIDTH // 2 :])


def test_what_no_frame_shows_is_not_trusted() -> None:
    origin = Origin([matched(0, left_half()), matched(2, left_half() / 2)])
    np.testing.assert_array_equal(origin.trust[:, WIDTH // 2 :], 0)
    assert np.isfinite(origin.moved(pictures(2))).all()


def test_contrast_that_a_fade_has_left() -> None:
    matches, given = [matched(1.0, KEPT, 0.5), matched(0.0, left_half())], pictures(2)
    moved, whole = Origin(matches).moved(given), warp(given[0], matches[0].flow)
    np.testing.assert_allclose(moved[:, WIDTH // 2 :], 0.5 * whole[:, WIDTH // 2 :], rtol=1e-6)
