"""main(): help, version, exit codes, and errors as one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import typer
import typer.rich_utils  # importing it draws from the global generator, which no test may do

from stdvid import __version__
from stdvid.errors import (
    InputError,
    Interrupted,
    ModelError,
    OutputError,
    OutputExistsError,
    StdvidError,
    UsageError,
)
from stdvid_cli import app as app_module
from stdvid_cli.app import main

COMMANDS = [
    [],
    ["stylize"],
    ["probe"],
    ["presets"],
    ["presets", "list"],
    ["presets", "show"],
    ["models"],
    *(["models", name] for name in ("list", "pull", "verify", "path")),
    ["doctor"],
    ["distill"],
    ["distill", "teacher"],
    ["distill", "student"],
]


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_everywhere(command: list[str], flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, flag]) == 0
    out, err = capsys.readouterr()
    assert f"Usage: {' '.join(['stdvid', *command])}" in out
    assert err == ""


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["stdvid"])
    assert main() == 0
    assert "Commands:" in capsys.readouterr().out


def test_a_group_without_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 2
    out, err = capsys.readouterr()
    assert "Usage: stdvid presets" in out
    assert err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"stdvid {__version__}\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--foo"], "--foo"),
        (["stylz"], "stylize"),
        (["stylize"], "INPUT"),
        (["stylize", "x.mp4"], "--style"),
        (["stylize", "x.mp4", "--style", "a.png", "--steps", "many"], "--steps"),
        (["stylize", "x.mp4", "--style", "a.png", "--consistency", "glue"], "--consistency"),
        (["stylize", "x.mp4", "--style", "a.png", "--threads", "0"], "--threads"),
        (["stylize", "x.mp4", "--style", "a.png", "--fleece"], "--fleece"),
        (["stylize", "x.mp4", "y.mp4", "--style", "a.png"], "y.mp4"),
        (["presets", "show"], "NAME"),
    ],
)
def test_what_the_parser_refuses_is_one_line(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert words in err
    assert "--help`" in err


def test_a_choice_that_is_none_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stylize", "in.mp4", "--style", "reading", "--precision", "int4"]) == 2
    said = "error: invalid value for '--precision': 'int4' is not one of 'auto', 'fp32', 'fp16', 'bf16', 'int8'; see"
    assert capsys.readouterr().err.startswith(said)


def raising(monkeypatch: pytest.MonkeyPatch, exc: BaseException) -> Callable[[list[str]], int]:
    """main with a command `fail` that raises."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command("fail")
    def fail(as_json: bool = typer.Option(False, "--json")) -> None:
        raise exc

    @app.callback()
    def root() -> None:
        """Keep `fail` a sub-command."""

    monkeypatch.setattr(app_module, "app", app)
    return main


@pytest.mark.parametrize(
    ("exc", "code", "line"),
    [
        (StdvidError("a"), 1, "a"),
        (UsageError("b"), 2, "b"),
        (OutputExistsError("c"), 2, "c"),
        (InputError("d\nd"), 3, "d d"),
        (ModelError("e"), 3, "e"),
        (OutputError("f"), 1, "f"),
        (Interrupted("g"), 130, "g"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("two\nlines"), 1, "internal: ValueError: two lines; set STDVID_DEBUG=1 to see where"),
    ],
)
def test_exit_codes_and_lines(
    exc: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STDVID_DEBUG", raising=False)
    assert raising(monkeypatch, exc)(["fail"]) == code
    assert capsys.readouterr().err == f"error: {line}\n"


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STDVID_DEBUG", "1")
    assert raising(monkeypatch, InputError("bad"))(["fail"]) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: bad\n")


def test_json_makes_the_error_an_event_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STDVID_DEBUG", raising=False)
    assert raising(monkeypatch, InputError("bad"))(["fail", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"event": "error", "message": "bad", "exit_code": 3}
    assert err == "error: bad\n"


def test_a_reader_that_went_away_is_no_internal_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from stdvid_cli.app import main; sys.exit(main(['presets', 'list']))"
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 1


def _seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
    return time.perf_counter() - start


def test_help_is_light() -> None:
    code = (
        "import sys; from stdvid_cli.app import main; main(['--help']); "
        "heavy = {'torch', 'diffusers', 'av', 'numpy', 'cv2', 'PIL', 'rich'} & set(sys.modules); "
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    pairs = [(_seconds(code), _seconds("import typer")) for _ in range(3)]
    assert min(ours for ours, _ in pairs) < 3 * min(base for _, base in pairs)
