from fractions import Fraction
from itertools import pairwise

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
