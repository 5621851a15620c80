"""Repair of timestamps."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdvid.media.pts import PtsRepair

BASE = Fraction(1, 1000)
maybe = st.none() | st.integers(-5000, 5000)


def run(rows, **options):
    repair = PtsRepair(BASE, 40, **options)
    return [repair(*row) for row in rows], repair.repairs


def test_good_pts_are_left_alone():
    assert run([(0, 0, 40), (40, 40, 40), (200, 80, 40)]) == ([0, 40, 200], 0)


def test_missing_pts_follow_the_frame_before():
    assert run([(0, None, 40), (None, None, 40), (None, None, 30), (110, None, 0)]) == ([0, 40, 80, 110], 2)


def test_without_any_time_the_clip_starts_at_zero():
    assert run([(None, None, 0), (None, None, 0)]) == ([0, 40], 2)


def test_duplicates_move_by_one_tick():
    assert run([(0, None, 0), (0, None, 0), (40, None, 0)]) == ([0, 1, 40], 1)


def test_a_clock_that_jumps_back_goes_on_instead():
    times, repairs = run([(9000, None, 40), (0, None, 40), (40, None, 40)])
    assert times == [9000, 9040, 9080]
    assert repairs == 1


def test_avi_times_are_decoding_times():
    assert run([(1, 1, 1), (2, 2, 1), (4, 3, 1), (3, 4, 1)], dts_only=True) == ([1, 2, 3, 4], 0)


@given(st.lists(st.tuples(maybe, maybe, st.integers(0, 100)), min_size=1, max_size=40), st.booleans())
def test_whatever_comes_in_the_result_increases_strictly(rows, dts_only):
    times, _ = run(rows, dts_only=dts_only)
    assert all(b > a for a, b in pairwise(times))


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=30), st.integers(-5000, 5000))
def test_increasing_pts_pass_unchanged_whatever_the_durations(steps: list[int], first: int) -> None:
    pts = [first + sum(steps[:n]) for n in range(len(steps))]
    assert run([(p, None, n % 7) for n, p in enumerate(pts)]) == (pts, 0)


@given(st.lists(st.tuples(st.integers(-5000, 5000), st.integers(0, 100)), min_size=1), st.integers(-9000, 9000))
def test_a_moved_clock_moves_the_result(rows: list[tuple[int, int]], shift: int) -> None:
    times, repairs = run([(p, None, d) for p, d in rows])
    assert run([(p + shift, None, d) for p, d in rows]) == ([t + shift for t in times], repairs)


@pytest.mark.parametrize(
    ("back_to", "expected"),
    [
        (1000, [2000, 2001, 2002]),  # back by exactly a second: disorder, squeezed together
        (999, [2000, 2040, 2080]),  # further: another clock, everything after it is moved
    ],
)
def test_the_line_between_disorder_and_a_new_clock(back_to: int, expected: list[int]) -> None:
    assert run([(2000, None, 40), (back_to, None, 40), (back_to + 40, None, 40)])[0] == expected


def test_dts_are_believed_once_pts_are_out_of_order_more_often() -> None:
    rows = [(0, 0, 40), (80, 40, 40), (40, 80, 40), (60, 120, 40), (160, 160, 40)]
    assert run(rows)[0] == [0, 80, 81, 120, 160]
