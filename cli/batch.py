"""stdvid batch: every style for every input; what failed is said at the end, and stops nothing else."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from stdvid.errors import SomeFailedError, UsageError

from .asked import Asked
from .stylize import stylize

if TYPE_CHECKING:
    from stdvid.batch import Outcome
    from stdvid.stylize import Job

_IO = "Input and output"
_RUN = "Running"

OWN = {
    "inputs": Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Files, folders, globs, or - for a list on stdin, one a line.", show_default=False
        ),
    ],
    "style": Annotated[
        list[str],
        typer.Option(
            "--style",
            metavar="PATH|NAME",
            help="Reference image, or the name of a bundled style. Repeat it: every input is stylized under each.",
            rich_help_panel=_IO,
            show_default=False,
        ),
    ],
    "output": Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR|TEMPLATE",
            help="Folder for the results, made if need be; subfolders of an input folder are kept. Or a path with "
            "{stem} {style} {preset} {ext}.",
            rich_help_panel=_IO,
            show_default=False,
        ),
    ],
    "side_by_side": Annotated[
        int | None,
        typer.Option(
            "--jobs",
            metavar="N",
            min=1,
            help="Items at a time, in processes of their own; 1 by default, and with --ray what keeps workers busy.",
            rich_help_panel=_RUN,
        ),
    ],
    "archive": Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Remember what is done in a file, by content and settings, and skip it even if the output is gone.",
            rich_help_panel=_IO,
        ),
    ],
    "fail_fast": Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first item that fails.", rich_help_panel=_RUN)
    ],
}
"""The parameters that `stylize` has not, or in another form."""


def batch(**options: Any) -> None:
    """Repaint many videos or images, each under every style.

    One that fails does not stop the others; exit 4 then. Outputs that exist are skipped, but with -y. All other options
    are those of `stylize`.
    """
    asked = Asked({**options, "no": False})

    from stdvid.batch import Archive, stylize_all
    from stdvid.cluster import connected

    from .report import Reporter, log, logging_to
    from .signals import stop_on_signals

    reporter = Reporter(as_json=options["as_json"], progress=options["progress"], quiet=options["quiet"])
    with logging_to(options["log_file"], options["verbose"]):
        jobs, notes = _jobs(asked, options)
        reporter.event("plan", {"items": len(jobs), "notes": notes})
        for note in notes:
            reporter.note(note)
        if options["dry_run"]:
            for job in jobs:
                reporter.event("item", {"input": str(job.source), "output": str(job.output)})
                if not options["as_json"]:
                    print(f"{job.source} -> {job.output}")
            return
        archive, stop, outcomes = Archive(options["archive"]), threading.Event(), []

        with connected(options["ray"]) as cluster, stop_on_signals(stop, lambda: None):
            items = stylize_all(
                jobs,
                archive,
                stop,
                side_by_side=options["side_by_side"],
                on_progress=reporter.progress,
                cluster=cluster,
            )
            for outcome in items:
                outcomes.append(outcome)
                reporter.event("item", outcome.to_dict())
                log.info("%s %s: %s", outcome.status, outcome.job.output, outcome.message)
                reporter.begin_item()
                if not options["as_json"]:
                    reporter.closing(f"[{len(outcomes)}/{len(jobs)}] {_line(outcome)}")
                for note in outcome.notes:
                    reporter.note(f"{outcome.job.source.name}: {note}")
                if outcome.status == "failed" and options["fail_fast"]:
                    items.close()
                    break
        _close(outcomes, len(jobs), reporter, quiet=options["quiet"] or options["as_json"])


def _jobs(asked: Asked, options: dict[str, Any]) -> tuple[list[Job], list[str]]:
    """Every input under every style; UsageError if two of them would write one file."""
    from stdvid.batch import find_sources

    from .names import find_style, output_path

    template = options["output"]
    folder = None if "{" in template else Path(template)
    sources = find_sources(options["inputs"], sys.stdin if "-" in options["inputs"] else (), folder)
    jobs: list[Job] = []
    said: list[str] = []
    taken: dict[Path, Path] = {}
    for source in sources:
        for name in options["style"]:
            styles = (find_style(name),)
            if folder is None:
                target = output_path(template, source.path, styles, options["preset"])
            else:
                target = folder / source.folder / output_path(None, source.path, styles, options["preset"]).name
            if target in taken:
                raise UsageError(
                    f"{source.path} and {taken[target]} would both be written to {target}; an output of its own is "
                    "needed for each; name other files, or use {stem}, {style} and {ext} in -o"
                )
            taken[target] = source.path
            job, notes = asked.job(source.path, styles, target)
            jobs.append(job)
            said += [note for note in notes if note not in said]
    return jobs, said


def _line(outcome: Outcome) -> str:
    from .report import duration

    named = f"{outcome.job.source} -> {outcome.job.output}"
    if outcome.status == "done":
        return f"{named} ({outcome.frames} frames in {duration(outcome.seconds)})"
    return (
        f"{outcome.status}: {outcome.message}" if outcome.status == "failed" else f"{named} skipped: {outcome.message}"
    )


def _close(outcomes: Sequence[Outcome], total: int, reporter: Any, *, quiet: bool) -> None:
    """The summary, and the exit code of failures."""
    counts = {status: sum(o.status == status for o in outcomes) for status in ("done", "skipped", "failed")}
    frames, seconds = sum(o.frames for o in outcomes), sum(o.seconds for o in outcomes)
    reporter.event("done", {**counts, "not_begun": total - len(outcomes), "frames": frames, "seconds": seconds})
    if not quiet and total > 1:
        from rich.console import Console
        from rich.table import Table

        from .report import duration

        table = Table("input", "style", "result", "frames", "time")
        for outcome in outcomes:
            style = "+".join(path.stem for path in outcome.job.styles)
            time = duration(outcome.seconds) if outcome.seconds else ""
            table.add_row(str(outcome.job.source.name), style, outcome.status, str(outcome.frames or ""), time)
        Console(stderr=True).print(table)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise SomeFailedError(f"{len(failed)} of {total} items failed, the first one: {failed[0].message}")


def _signature() -> inspect.Signature:
    """That of `stylize` with OWN parameters first, for the option parser."""
    theirs = get_type_hints(stylize, include_extras=True)
    defaults: dict[str, Any] = {"side_by_side": None, "archive": None, "fail_fast": False}
    kind = inspect.Parameter.KEYWORD_ONLY
    own = [
        inspect.Parameter(name, kind, default=defaults.get(name, inspect.Parameter.empty), annotation=annotation)
        for name, annotation in OWN.items()
    ]
    rest = [
        parameter.replace(kind=kind, annotation=theirs[name])
        for name, parameter in inspect.signature(stylize).parameters.items()
        if name not in OWN and name not in ("source", "no", "format")  # what is there is skipped anyway
    ]
    return inspect.Signature([*own, *rest])


batch.__signature__ = _signature()  # type: ignore[attr-defined]
batch.__annotations__ = {name: p.annotation for name, p in batch.__signature__.parameters.items()}  # type: ignore[attr-defined]
