"""Runs that die and go on: every frame is painted once, and the output is that of a run that never died."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clips import film

from stdvid import journal
from stdvid.config import EncodeConfig, StylizeConfig
from stdvid.errors import InputError, Interrupted, OutputError, OutputExistsError, SourceChangedError
from stdvid.schema import merge
from stdvid.stylize import Job, plan, run
from stdvid.window_painter import WindowPainter

Clip = Callable[..., Path]
Painted = list[int]


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> Painted:
    """First frames of the windows that were painted, in order."""
    windows: Painted = []
    begin = WindowPainter.begin

    def spy(self: WindowPainter, window: Any, *args: Any, **options: Any) -> Any:
        result = begin(self, window, *args, **options)
        windows.append(window.start)
        return result

    monkeypatch.setattr(WindowPainter, "begin", spy)
    return windows


def job(source: Path, style: Path, output: Path, mode: str = "full", **options: Any) -> Job:
    sections = {
        "sampling": {"steps": 2, "style_guidance": 2},
        "video": {"size": 32, "window": 4, "overlap": 2, "consistency": mode},
        "encode": {"enc": {"preset": "ultrafast", "bf": "1"}},
    }
    config = merge(StylizeConfig(), sections)
    if output.suffix == ".gif":
        config = dataclasses.replace(config, encode=EncodeConfig("gif", crf=None))
    return Job(source=source, styles=(style,), output=output, config=config, **options)


def interrupted(wanted: Job, after: int) -> None:
    """Run until at least so many frames are finished."""
    stop = threading.Event()

    def watch(now: Any) -> None:
        if now.frames_done >= after:
            stop.set()

    with pytest.raises(Interrupted, match="frames are kept"):
        run(plan(wanted), watch, stop)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        pytest.param("none", "mp4", marks=pytest.mark.slow),
        pytest.param("noise", "mkv", marks=pytest.mark.slow),
        ("flow", "mp4"),
        ("full", "mkv"),
        pytest.param("full", "mp4", marks=pytest.mark.slow),
        ("full", "gif"),
    ],
)
def test_stopped_again_and_again_the_output_is_the_same(
    clip: Clip, style: Path, tmp_path: Path, painted: Painted, monkeypatch: pytest.MonkeyPatch, mode: str, suffix: str
) -> None:
    monkeypatch.setattr("stdvid.recording.SEGMENT_FRAMES", 5)
    source = film(clip)
    run(plan(job(source, style, tmp_path / f"whole.{suffix}", mode)))
    once = list(painted)
    painted.clear()
    wanted = job(source, style, tmp_path / f"parts.{suffix}", mode, verify=suffix != "gif")
    for after in (2, 6, 11):
        interrupted(wanted, after)
        assert not wanted.output.exists()
    result = run(plan(wanted))
    assert painted == once
    assert result.resumed >= 11
    assert any("going on after" in note for note in result.notes)
    assert wanted.output.read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()
    assert not journal.folder_of(wanted.output).exists()


def test_a_constant_rate_repeats_frames_across_the_gap(
    clip: Clip, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stdvid.recording.SEGMENT_FRAMES", 3)
    source = clip("slow.mp4", pts=[0, 512, 2560, 5120, 9000, 12000, 12512, 13024, 20000])
    run(plan(job(source, style, tmp_path / "whole.mp4", fps_mode="cfr")))
    wanted = job(source, style, tmp_path / "parts.mp4", fps_mode="cfr")
    interrupted(wanted, 2)
    run(plan(wanted))
    assert wanted.output.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


KILLER = """
import os, signal, sys
from pathlib import Path
import stdvid.recording
from stdvid_cli.app import main
stdvid.recording.SEGMENT_FRAMES = 5
left, before, replace = int(sys.argv[1]), sys.argv[2] == "before", os.replace
def deadly(*args):
    global left
    left -= 1
    if left or not before:
        replace(*args)
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = deadly
sys.exit(main(sys.argv[3:]))
"""


def test_killed_at_any_moment_on_disk(clip: Clip, style: Path, tmp_path: Path) -> None:
    """SIGKILL before or after the n-th time that a file gets its name, until a run lives to its end."""
    source, whole, parts = film(clip), tmp_path / "whole.mp4", tmp_path / "parts.mp4"
    words = ["stylize", str(source), "--style", str(style), "--size", "32", "--window", "6", "--steps", "1", "-q"]
    words += ["--style-guidance", "0", "--threads", "1", "--json"]

    def attempt(output: Path, n: int, when: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLER, str(n), when, *words, "-o", str(output)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert attempt(whole, 0, "never").returncode == 0
    for n, when in [(3, "after"), (6, "before"), (9, "after")]:
        assert attempt(parts, n, when).returncode == -signal.SIGKILL
        assert not parts.exists() or parts.read_bytes() == whole.read_bytes()
    last = attempt(parts, 0, "never")
    assert last.returncode == 0, last.stderr
    assert json.loads(last.stdout.splitlines()[-1])["resumed"] > 0
    assert parts.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir() if "parts" in p.name) == ["parts.mp4"]


def test_dying_just_before_the_journal_is_removed_counts_as_done(
    clip: Clip, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, painted: Painted
) -> None:
    wanted = job(film(clip), style, tmp_path / "out.mp4")
    with monkeypatch.context() as patched:
        patched.setattr(journal.Journal, "remove", lambda self: self._lock.release())
        run(plan(wanted))
    content = wanted.output.read_bytes()
    painted.clear()
    assert run(plan(wanted)).frames == 16
    assert painted == []
    assert wanted.output.read_bytes() == content
    with pytest.raises(OutputExistsError):
        run(plan(wanted))


@pytest.mark.parametrize("change", ["source", "settings", "format", "file gone"])
def test_what_does_not_belong_together_begins_anew(
    clip: Clip, style: Path, tmp_path: Path, painted: Painted, change: str
) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(film(clip).read_bytes())
    wanted = job(source, style, tmp_path / "out.mp4")
    interrupted(wanted, 4)
    folder = journal.folder_of(wanted.output)
    if change == "source":
        source.write_bytes(film(clip, 15).read_bytes())
    elif change == "settings":
        wanted = job(source, style, tmp_path / "out.mp4", "flow")
    elif change == "format":
        values = json.loads((folder / "journal.json").read_text())
        (folder / "journal.json").write_text(json.dumps({**values, "state": "../../etc/passwd"}))
    else:
        next(folder.glob("frames-*.npz")).unlink()
    painted.clear()
    result = run(plan(wanted))
    assert result.resumed == 0
    assert painted[0] == 0
    if change != "format":
        assert any("begun anew" in note for note in result.notes)


def test_without_resume_nothing_is_used_and_nothing_is_left(
    clip: Clip, style: Path, tmp_path: Path, painted: Painted
) -> None:
    source = film(clip)
    interrupted(job(source, style, tmp_path / "out.mp4"), 4)
    stop = threading.Event()
    with pytest.raises(Interrupted, match="nothing was kept"):
        run(plan(job(source, style, tmp_path / "out.mp4", resume=False)), lambda _: stop.set(), stop)
    assert not journal.folder_of(tmp_path / "out.mp4").exists()
    assert not (tmp_path / "out.mp4.part").exists()


def test_a_source_that_changes_meanwhile_is_said_and_the_journal_stays(clip: Clip, style: Path, tmp_path: Path) -> None:
    source = film(clip)
    wanted = job(source, style, tmp_path / "out.mp4")
    with pytest.raises(SourceChangedError, match="changed while"):
        run(plan(wanted), lambda _: os.utime(source, ns=(1, 1)))
    assert not wanted.output.exists()
    assert run(plan(wanted)).resumed == 16  # its content is the same after all


def test_damage_in_the_source_leaves_nothing(clip: Clip, style: Path, tmp_path: Path) -> None:
    source = clip("long.mkv", n=40, codec="ffv1", options={})
    data = bytearray(source.read_bytes())
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    source.write_bytes(bytes(data))
    folder = tmp_path / "out"
    folder.mkdir()
    try:
        run(plan(job(source, style, folder / "out.mp4")))
    except InputError:
        assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(clip: Clip, style: Path, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        plan(job(film(clip), style, folder / "out.mp4"))


def test_a_full_disk_keeps_what_is_finished(
    clip: Clip, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = job(film(clip), style, tmp_path / "out.mp4")
    save, calls = journal._save, []

    def full(path: Path, **arrays: Any) -> None:
        calls.append(path)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        save(path, **arrays)

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_save", full)
        with pytest.raises(OutputError, match=r"No space left.*frames are kept.*make room"):
            run(plan(wanted))
    assert not wanted.output.exists()
    assert run(plan(wanted)).resumed > 0


def test_two_runs_cannot_write_one_output(clip: Clip, style: Path, tmp_path: Path) -> None:
    wanted = job(film(clip), style, tmp_path / "out.mp4")
    with journal.Journal(wanted.output, "another"), pytest.raises(OutputError, match="another run is writing"):
        run(plan(wanted))
