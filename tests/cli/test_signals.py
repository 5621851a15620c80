"""The first Ctrl-C or SIGTERM asks, the second insists."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from stdvid_cli.signals import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_sets_stop_and_handlers_come_back(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    stop = threading.Event()
    with stop_on_signals(stop):
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.startswith("stopping")


def test_the_second_signal_ends_the_process() -> None:
    code = """
import os, signal, threading
from stdvid_cli.signals import stop_on_signals
stop = threading.Event()
with stop_on_signals(stop):
    os.kill(os.getpid(), signal.SIGINT)
    stop.wait()
    os.kill(os.getpid(), signal.SIGINT)
    print("still here")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stdout == ""


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen: list[object] = []

    def body() -> None:
        with stop_on_signals(threading.Event()):
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]
