"""Ctrl-C and SIGTERM: the first asks the run to stop cleanly, the second ends the process."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from stdvid.errors import Interrupted


@contextmanager
def stop_on_signals(stop: threading.Event, discard: Callable[[], None]) -> Iterator[None]:
    """Within the block SIGINT and SIGTERM set `stop`; when it is set already they end the process with 130.

    `discard` is called before that hard end, to remove the file that was being written.

    Does nothing outside the main thread, where Python takes no signals. The old handlers come back afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            with suppress(OSError):
                discard()
            os.write(2, b"error: interrupted twice; stopped at once\n")
            os._exit(Interrupted.exit_code)
        stop.set()
        os.write(2, b"stopping after the frames in hand; once more to stop at once\n")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        sys.stderr.flush()
        for number, handler in before.items():
            signal.signal(number, handler)
