"""Many stylizations: which files, where each result goes, one after another or side by side, and how each ended.

    words (files, folders, globs, a list) -> sources -> x styles -> jobs -> outcomes

One item that fails stops no other; what is done is not done again.
"""

from __future__ import annotations

import glob
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Literal, Protocol

from stdvid import journal
from stdvid.cluster import Cluster
from stdvid.errors import InputError, Interrupted, OutputError, StdvidError
from stdvid.stylize import Job, Progress, plan, run

_CLIPS = "3gp asf avi flv gif m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv y4m"
_PICTURES = "bmp jpeg jpg png tif tiff webp"
SUFFIXES = frozenset(f".{name}" for name in f"{_CLIPS} {_PICTURES}".split())
"""What is taken from a folder."""

MOST_AT_A_TIME = 8
"""Items under way on a cluster, unless told otherwise: each is decoded and encoded here."""

_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Source:
    """An input, and the folder within the output folder that its results go to."""

    path: Path
    folder: Path = Path()


def find_sources(words: Iterable[str], listed: Iterable[str] = (), leave_out: Path | None = None) -> list[Source]:
    """Files, folders (with all below them) and globs; "-" stands for the lines of `listed`. Sorted within each word.

    Args:
        words: as the user wrote them.
        listed: one word a line; empty ones do not count.
        leave_out: a folder whose files are results.

    Raises:
        InputError: a folder or a glob without any file to stylize. A file need not be there: its item will fail.
    """
    found: dict[Path, Source] = {}
    lines = (line.rstrip("\r\n") for line in listed)
    for word in words:
        for item in [line for line in lines if line.strip()] if word == "-" else [word]:
            for source in _of_word(item, leave_out):
                found.setdefault(Path(os.path.abspath(source.path)), source)
    return list(found.values())


