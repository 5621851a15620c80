"""What a run says: NDJSON events on stdout; notes, progress and a closing line on stderr; everything in a log file."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from stdvid.errors import UsageError

ProgressMode = Literal["auto", "bar", "plain", "none"]

log = logging.getLogger("stdvid.cli")

_PLAIN_EVERY_S = 5.0
_JSON_EVERY_S = 0.5


class Progress(Protocol):
    """How far a run is: frames, seconds since its start, frames a second, and seconds to go if that is known."""

    @property
    def frames_done(self) -> int: ...
    @property
    def frames_total(self) -> int | None: ...
    @property
    def elapsed_s(self) -> float: ...
    @property
    def fps(self) -> float: ...
    @property
    def eta_s(self) -> float | None: ...


class Reporter:
    """Speaks for one run, in the way that the options ask for.

    Args:
        as_json: events as one JSON object a line on stdout; no progress on stderr unless `progress` asks for it.
        progress: bar, plain lines or none; auto is a bar on a terminal and lines elsewhere.
        media_on_stdout: events go to stderr.
        quiet: no notes, no progress, no closing line. Errors are not spoken here and always come.
    """

    def __init__(self, *, as_json: bool, progress: ProgressMode, quiet: bool, media_on_stdout: bool = False) -> None:
        self._json = as_json
        self._events = sys.stderr if media_on_stdout else sys.stdout
        self._quiet = quiet
        if progress == "auto":
            progress = "none" if as_json else "bar" if sys.stderr.isatty() else "plain"
        self._mode: ProgressMode = "none" if quiet else progress
        self._bar: Any = None
        self._task: Any = None
        self._last_plain_s = self._last_json_s = 0.0
        self._frames_done = 0

    def event(self, name: str, values: Mapping[str, Any]) -> None:
        """One NDJSON line on stdout under --json, and always a line in the log."""
        log.debug("%s %s", name, values)
        if self._json:
            import json

            print(json.dumps({"event": name, **values}, default=str), file=self._events, flush=True)

    def note(self, text: str) -> None:
        """Something the user should know once, on stderr."""
        log.debug("note: %s", text)
        if not self._quiet:
            print(f"note: {text}", file=sys.stderr, flush=True)

    def closing(self, text: str) -> None:
        """How it ended, on stderr; under --json the `done` event says it."""
        log.debug("%s", text)
        if not (self._quiet or self._json):
            print(text, file=sys.stderr, flush=True)

    def begin_item(self) -> None:
        """What `progress` is told from now on is about another run."""
        self._frames_done = 0
        self._last_plain_s = self._last_json_s = 0.0

    def progress(self, now: Progress) -> None:
        """Pass on how far the run is; call as often as you like: only frames that are new are news."""
        if now.frames_done == self._frames_done:
            return
        self._frames_done = now.frames_done
        last = now.frames_done == now.frames_total
        if self._json and (last or now.elapsed_s - self._last_json_s >= _JSON_EVERY_S):
            self._last_json_s = now.elapsed_s
            keys = ("frames_done", "frames_total", "elapsed_s", "fps", "eta_s")
            self.event("progress", {key: getattr(now, key) for key in keys})
        if self._mode == "plain" and (last or now.elapsed_s - self._last_plain_s >= _PLAIN_EVERY_S):
            self._last_plain_s = now.elapsed_s
            print(progress_line(now), file=sys.stderr, flush=True)
        if self._bar is not None:
            self._bar.update(self._task, completed=now.frames_done, total=now.frames_total, rate=_rate(now))

    @contextmanager
    def running(self, total: int | None) -> Iterator[None]:
        """Show the bar, if one is asked for, within the block. `total`: frames, None if unknown."""
        if self._mode != "bar":
            yield
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("stylizing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        with RichProgress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
            self._bar, self._task = bar, bar.add_task("", total=total, rate="")
            try:
                yield
            finally:
                self._bar = None


def progress_line(now: Progress) -> str:
    """Progress as one plain line: frames 48/240, 20 %, 3.2 fps, 1:00 left."""
    total = f"/{now.frames_total} {100 * now.frames_done // max(1, now.frames_total):3d} %" if now.frames_total else ""
    return f"frames {now.frames_done}{total}  {_rate(now)}"


def duration(seconds: float) -> str:
    """Seconds as H:MM:SS, or M:SS below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _rate(now: Progress) -> str:
    left = "" if now.eta_s is None else f"  {duration(now.eta_s)} left"
    return f"{now.fps:.2f} fps{left}"


def describe(values: Mapping[str, Any], indent: str = "") -> str:
    """A nested mapping as aligned, indented lines for people; empty values are left out."""
    lines = []
    width = max((len(key) for key in values), default=0)
    for key, value in values.items():
        if value is None or value in ("", [], (), {}):
            continue
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}", describe(value, indent + "  ")]
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value):
                lines += [f"{indent}{key} {number}", describe(item, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<{width}}  {_shown(value)}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value)
    return str(value)


@contextmanager
def logging_to(log_file: Path | None, verbose: bool) -> Iterator[None]:
    """Within the block the library's log goes to stderr (`verbose`) and, in full, to `log_file`.

    Warnings of other libraries go the same way and so never stand between the lines of an error.

    Raises:
        UsageError: the log file cannot be written.
    """
    root = logging.getLogger()
    handlers: list[logging.Handler] = []
    try:
        if log_file is not None:
            try:
                handlers.append(logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace"))
            except OSError as exc:
                raise UsageError(f"cannot write the log {log_file}: {exc.strerror}; choose another file") from exc
            layout = logging.Formatter(
                "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
            )
            layout.converter = time.gmtime
            handlers[-1].setFormatter(layout)
            handlers[-1].setLevel(logging.DEBUG)
        if verbose:
            handlers.append(logging.StreamHandler(sys.stderr))
            handlers[-1].setFormatter(logging.Formatter("%(name)s: %(message)s"))
            handlers[-1].setLevel(logging.INFO)
        handlers = handlers or [logging.NullHandler()]
        own = logging.getLogger("stdvid")
        level = own.level
        own.setLevel(logging.DEBUG)
        logging.captureWarnings(True)
        for handler in handlers:
            root.addHandler(handler)
        try:
            yield
        finally:
            for handler in handlers:
                root.removeHandler(handler)
            logging.captureWarnings(False)
            own.setLevel(level)
    finally:
        for handler in handlers:
            handler.close()
