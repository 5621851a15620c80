"""Decoding and encoding beside the network: order, bounds, errors and early ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stdvid.errors import InputError
from stdvid.media.threads import Background, Prefetch

PATIENCE_S = 20
"""Only a failing test waits so long."""
MOMENT_S = 0.03
"""So long a thread that should be blocked gets the chance to show that it is not."""


def running(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())


@given(st.lists(st.integers()), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_prefetch_hands_over_everything_in_order(items: list[int], depth: int) -> None:
    assert list(Prefetch(items, depth)) == items
    assert list(Prefetch((item for item in items), depth)) == items


@pytest.mark.parametrize("error", [InputError("damaged"), KeyError("lost"), KeyboardInterrupt()])
def test_an_error_of_the_source_comes_in_its_turn(error: BaseException) -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise error

    seen: list[int] = []
    with pytest.raises(type(error)) as caught:
        seen.extend(Prefetch(source(), 8))
    assert caught.value is error
    assert seen == [0, 1, 2]
    assert not running("stdvid-decode")


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_source_runs_ahead_as_far_as_the_depth_and_no_further(depth: int) -> None:
    begun, full, overtaken = threading.Event(), threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        begun.set()
        for number in range(depth + 10):
            if number == depth + 1:  # one is taken, `depth` lie in the queue, this one is in the thread's hand
                full.set()
            if number == depth + 2:
                overtaken.set()
            yield number

    items = Prefetch(source(), depth)
    assert begun.wait(PATIENCE_S)  # before anything is asked for
    assert next(items) == 0
    assert full.wait(PATIENCE_S)
    assert not overtaken.wait(MOMENT_S)
    assert list(items) == list(range(1, depth + 10))


def test_an_early_close_ends_the_thread_and_closes_the_source_in_it() -> None:
    closed_in = []

    def source() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed_in.append(threading.current_thread().name)

    items = Prefetch(source(), 2)
    assert next(items) == 0
    assert running("stdvid-decode")
    items.close()
    assert closed_in == ["stdvid-decode"]
    assert not running("stdvid-decode")


@given(st.lists(st.integers()), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_background_consumes_all_in_order_before_it_is_left(items: list[int], depth: int) -> None:
    seen: list[int] = []
    with Background(seen.append, depth) as background:
        for item in items:
            background.put(item)
    assert seen == items


def test_put_waits_while_the_queue_is_full() -> None:
    gate, taken, third_is_in = threading.Event(), threading.Event(), threading.Event()
    seen: list[int] = []

    def consume(item: int) -> None:
        taken.set()
        assert gate.wait(PATIENCE_S)
        seen.append(item)

    with Background(consume, 1) as background:
        background.put(0)
        assert taken.wait(PATIENCE_S)
        background.put(1)

        def third() -> None:
            background.put(2)
            third_is_in.set()

        other = threading.Thread(target=third)
        other.start()
        blocked = not third_is_in.wait(MOMENT_S)
        gate.set()
        other.join()
    assert blocked
    assert seen == [0, 1, 2]


def failing_at(number: int, seen: list[int], failed: threading.Event) -> Callable[[int], None]:
    def consume(item: int) -> None:
        if item == number:
            failed.set()
            raise OSError("disk full")
        seen.append(item)

    return consume


def test_an_error_of_the_consumer_is_raised_on_leaving_and_the_rest_is_dropped() -> None:
    seen: list[int] = []

    def leave() -> None:
        with Background(failing_at(2, seen, threading.Event()), 10) as background:
            for item in range(3):
                background.put(item)

    with pytest.raises(OSError, match="disk full"):
        leave()
    assert seen == [0, 1]


def test_an_error_of_the_consumer_stops_the_next_put() -> None:
    seen: list[int] = []
    failed = threading.Event()
    puts = 0

    def fill() -> None:
        nonlocal puts
        with Background(failing_at(0, seen, failed), 1) as background:
            for item in range(1000):
                background.put(item)
                puts += 1
                assert failed.wait(PATIENCE_S)

    with pytest.raises(OSError, match="disk full"):
        fill()
    assert puts < 1000
    assert seen == []


def test_leaving_by_an_exception_drops_what_waits_and_keeps_that_exception() -> None:
    gate, taken = threading.Event(), threading.Event()
    seen: list[int] = []

    def consume(item: int) -> None:
        taken.set()
        assert gate.wait(PATIENCE_S)
        seen.append(item)
        raise OSError("hidden behind the first error")

    def interrupted() -> None:
        with Background(consume, 10) as background:
            for item in range(5):
                background.put(item)
            assert taken.wait(PATIENCE_S)
            threading.Timer(MOMENT_S, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen == [0]
    assert not running("stdvid-encode")