def _of_word(word: str, leave_out: Path | None) -> list[Source]:
    path = Path(word)
    if path.is_dir():
        below = [Path(at, name) for at, _, names in os.walk(path) for name in names]
        taken = [p for p in below if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
        taken = [p for p in taken if leave_out is None or not _within(p, leave_out) or _within(path, leave_out)]
        sources = [Source(p, p.parent.relative_to(path)) for p in sorted(taken)]
    elif path.exists() or not glob.has_magic(word):
        sources = [Source(path)]
    else:
        sources = [Source(Path(name)) for name in sorted(glob.glob(word, recursive=True)) if not Path(name).is_dir()]
    if not sources:
        raise InputError(f"{word}: no video or image there; files, folders and globs are allowed; check the path")
    return sources


def _within(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


@dataclass(frozen=True)
class Outcome:
    """How an item ended. `frames` and `seconds` of this run; `key` is that of the run (`Plan.key`)."""

    job: Job
    status: Literal["done", "skipped", "failed"]
    message: str = ""
    frames: int = 0
    seconds: float = 0.0
    key: str = ""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        named = {"input": str(self.job.source), "styles": [str(p) for p in self.job.styles]}
        ended = {"output": str(self.job.output), "status": self.status, "message": self.message}
        return {**named, **ended, "frames": self.frames, "seconds": self.seconds, "notes": list(self.notes)}


class _Stop(Protocol):
    def is_set(self) -> bool: ...


class Archive:
    """A file of keys of runs that are done, one a line, with the name of the output; it only grows."""

    def __init__(self, path: Path | None) -> None:
        """Raises OutputError if it is there and cannot be read."""
        self.path = path
        try:
            lines = path.read_text("utf-8").splitlines() if path is not None and path.exists() else []
        except (OSError, UnicodeDecodeError) as exc:
            raise OutputError(f"archive {path}: cannot be read; a text file is needed; name another") from exc
        self.keys = frozenset(line.split()[0] for line in lines if line.strip())

    def add(self, outcome: Outcome) -> None:
        """Note an item that is done. Raises OutputError."""
        if self.path is None or not outcome.key or outcome.key in self.keys:
            return
        try:
            with open(self.path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{outcome.key} {outcome.job.output.name}\n")
        except OSError as exc:
            raise OutputError(f"archive {self.path}: cannot be written ({exc.strerror}); name another") from exc
        self.keys |= {outcome.key}


def stylize_item(
    job: Job,
    done: frozenset[str],
    on_progress: Callable[[Progress], None],
    stop: _Stop | threading.Event,
    cluster: Cluster | None = None,
) -> Outcome:
    """One item; every error of ours is its outcome, but Interrupted.

    `done`: keys of runs that need not be run.
    """
    try:
        if job.output.exists() and not job.overwrite and not journal.finished(job.output):
            return Outcome(job, "skipped", "the output exists")
        job.output.parent.mkdir(parents=True, exist_ok=True)
        planned = plan(job, cluster.devices() if cluster else None)
        if done and planned.key in done:
            return Outcome(job, "skipped", "in the archive", key=planned.key)
        result = run(planned, on_progress, stop, cluster)  # type: ignore[arg-type]
        notes = (*planned.notes, *result.notes)
        return Outcome(job, "done", "", result.frames - result.resumed, result.seconds, planned.key, notes)
    except Interrupted:
        raise
    except (StdvidError, OSError) as exc:
        return Outcome(job, "failed", " ".join(str(exc).split()))


def stylize_all(
    jobs: Sequence[Job],
    archive: Archive,
    stop: threading.Event,
    *,
    side_by_side: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    cluster: Cluster | None = None,
) -> Generator[Outcome]:
    """Outcomes of all items, as they end; one after another, or so many side by side.

    With a `cluster` its workers paint, and as many items are under way as keep them busy; without one, items side by
    side have processes of their own.

    Raises Interrupted when asked to stop; what was not finished has a journal.
    """
    side_by_side = side_by_side or (_items_at_a_time(len(jobs), cluster) if cluster else 1)
    if cluster:
        cluster.runs = side_by_side
    if side_by_side <= 1:
        for job in jobs:
            if stop.is_set():
                raise Interrupted("interrupted; run the same command again to go on")
            outcome = stylize_item(job, archive.keys, on_progress, stop, cluster)
            if outcome.status == "done":
                archive.add(outcome)
            yield outcome
        return
    theirs: threading.Event | Event = threading.Event() if cluster else _SPAWN.Event()
    with _pool(side_by_side, theirs, cluster) as (pool, work):
        try:
            waiting = {pool.submit(work, job, archive.keys): job for job in jobs}
            while waiting:
                ended, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                if stop.is_set():
                    raise Interrupted("interrupted; run the same command again to go on")
                for future in ended:
                    outcome = _outcome(future, waiting.pop(future))
                    if outcome.status == "done":
                        archive.add(outcome)
                    yield outcome
        finally:
            theirs.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _items_at_a_time(items: int, cluster: Cluster) -> int:
    return max(1, min(items, cluster.cpus(), MOST_AT_A_TIME))


@contextmanager
def _pool(n: int, stop: Any, cluster: Cluster | None) -> Iterator[tuple[Executor, Callable[..., Outcome]]]:
    """Threads that hand their work to a cluster, or processes that do it; and what they are to call."""
    if cluster:
        with ThreadPoolExecutor(n) as threads:
            yield threads, partial(stylize_item, on_progress=lambda _: None, stop=stop, cluster=cluster)
        return
    share = max(1, (os.cpu_count() or 1) // n)
    with ProcessPoolExecutor(n, _SPAWN, _begin_worker, (stop,)) as processes:
        yield processes, partial(_work, share)


def _outcome(future: Future[Outcome], job: Job) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(job, "failed", "its process died (out of memory?); run the same command again to go on")


_stop: Any = None


def _begin_worker(stop: Any) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and says so


def _work(threads: int, job: Job, done: frozenset[str]) -> Outcome:
    return stylize_item(replace(job, threads=job.threads or threads), done, lambda _: None, _stop)
