"""The commands with the real library behind them: shapes of JSON, exit codes, and help that imports nothing heavy."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typer.rich_utils  # noqa: F401  (importing it draws from the global generator, which no test may do)
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from stdvid.config import preset_names
from stdvid.errors import UsageError
from stdvid_cli.app import app, main
from stdvid_cli.asked import _OPTION_NAMES
from stdvid_cli.names import IMAGE_SUFFIXES, bundled_styles, find_style, key_values, output_path, style_label
from stdvid_cli.report import describe, duration, progress_line
from stdvid_cli.signals import stop_on_signals

Clip = Callable[..., Path]
WORD = st.text("abcXYZ019-_ äß{}", min_size=1, max_size=8)


@pytest.fixture
def command(clip: Clip, tmp_path: Path) -> list[str]:
    style = tmp_path / "style.png"
    cv2.imwrite(str(style), np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    options = ["--size", "32", "--steps", "1", "--window", "5", "--overlap", "2", "--enc", "preset=ultrafast"]
    return ["stylize", str(clip("real.mp4", n=9)), "--style", str(style), "-o", str(tmp_path / "out.mp4"), *options]


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_no_help_imports_what_is_heavy() -> None:
    script = """
import contextlib, io, sys
from stdvid_cli.app import main
commands = ["stylize", "preview", "compare", "probe", "doctor", "presets list", "presets show"]
commands += [f"models {name}" for name in ("list", "pull", "verify", "path")]
commands += [f"distill {name}" for name in ("teacher", "student", "eval", "export")]
for command in commands:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = main([*command.split(), "--help"])
    assert code == 0 and f"stdvid {command}" in text.getvalue(), command
