"""Painting on a Ray cluster: the windows of one long clip, or of many, side by side on other machines.

    here:     decode, shots, windows -> tasks ........................ painted windows -> journal, encode
    workers:                            palette, motion, anchors, painting

Files never leave this machine: workers are sent frames and give frames back, and need nothing but stdvid itself. What
may be painted side by side is said by `WindowPainter`; Ray runs the tasks, each when what it needs is there, and again
when the worker that ran it is lost.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stdvid import __version__
from stdvid.config import StylizeConfig
from stdvid.errors import ClusterError, Interrupted, ModelError, StdvidError, UsageError
from stdvid.models.catalogue import load_model
from stdvid.models.network import NetworkEntry
from stdvid.painter import Image, Images, Painter, read_reference
from stdvid.planning import Plan, work_of

T = TypeVar("T")

RETRIES = 5
"""How often a task is begun again after its worker was lost."""

WINDOWS_PER_WORKER = 2
"""Windows under way for each worker: one being painted, and the next."""

KNOCK_S = 5.0
"""How long an address may take to answer."""

_ADDRESSES = "HOST:PORT, ray://HOST:PORT, auto or local are allowed"
_POLL_S = 0.2


class Cluster:
    """A connection to a Ray cluster; a context manager.

    Attributes:
        runs: how many runs share it at a time.
    """

    def __init__(self, address: str) -> None:
        """`address`: as Ray writes it (HOST:PORT, ray://HOST:PORT, auto), or "local" for workers on this machine.

        Raises UsageError if Ray is not installed.
        """
        try:
            import ray
        except ImportError as exc:
            raise UsageError("--ray: Ray is not installed; it is an extra; pip install 'stdvid[ray]'") from exc
        self._ray: Any = ray
        self.address, self.runs = address, 1

    def __enter__(self) -> Self:
        """Raises ClusterError if there is no cluster at the address, UsageError if it is none."""
        self._began = not self._ray.is_initialized()
        if self._began:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")
            own: dict[str, Any] = {"include_dashboard": False} if self.address == "local" else {}
            try:
                _knock(self.address)
                with _own_signals():
                    self._ray.init(self.address, log_to_driver=False, logging_level=logging.ERROR, **own)
            except (OSError, RuntimeError, ValueError, AssertionError) as exc:
                words = " ".join(str(exc).split()).split(". ")[0][:200]
                raise ClusterError(
                    f"--ray {self.address}: no cluster there ({words}); {_ADDRESSES}; see `ray status`"
                ) from exc
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._began:
            with _own_signals():
                self._ray.shutdown()

    def devices(self) -> frozenset[str]:
        """Kinds of device that its workers have."""
        return frozenset({"cpu", "cuda"} if self._ray.cluster_resources().get("GPU") else {"cpu"})

    def cpus(self) -> int:
        """How many CPUs its workers have now."""
        return int(self._ray.cluster_resources().get("CPU", 0))

    def slots(self, cpus: int, mib: int, gpus: int) -> int:
        """How many tasks that need so much can run at a time."""
        return sum(_fitting(node["Resources"], cpus, mib, gpus) for node in self._ray.nodes() if node["Alive"])

    @contextmanager
    def painter(self, planned: Plan, stop: threading.Event) -> Iterator[RemotePainter]:
        """Hands for a run (see `WindowPainter`); what they have not finished on leaving is cancelled."""
        hands = RemotePainter(self, self._ray, planned, stop)
        try:
            yield hands
        finally:
            hands.cancel()


class RemotePainter:
    """A `Painter` whose methods are tasks of a cluster: they return at once, with promises.

    Raises, from `value`:
        Interrupted: `stop` was set.
        ClusterError: the workers are lost, or the cluster is.
        ModelError: workers have another version, or another model.
    """

    def __init__(self, cluster: Cluster, ray: Any, planned: Plan, stop: threading.Event) -> None:
        job = planned.job
        self._cluster, self._ray, self._stop = cluster, ray, stop
        self._needs = (job.threads or 1, planned.memory_mib(), int(planned.device.type == "cuda"))
        cpus, mib, gpus = self._needs
        order = _Order(
            id=uuid.uuid4().hex,
            version=__version__,
            network=planned.network,
            references=tuple(read_reference(path) for path in job.styles),
            times=planned.times,
            config=job.config,
            size=planned.size,
            device=planned.device.type,
            threads=cpus,
        )
        self._order = ray.put(order)
        self._patience_s = 0.0 if cluster.address == "local" else job.limits.stall  # where no other worker can come
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, memory=mib * 2**20, max_retries=RETRIES)(_work)
        self._unfinished: list[Any] = []  # the seconds that each task took, which are there when it is done
        self._images: Images | None = None
        self._images_sent: Any = None
        self.network_seconds = 0.0

    @property
    def ahead(self) -> int:
        """So many windows that no worker is idle."""
        return max(1, math.ceil(WINDOWS_PER_WORKER * self._cluster.slots(*self._needs) / self._cluster.runs))

    def look(self, images: Images) -> Any:
        """A task; see `Painter`."""
        return self._begin("look", self._sent(images))

    def ways(self, images: Images) -> Any:
        """A task; see `Painter`."""
        return self._begin("ways", self._sent(images))

    def apart(self, images: Images, index: int, look: Any) -> Any:
        """A task; see `Painter`."""
        return self._begin("apart", self._sent(images), index, look)

    def anchor(self, image: Image, look: Any, first: Any = None, ways: Any = None) -> Any:
        """A task; see `Painter`."""
        return self._begin("anchor", image, look, first, ways)

    def between(self, images: Images, look: Any, ways: Any, first: Any, last: Any) -> Any:
        """A task; see `Painter`."""
        return self._begin("between", self._sent(images), look, ways, first, last)

    def chain(self, images: Images, look: Any, before: Any) -> Any:
        """A task; see `Painter`."""
        return self._begin("chain", self._sent(images), look, before, results=2)

    def value(self, painted: T) -> T:
        """What a task has returned; waits for it."""
        began = time.monotonic()
        while not self._ray.wait([painted], timeout=_POLL_S)[0]:
            self._check()
            if time.monotonic() - began > self._patience_s and not self._cluster.slots(*self._needs):
                raise ClusterError(self._nobody())
        self._check()
        result: T = self._get(painted)
        done, self._unfinished = self._ray.wait(self._unfinished, num_returns=len(self._unfinished), timeout=0)
        self.network_seconds += sum(self._get(done))
        return result

    def cancel(self) -> None:
        """Give up what is not finished."""
        for task in self._unfinished:
            self._ray.cancel(task)

    def _sent(self, images: Images) -> Any:
        """The frames of a window where workers can fetch them, put there once for all of its tasks."""
        if self._images is not images:
            self._images, self._images_sent = images, self._ray.put(images)
        return self._images_sent

    def _begin(self, method: str, *given: Any, results: int = 1) -> Any:
        task = self._task.options(num_returns=results + 1)
        *promises, seconds = task.remote(self._order, method, *given)
        self._unfinished.append(seconds)
        return promises[0] if results == 1 else promises

    def _nobody(self) -> str:
        cpus, mib, gpus = self._needs
        wanted = f"{cpus} CPU{'s' * (cpus > 1)}, {mib} MiB" + (", 1 GPU" if gpus else "")
        waited = f" in {self._patience_s:g} s" if self._patience_s else ""
        return (
            f"--ray {self._cluster.address}: no worker with {wanted}{waited}; there has to be one; lower "
            "--threads or --size, start another worker, or wait longer with --limit stall=N"
        )

    def _check(self) -> None:
        if self._stop.is_set():
            raise Interrupted("interrupted")

    def _get(self, promised: Any) -> Any:
        """What is there, or what went wrong with it, as an error of ours."""
        try:
            return self._ray.get(promised)
        except self._ray.exceptions.RayTaskError as exc:
            if isinstance(exc.cause, StdvidError):
                raise exc.cause from exc
            raise
        except self._ray.exceptions.RayError as exc:
            words = " ".join(str(exc).split())[:200]
            raise ClusterError(
                f"--ray {self._cluster.address}: work is lost ({words}); workers that stay are needed; see `ray status`"
                ", and run the same command again to go on"
            ) from exc


@dataclass(frozen=True)
class _Order:
    """All that a worker needs to know to be the painter of a run."""

    id: str
    version: str
    network: NetworkEntry
    references: tuple[NDArray[np.uint8], ...]
    times: tuple[int, ...]
    config: StylizeConfig
    size: tuple[int, int]
    device: str
    threads: int

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Order) and self.id == other.id


def _work(order: _Order, method: str, *given: Any) -> tuple[Any, ...]:
    """A task: what the method of a painter returns, and the seconds that the network took."""
    painter = _painter(order)
    before = painter.network_seconds
    result = getattr(painter, method)(*moved(given, painter.stylizer.device))
    results = result if isinstance(result, tuple) else (result,)
    return (*moved(results, torch.device("cpu")), painter.network_seconds - before)


@functools.lru_cache(4)
def _painter(order: _Order) -> Painter:
    """A worker keeps the painters of some runs."""
    if order.version != __version__:
        raise ModelError(
            f"a worker has stdvid {__version__}; {order.version} is needed, as here; install it on every machine"
        )
    torch.set_num_threads(order.threads)
    cv2.setNumThreads(order.threads)
    config = order.config
    work, device = work_of(config, order.size, order.times), torch.device(order.device)
    stylizer = load_model(config.model, config.sampling, order.network, device, work)
    style = stylizer.read_style(order.references, config.sampling.style_scale)
    return Painter(stylizer, style, order.times, config, order.size, threading.Event())


@contextmanager
def connected(address: str | None) -> Iterator[Cluster | None]:
    """A cluster, or None where there is no address."""
    if address is None:
        yield None
        return
    with Cluster(address) as cluster:
        yield cluster


def moved(value: Any, device: torch.device) -> Any:
    """The same, with every tensor in it on `device`: in dataclasses, dictionaries, lists and tuples."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return type(value)({key: moved(item, device) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return type(value)(moved(item, device) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: moved(getattr(value, field.name), device) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    return value


def _knock(address: str) -> None:
    """OSError where nobody listens: Ray would try for minutes. UsageError for what is no address."""
    if address not in ("auto", "local"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not host or not port.isdecimal():
            raise UsageError(f"--ray '{address}' is no address; {_ADDRESSES}")
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()


def _fitting(there: dict[str, float], cpus: int, mib: int, gpus: int) -> int:
    """How many tasks that need so much a machine can run at a time."""
    fits = [there.get("CPU", 0) // cpus, there.get("memory", 0) // (mib * 2**20)]
    return int(min([*fits, there.get("GPU", 0) // gpus] if gpus else fits))


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes signals for itself; they are given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
