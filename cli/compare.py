"""stdvid compare: outputs judged by the clip that they were made of, as a table or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stdvid.compare import Comparison


def compare(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The clip.", show_default=False)],
    outputs: Annotated[
        list[Path], typer.Argument(metavar="OUTPUT...", help="What was made of it.", show_default=False)
    ],
    style: Annotated[
        list[str] | None,
        typer.Option("--style", metavar="REF", help="Reference image, or the name of a bundled style; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a web page: a player of all clips side by side, plots, figures."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("-y", help="Overwrite an existing page.")] = False,
) -> None:
    """Judge outputs by the clip they were made of: do frames belong together, what is left of the source and the style.

    Warp error: squared difference of a frame and the one before it (or ten before), moved as the source moved.
    Difference bias: change from frame to frame that the source has not. Flicker: change where the source stands still.
    Structure: correlation of edges with the source's. Sharpness: 1 is the source's. Style moved: how much of the
    distance to the reference is gone. The first line is what the source itself has; a dash: nothing to measure. All
    figures of time reward blur: mind sharpness and style moved beside them.
    """
    from stdvid.compare import compare as compare_clips
    from stdvid.media.output import PartFile, check_output
    from stdvid.painter import read_reference

    from .names import find_style

    references = [read_reference(find_style(name)) for name in style or []]
    if html is not None:
        # before any work: its packages may be missing
        from stdvid.compare_page import page

        for path in (source, *outputs):
            check_output(html, path, overwrite)
    compared = compare_clips(source, outputs, references)
    if html is not None:
        whole = PartFile(html)
        whole.part.write_text(page(source, compared), encoding="utf-8")
        whole.commit()
    if as_json:
        import json

        keys = ("output", "frames", "shots", "figures", "floor", "notes")
        rows = [{key: getattr(row, key) for key in keys} for row in compared]
        print(json.dumps({"source": str(source), "outputs": rows}, default=str))
        return
    _show(compared)


def _show(compared: list[Comparison]) -> None:
    from rich.console import Console
    from rich.table import Table

    from stdvid.compare import lines

    heading, *rows = lines(compared)
    table = Table()
    for number, name in enumerate(heading):
        table.add_column(name, justify="right" if number > 2 else "left")
    for row in rows:
        table.add_row(*row)
    console = Console(width=160)
    console.print(table)
    for note in dict.fromkeys(note for row in compared for note in row.notes):
        console.print(f"note: {note}", highlight=False)
