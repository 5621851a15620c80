"""Events, progress, notes and logs go where they belong."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from stdvid.errors import UsageError
from stdvid_cli.report import (
    ProgressMode,
    Reporter,
    describe,
    duration,
    logging_to,
    progress_line,
)


@dataclass
class Now:
    frames_done: int
    frames_total: int | None = 100
    elapsed_s: float = 0.0
    fps: float = 2.0
    eta_s: float | None = 30.0


def test_json_has_one_object_a_line_and_leaves_stderr_alone(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(as_json=True, progress="auto", quiet=False)
    reporter.event("plan", {"frames": 100, "path": Path("x")})
    with reporter.running(100):
        for i in range(101):
            reporter.progress(Now(i, elapsed_s=i / 50))
    reporter.closing("done")
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert events[0] == {"event": "plan", "frames": 100, "path": "x"}
    done = [e["frames_done"] for e in events[1:]]
    assert done == [25, 50, 75, 100]
    assert set(events[1]) == {"event", "frames_done", "frames_total", "elapsed_s", "fps", "eta_s"}
    assert err == ""


def test_plain_progress_is_a_line_now_and_then_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(as_json=False, progress="auto", quiet=False)  # captured: not a terminal
    for i in range(101):
        reporter.progress(Now(i, elapsed_s=i / 10))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[1] for line in err.splitlines()] == ["50/100", "100/100"]


def test_the_same_progress_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(as_json=True, progress="plain", quiet=False)
    for _ in range(3):
        reporter.progress(Now(100, elapsed_s=60))
    out, err = capsys.readouterr()
    assert (out.count("\n"), err.count("\n")) == (1, 1)


@pytest.mark.parametrize(("progress", "quiet"), [("none", False), ("plain", True), ("bar", True)])
def test_no_progress_where_none_is_wanted(
    progress: ProgressMode, quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter(as_json=False, progress=progress, quiet=quiet)
    with reporter.running(10):
        reporter.progress(Now(10, 10, 100.0))
    assert capsys.readouterr() == ("", "")


def test_the_bar_is_drawn_on_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    reporter = Reporter(as_json=False, progress="auto", quiet=False)
    with reporter.running(None):
        reporter.progress(Now(40, elapsed_s=20))
    out, err = capsys.readouterr()
    assert out == ""
    assert "40/100" in err
    assert "2.00 fps" in err
    assert "0:30 left" in err


def test_notes_and_closing_lines_can_be_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        reporter = Reporter(as_json=False, progress="none", quiet=quiet)
        reporter.note("strength rounds to .6")
        reporter.closing("done: x")
    assert capsys.readouterr() == ("", "note: strength rounds to .6\ndone: x\n")


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (Now(48, 240, fps=3.2, eta_s=60), "frames 48/240  20 %  3.20 fps  1:00 left"),
        (Now(48, None, fps=3.2, eta_s=None), "frames 48  3.20 fps"),
        (Now(0, 0, fps=0, eta_s=None), "frames 0  0.00 fps"),
    ],
)
def test_progress_lines(now: Now, line: str) -> None:
    assert progress_line(now) == line


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3725, "1:02:05")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_describe_is_for_people() -> None:
    text = describe({"path": "a", "n": 3, "vfr": False, "empty": {}, "none": None, "size": [5, 6], "v": {"f": 0.25},
                     "streams": [{"kind": "audio"}]})  # fmt: skip
    assert text.splitlines() == [
        "path     a",
        "n        3",
        "vfr      no",
        "size     5, 6",
        "v",
        "  f  0.25",
        "streams 0",
        "  kind  audio",
    ]


def test_the_log_file_has_everything_and_nothing_stays_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (list(logging.getLogger().handlers), logging.getLogger("stdvid").level)
    path = tmp_path / "run.log"
    with logging_to(path, verbose=False), warnings.catch_warnings():
        warnings.simplefilter("default")
        Reporter(as_json=False, progress="none", quiet=True).event("plan", {"frames": 3})
        logging.getLogger("stdvid.media").info("reading")
        warnings.warn("from elsewhere", UserWarning, stacklevel=1)
    text = path.read_text()
    assert "DEBUG stdvid.cli: plan {'frames': 3}" in text
    assert "INFO stdvid.media: reading" in text
    assert "from elsewhere" in text
    assert capsys.readouterr() == ("", "")
    assert (list(logging.getLogger().handlers), logging.getLogger("stdvid").level) == before


def test_verbose_says_more_but_not_everything(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(None, verbose=True):
        logging.getLogger("stdvid.media").info("reading")
        logging.getLogger("stdvid.media").debug("packet 1")
    assert capsys.readouterr().err == "stdvid.media: reading\n"


def test_a_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write the log"), logging_to(tmp_path / "no" / "x.log", verbose=False):
        pytest.fail("the block must not run")
