"""Encoders run at the priority of everything else: SVT-AV1, run as root, makes its threads and the one that opens it
real-time ones, before which decoding, the network and other programs wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_THREADS = Path("/proc/self/task")


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Threads that become real-time inside are made ordinary again; where the caller is real-time already, or nobody
    tells (not Linux), nothing happens."""
    told = hasattr(os, "sched_getscheduler") and _THREADS.is_dir()
    meant = told and os.sched_getscheduler(0) != os.SCHED_OTHER
    try:
        yield
    finally:
        if told and not meant:
            for thread in map(int, os.listdir(_THREADS)):
                try:
                    if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                        os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
                except (ProcessLookupError, PermissionError):  # it has ended, or is not ours to change
                    continue
