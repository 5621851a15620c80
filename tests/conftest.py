"""What holds for every test: no network, an empty home, a plain terminal, no ERROR in the log, no global seed set."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from clips import clip, packets, pictures, style
from hub_server import hub

if TYPE_CHECKING:
    from stdvid.models.nano_stylizer import NanoStylizer

__all__ = ["clip", "hub", "packets", "pictures", "style"]

_HOME_VARIABLES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "HF_HOME", "TORCH_HOME")
_TERMINAL_VARIABLES = ("CI", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "LINES", "PY_COLORS")
_STDVID_PREFIX = "STDVID_"
_LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


def pytest_configure(config: pytest.Config) -> None:
    """Settings that libraries read when they are imported, so before any test module is."""
    home = Path(tempfile.mkdtemp(prefix="stdvid-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    os.environ["HOME"] = os.environ["USERPROFILE"] = str(home)
    for name in _HOME_VARIABLES:
        os.environ[name] = str(home / name.lower())
    for name in [*_TERMINAL_VARIABLES, *(key for key in os.environ if key.startswith(_STDVID_PREFIX))]:
        os.environ.pop(name, None)
    os.environ |= {"NO_COLOR": "1", "TERM": "dumb", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # most tests are too small for threads to share


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anything but this machine is a failure of the test."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOCAL_HOSTS:
            self.close()
            pytest.fail(f"the test opened a network connection to {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


class _ErrorRecords(logging.Handler):
    """Keeps the records of level ERROR and above; what the command line tells its user is not among them."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "stdvid.cli":
            self.records.append(record)


@pytest.fixture(autouse=True)
def _no_error_logged(request: pytest.FixtureRequest) -> Iterator[None]:
    """A log record of level ERROR fails the test that caused it, unless it is marked `error_log`."""
    if request.node.get_closest_marker("error_log"):
        yield
        return
    handler = _ErrorRecords()
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)
    logged = [f"{record.name}: {record.getMessage()}" for record in handler.records]
    assert not logged, f"logged at level ERROR: {logged}"


@pytest.fixture(autouse=True)
def _no_generator_reseeded() -> Iterator[None]:
    """Randomness is an argument: nothing sets the seed of a global generator. Afterwards all are as they were.

    Fresh network weights may draw from torch's global generator; a test that wants them reproducible seeds it within
    `torch.random.fork_rng()`.
    """
    torch = sys.modules.get("torch")
    torch_seed, torch_state = (torch.initial_seed(), torch.get_rng_state()) if torch else (None, None)
    numpy_state = np.random.get_state(legacy=False)
    yield
    reseeded = [
        name
        for name, same in (
            ("torch", torch is None or torch.initial_seed() == torch_seed),
            ("numpy.random", _same_state(np.random.get_state(legacy=False), numpy_state)),
        )
        if not same
    ]
    if torch is not None:
        torch.set_rng_state(torch_state)
    np.random.set_state(numpy_state)
    assert not reseeded, f"the global generator of {reseeded} was touched; pass a generator instead"


def _same_state(first: Any, second: Any) -> bool:
    first_words, second_words = first["state"], second["state"]
    return first_words["pos"] == second_words["pos"] and np.array_equal(first_words["key"], second_words["key"])


@pytest.fixture(scope="module")
def stylizer() -> NanoStylizer:
    """A nano network of random weights, as small as it can be."""
    import torch

    from stdvid.diffusion.schedule import cosine
    from stdvid.models.nano import Nano
    from stdvid.models.nano_stylizer import NanoStylizer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Nano(channels=[16, 16, 16], layers=1, heads=2, token_dim=16, vector_dim=16)
    return NanoStylizer(model.eval().requires_grad_(False), cosine())
