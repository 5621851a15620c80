"""The first Ctrl-C or SIGTERM asks, the second insists."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stdvid_cli.signals import stop_on_signals


def not_called() -> None:
    pytest.fail("nothing is to be discarded")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_sets_stop_and_handlers_come_back(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    stop = threading.Event()
    with stop_on_signals(stop, not_called):
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.wait(5)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.startswith("stopping")


@pytest.mark.parametrize("discard", ["os.remove(sys.argv[1])", "open('/nowhere/at/all')"])
def test_the_second_signal_discards_and_ends_the_process(discard: str, tmp_path: Path) -> None:
    part = tmp_path / "out.mp4.part"
    part.touch()
    code = f"""
import os, signal, sys, threading
from stdvid_cli.signals import stop_on_signals
stop = threading.Event()
with stop_on_signals(stop, lambda: {discard}):
    os.kill(os.getpid(), signal.SIGINT)
    stop.wait()
    os.kill(os.getpid(), signal.SIGINT)
    print("still here")
"""
    command = [sys.executable, "-c", code, str(part)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: interrupted")
    assert part.exists() == ("remove" not in discard)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen: list[object] = []

    def body() -> None:
        with stop_on_signals(threading.Event(), not_called):
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]
