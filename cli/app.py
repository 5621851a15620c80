"""The Typer application, and `main`: the one place where an error becomes a line on stderr and an exit code."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stdvid.errors import Interrupted, StdvidError, UsageError

from . import batch, bench, compare, distill, doctor, models, presets, preview, probe, stylize


class _PlainHelp(TyperGroup):
    """The list of commands as plain text: drawing panels around it would double the time that it takes to appear."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.rich_markup_mode = None
        super().format_help(ctx, formatter)


app = typer.Typer(
    name="stdvid",
    cls=_PlainHelp,
    help="Restyle video after a reference image, with few-step diffusion, offline and in sync.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input or model, 4 part of a batch, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)
app.command("stylize", short_help="Repaint a video or image in the style of a reference.")(stylize.stylize)
app.command("batch", short_help="Repaint many, each under every style.")(batch.batch)
app.command("preview", short_help="Paint one frame before paying for the clip.")(preview.preview)
app.command("compare", short_help="Judge outputs by the clip they were made of.")(compare.compare)
app.command("probe", short_help="Show what a media file holds.")(probe.probe)
app.add_typer(presets.app, name="presets")
app.add_typer(models.app, name="models")
app.add_typer(distill.app, name="distill")
app.command("bench", short_help="Measure how fast this machine paints.")(bench.bench)
app.command("doctor", short_help="Check the installation.")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from stdvid import __version__

        print(f"stdvid {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def command() -> int:
    """The installed command: `main`, without looking for garbage again and again among what libraries make as they are
    loaded, and once more at the end: half a second."""
    gc.set_threshold(20_000, 10, 10)
    atexit.register(gc.freeze)
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (see stdvid.errors); help if there are no arguments.

    STDVID_DEBUG=1 in the environment adds the traceback of an error. With --json among the arguments the error is
    also an event on stdout.
    """
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name may hold what the terminal cannot show
    try:
        code = app(args=args, prog_name="stdvid", standalone_mode=False)
        if code == Interrupted.exit_code:  # what typer makes of Ctrl-C
            return _fail("interrupted", code, args)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except typer.TyperException as exc:
        if type(exc).__name__ == "NoArgsIsHelpError":  # a group without a command; its help is on stdout by now
            return UsageError.exit_code
        return _fail(_usage_message(exc), UsageError.exit_code, args)
    except StdvidError as exc:
        return _fail(str(exc), exc.exit_code, args)
    except BrokenPipeError:  # the reader of stdout is gone (`| head`); nothing more can be said, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _fail("interrupted", Interrupted.exit_code, args)
    except Exception as exc:  # the last net: a defect of ours, reported as one line
        return _fail(f"internal: {type(exc).__name__}: {exc}; set STDVID_DEBUG=1 to see where", 1, args)


def _fail(message: str, exit_code: int, args: Sequence[str]) -> int:
    if os.environ.get("STDVID_DEBUG", "0") not in ("", "0") and sys.exc_info()[0]:
        traceback.print_exc()
    line = " ".join(message.split())
    if "--json" in args:
        import json

        print(json.dumps({"event": "error", "message": line, "exit_code": exit_code}), flush=True)
    print(f"error: {line}", file=sys.stderr, flush=True)
    return exit_code


def _usage_message(exc: typer.TyperException) -> str:
    """What the option parser found wrong, in the form of our own messages."""
    text = exc.format_message().strip().rstrip(".").replace("Value error, ", "", 1)  # of the parser's own parser
    context = getattr(exc, "ctx", None)
    command = context.command_path if context else "stdvid"
    return f"{text[:1].lower()}{text[1:]}; see `{command} --help`"
