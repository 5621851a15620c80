"""Ticks, seconds and what a user types."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdvid.errors import UsageError
from stdvid.media.timebase import (
    TimePoint,
    format_seconds,
    parse_time_point,
    rescale,
    round_half_up,
    to_seconds,
    to_ticks,
    unit_time_base,
)

bases = st.builds(Fraction, st.integers(1, 2000), st.integers(1, 200_000))


@pytest.mark.parametrize(
    ("text", "frame", "seconds"),
    [
        ("120f", 120, None),
        ("0f", 0, None),
        ("3.5", None, Fraction(7, 2)),
        (".25", None, Fraction(1, 4)),
        ("10", None, Fraction(10)),
        ("10s", None, Fraction(10)),
        ("00:01:02.500", None, Fraction(125, 2)),
        ("1:02", None, Fraction(62)),
        ("90:00", None, Fraction(5400)),
        ("2:00:00", None, Fraction(7200)),
        (" 3 ", None, Fraction(3)),
    ],
)
def test_times_that_a_user_may_write(text, frame, seconds):
    assert parse_time_point(text) == TimePoint(frame, seconds)


@pytest.mark.parametrize("text", ["", "f", "-1", "1.5f", "abc", "1:2:3:4", "0:60", "1:60:00", "1e3", "nan", "-3f"])
def test_other_texts_are_usage_errors_in_one_line(text):
    with pytest.raises(UsageError, match="120f") as caught:
        parse_time_point(text)
    assert "\n" not in str(caught.value)


@given(st.integers(-(10**9), 10**9), bases)
def test_ticks_to_seconds_and_back_is_exact(pts, base):
    assert to_ticks(to_seconds(pts, base), base) == pts


@given(st.integers(-(10**9), 10**9), bases, bases)
def test_rescale_errs_by_half_a_target_tick_at_most(pts, source, target):
    assert abs(rescale(pts, source, target) * target - pts * source) <= target / 2


@given(st.integers(-(10**9), 10**9), bases)
def test_unit_time_base_holds_every_tick(pts, base):
    unit = unit_time_base(base)
    assert unit.numerator == 1
    assert rescale(pts, base, unit) * unit == pts * base


def test_rounding_of_halves_keeps_distances():
    assert [round_half_up(Fraction(n, 2)) for n in (-3, -1, 1, 3)] == [-1, 0, 1, 2]


def test_time_point_is_reached_by_index_or_by_time():
    assert TimePoint(frame=3).reached(3, Fraction(0))
    assert not TimePoint(frame=3).reached(2, Fraction(99))
    assert TimePoint(seconds=Fraction(1)).reached(0, Fraction(1))
    assert TimePoint(frame=50).to_seconds(Fraction(25)) == 2


@pytest.mark.parametrize("values", [{}, {"frame": 1, "seconds": Fraction(1)}, {"frame": -1}, {"seconds": Fraction(-1)}])
def test_time_point_refuses_nonsense(values):
    with pytest.raises(ValueError, match="TimePoint"):
        TimePoint(**values)


def test_seconds_for_people():
    assert [format_seconds(Fraction(x)) for x in ("0", "62.5", "3725.0004", "-1.5")] == [
        "0:00.000",
        "1:02.500",
        "1:02:05.000",
        "-0:01.500",
    ]


@given(st.integers(0, 10**6) | st.builds(Fraction, st.integers(0, 10**8), st.just(1000)))
def test_a_time_point_that_is_printed_can_be_typed_again(value: int | Fraction) -> None:
    point = TimePoint(frame=value) if isinstance(value, int) else TimePoint(seconds=value)
    assert parse_time_point(str(point)) == point


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), bases, bases)
def test_rescaling_keeps_the_order(first: int, second: int, source: Fraction, target: Fraction) -> None:
    first, second = sorted((first, second))
    assert rescale(first, source, target) <= rescale(second, source, target)


@given(st.fractions(), st.integers())
def test_rounding_commutes_with_whole_steps(value: Fraction, step: int) -> None:
    assert round_half_up(value + step) == round_half_up(value) + step
    assert Fraction(-1, 2) < round_half_up(value) - value <= Fraction(1, 2)