heavy = {"torch", "diffusers", "huggingface_hub", "av", "decord", "cv2", "accelerate", "numpy", "PIL"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_every_command_of_the_root_has_a_line_of_help() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for name in ("stylize", "preview", "compare", "probe", "presets", "models", "distill", "doctor"):
        [line] = [line for line in result.output.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 2
    assert "Exit codes: 0 done, 1 failed, 2 wrong usage" in " ".join(result.output.split())


def test_settings_are_called_by_options_that_exist() -> None:
    help_text = CliRunner().invoke(app, ["stylize", "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).output
    for setting, option in _OPTION_NAMES.items():
        assert option == "--" + setting.partition(".")[2].replace("_", "-")
        assert f"{option} " in help_text, option


def test_a_dry_run_is_one_event_and_writes_nothing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    assert main([*command, "--dry-run", "--json", "--seed", "5"]) == 0
    [event] = events(capsys.readouterr().out)
    assert event["event"] == "plan"
    assert (event["frames"], event["windows"], event["size"], event["seed"]) == (9, 2, "42x32", 5)
    assert event["config"]["video"]["window"] == event["window_frames"] == 5
    assert event["source"]["video"]["codec"] == "h264"
    assert isinstance(event["notes"], list)
    assert sorted(tmp_path.iterdir()) == before


def test_a_dry_run_for_people_has_the_same_facts(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--dry-run"]) == 0
    out = capsys.readouterr().out
    words = [line.split() for line in out.splitlines()]
    assert ["size", "42x32"] in words
    assert ["overlap_frames", "1"] in words
    assert "{" not in out


def test_a_run_tells_its_story_as_events(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--json", "-q"]) == 0
    out, err = capsys.readouterr()
    story = events(out)
    assert err == ""
    assert [e["event"] for e in (story[0], *story[-2:])] == ["plan", "progress", "done"]
    assert {e["event"] for e in story[1:-1]} == {"progress"}
    assert (story[-2]["frames_done"], story[-2]["frames_total"]) == (9, 9)
    done = story[-1]
    assert set(done) == {"event", "output", "frames", "resumed", "seconds", "network_seconds", "notes"}
    assert (done["output"], done["frames"]) == (str(tmp_path / "out.mp4"), 9)
    assert main([*command, "-n", "--json"]) == 0
    assert events(capsys.readouterr().out) == [{"event": "done", "output": done["output"], "skipped": True}]


@pytest.mark.error_log
@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda c: [c[0], "none.mp4", *c[2:]], 3, "no such file"),
        (lambda c: [*c, "--strength", "2"], 2, "--strength is 2.0"),
        (lambda c: [*c, "--style", "nothing-known"], 2, "no style named 'nothing-known'"),
        (lambda c: [*c, "--device", "tpu"], 2, "--device"),
        (lambda c: [*c, "--start", "5f", "--end", "5f"], 2, "start"),
    ],
)
def test_an_error_is_the_last_event(
    command: list[str], change: Any, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*change(command), "--json"]) == code
    out, err = capsys.readouterr()
    last = events(out)[-1]
    assert (last["event"], last["exit_code"]) == ("error", code)
    assert words in last["message"]
    assert err.splitlines()[-1] == f"error: {last['message']}"


def test_probe_tells_of_every_stream(clip: Clip, capsys: pytest.CaptureFixture[str]) -> None:
    path = clip("all.mkv", n=12, audio=2, subtitles=True, chapters=True)
    assert main(["probe", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["is_image"] is False
    assert [s["kind"] for s in facts["streams"]].count("audio") == 2
    assert [c["title"] for c in facts["chapters"]] == ["one", "two"]
    assert main(["probe", str(path)]) == 0
    text = capsys.readouterr().out
    for word in ("streams 1", "aac", "chapters 1", "h264"):
        assert word in text


def test_every_name_that_is_listed_can_be_used() -> None:
    listed = json.loads(CliRunner().invoke(app, ["presets", "list", "--json"]).output)
    for name, path in listed["styles"].items():
        assert find_style(name) == Path(path)
        assert Path(path).is_file()
    for name in listed["presets"]:
        shown = CliRunner().invoke(app, ["presets", "show", name, "--json"])
        assert set(json.loads(shown.output)) == {"model", "sampling", "video", "encode"}
    assert (list(listed["presets"]), list(listed["styles"])) == (preset_names(), list(bundled_styles()))


@given(stem=WORD, style=WORD)
def test_templates_fill_in_names_as_they_are(stem: str, style: str) -> None:
    source, styles = Path(f"in/{stem}.mkv"), [Path(f"{style}.png")]
    assert output_path("{{{stem}}}_{style}.{ext}", source, styles, "nano") == Path(f"{{{source.stem}}}_{style}.mkv")
    assert output_path(None, source, styles, "nano").parent == source.parent


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_a_picture_becomes_a_picture(suffix: str) -> None:
    for written in (suffix, suffix.upper()):
        assert output_path(None, Path(f"a{written}"), [Path("s.jpg")], "nano") == Path("a.s.png")


@given(pairs=st.lists(st.tuples(WORD.filter(str.strip), WORD), max_size=6))
def test_key_values_are_the_last_of_each_key(pairs: list[tuple[str, str]]) -> None:
    assert key_values("--enc", [f"{k}={v}" for k, v in pairs]) == {k.strip(): v for k, v in pairs}


def test_key_values_say_how_they_are_written() -> None:
    with pytest.raises(UsageError, match=r"^--enc 'slow' has no key and value; allowed: key=value; for example --enc "):
        key_values("--enc", ["tune=grain", "slow"])


@given(count=st.integers(1, 12))
def test_a_label_names_three_and_counts_the_rest(count: int) -> None:
    label = style_label([Path(f"s{i}.png") for i in range(count)])
    named, _, rest = label.partition("+" + str(count - 3)) if count > 3 else (label, "", "")
    assert named.split("+") == [f"s{i}" for i in range(min(count, 3))]
    assert rest == ""


@given(seconds=st.floats(0, 400_000))
def test_a_duration_reads_back(seconds: float) -> None:
    parts = [int(part) for part in duration(seconds).split(":")]
    assert len(parts) in (2, 3)
    assert all(part < 60 for part in parts[1:])
    assert sum(part * 60**place for place, part in enumerate(reversed(parts))) == round(seconds)


@given(done=st.integers(0, 500), more=st.integers(0, 500))
def test_progress_never_claims_more_than_is_done(done: int, more: int) -> None:
    class Now:
        frames_done, frames_total, elapsed_s, fps, eta_s = done, done + more, 1.0, 2.0, None

    words = progress_line(Now()).split()
    assert words[1] == (f"{done}/{done + more}" if done + more else "0")
    if done + more:
        percent = int(words[2])
        assert percent <= 100 * done / (done + more) < percent + 1
        assert (percent == 100) == (more == 0)


def test_lists_of_tables_are_numbered_and_nested() -> None:
    text = describe({"a": [{"b": [1.5, True]}, {"c": {"d": "e", "f": []}}], "g": {}, "h": 0})
    assert text.splitlines() == ["a 0", "  b  1.5, yes", "a 1", "  c", "    d  e", "h  0"]


def test_handlers_come_back_after_an_error_too() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def fail() -> None:
        with stop_on_signals(threading.Event(), lambda: None):
            assert signal.getsignal(signal.SIGTERM) is not before[1]
            raise LookupError("within the block")

    with pytest.raises(LookupError, match="within the block"):
        fail()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
