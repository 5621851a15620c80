"""Many clips under many styles, for real: what is taken, where it goes, what fails, what is skipped."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clips import picture

from stdvid.batch import find_sources
from stdvid.errors import InputError
from stdvid_cli.app import main

Clip = Callable[..., Path]
FAST = ["--size", "32", "--steps", "1", "--style-guidance", "0", "--enc", "preset=ultrafast"]


@pytest.fixture
def styles(tmp_path: Path) -> list[str]:
    words = []
    for name, seed in (("ink", 3), ("oil", 4)):
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), cv2.resize(picture(16, 12, seed), (160, 120)))
        words += ["--style", str(path)]
    return words


@pytest.fixture
def folder(clip: Clip, tmp_path: Path) -> Path:
    """Two clips, one of them below, a damaged one, a picture, a text file and a hidden one."""
    root = tmp_path / "in"
    (root / "deep").mkdir(parents=True)
    for name, seed in (("a.mp4", 1), ("deep/b.mp4", 2)):
        images = [np.roll(picture(64, 48, seed), k, 1) for k in range(4)]
        (root / name).write_bytes(clip(f"batch{seed}.mp4", n=4, images=images).read_bytes())
    (root / "broken.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + bytes(50))
    cv2.imwrite(str(root / "p.png"), picture(64, 48, 3))
    (root / "notes.txt").write_text("no video")
    (root / ".hidden.mp4").write_bytes(b"")
    return root


def names(sources: list[Any]) -> list[str]:
    return [str(source.folder / source.path.name) for source in sources]


def test_folders_globs_files_and_lists(folder: Path) -> None:
    assert names(find_sources([str(folder)])) == ["a.mp4", "broken.mkv", "deep/b.mp4", "p.png"]
    assert names(find_sources([f"{folder}/*.mp4"])) == ["a.mp4"]
    assert names(find_sources([f"{folder}/**/*.mp4"])) == ["a.mp4", "b.mp4"]
    lines = io.StringIO(f"{folder}/a.mp4\r\n\n{folder}/deep\n")
    assert names(find_sources(["-"], lines)) == ["a.mp4", "b.mp4"]
    assert names(find_sources([f"{folder}/a.mp4", str(folder / "deep" / ".." / "a.mp4")])) == ["a.mp4"]
    assert names(find_sources([str(folder)], leave_out=folder / "deep")) == ["a.mp4", "broken.mkv", "p.png"]
    assert names(find_sources(["not there.mp4"])) == ["not there.mp4"]  # its item fails
    odd = folder / "one [1].mp4"
    odd.write_bytes(b"x")
    assert names(find_sources([str(odd)])) == ["one [1].mp4"]


@pytest.mark.parametrize("word", ["*.nothing", "{}/empty"])
def test_where_nothing_is_there_is_nothing_to_do(tmp_path: Path, word: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no video or image there"):
        find_sources([word.format(tmp_path)])


def test_every_style_for_every_input_and_one_bad_file_stops_nothing(
    folder: Path, styles: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["batch", str(folder), *styles, "-o", str(out), *FAST]
    assert main([*command, "--json"]) == 4
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    items = [e for e in events if e["event"] == "item"]
    assert sorted(Path(e["output"]).relative_to(out).as_posix() for e in items if e["status"] == "done") == [
        *("a.ink.mp4", "a.oil.mp4", "deep/b.ink.mp4", "deep/b.oil.mp4", "p.ink.png", "p.oil.png"),
    ]
    assert [e["status"] for e in items if "broken" in e["input"]] == ["failed", "failed"]
    assert {k: events[-2][k] for k in ("event", "done", "skipped", "failed", "frames")} == {
        "event": "done",
        "done": 6,
        "skipped": 0,
        "failed": 2,
        "frames": 18,
    }
    assert (events[-1]["event"], events[-1]["exit_code"]) == ("error", 4)
    there = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert len(there) == 6

    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert main(command) == 4
    err = capsys.readouterr().err
    assert err.count("skipped: the output exists") == 6
    assert "error: 2 of 8 items failed" in err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == stamps
    assert main([*command, "-y", "-q"]) == 4
    assert all(path.stat().st_mtime_ns > stamps[path] for path in out.rglob("*.mp4"))


def test_the_first_failure_can_end_it(folder: Path, styles: list[str], tmp_path: Path, capsys: Any) -> None:
    words = ["batch", str(folder / "broken.mkv"), str(folder / "a.mp4"), *styles[:2], "-o", str(tmp_path / "out")]
    assert main([*words, *FAST, "--fail-fast", "--json"]) == 4
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (events[-2]["failed"], events[-2]["done"], events[-2]["not_begun"]) == (1, 0, 1)


def test_an_archive_remembers_what_is_done_by_content_and_settings(
    folder: Path, styles: list[str], tmp_path: Path, capsys: Any
) -> None:
    archive, out = tmp_path / "done.txt", tmp_path / "out"
    command = ["batch", str(folder / "a.mp4"), *styles[:2], "-o", str(out), *FAST, "--archive", str(archive)]
    assert main(command) == 0
    [line] = archive.read_text().splitlines()
    assert line.endswith(" a.ink.mp4")
    (out / "a.ink.mp4").unlink()
    (folder / "a.mp4").rename(folder / "renamed.mp4")
    command[1] = str(folder / "renamed.mp4")
    assert main(command) == 0
    assert "skipped: in the archive" in capsys.readouterr().err
    assert not list(out.iterdir())
    assert main([*command, "--seed", "5"]) == 0
    assert len(archive.read_text().splitlines()) == 2


def test_processes_side_by_side_give_the_same_files(folder: Path, styles: list[str], tmp_path: Path) -> None:
    for jobs in ("1", "2"):
        words = ["batch", str(folder), *styles[:2], "-o", str(tmp_path / jobs), "--threads", "1", *FAST, "-q"]
        assert main([*words, "--jobs", jobs]) == 4
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / jobs).rglob("*") if path.is_file()} for jobs in "12"
    )
    assert len(one) == 3
    assert one == two


def test_templates_and_clashes(folder: Path, styles: list[str], tmp_path: Path, capsys: Any) -> None:
    template = str(tmp_path / "t" / "{style}" / "{stem}.mkv")
    assert main(["batch", str(folder / "a.mp4"), *styles, "-o", template, *FAST, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("a.mkv") == 2
    assert not (tmp_path / "t").exists()
    assert main(["batch", str(folder / "a.mp4"), *styles, "-o", str(tmp_path / "{stem}.mp4"), *FAST]) == 2
    assert "would both be written" in capsys.readouterr().err


def test_a_list_on_stdin(folder: Path, styles: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{folder / 'a.mp4'}\n"))
    assert main(["batch", "-", *styles[:2], "-o", str(tmp_path / "out"), *FAST, "-q"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.ink.mp4"]
