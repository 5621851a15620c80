"""stdvid compare: outputs judged by the clip that they were made of, as a table or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stdvid.compare import Comparison

_COLUMNS = (
    ("warp_error", "warp error x1000", 1000, 3),
    ("warp_error_long", "over 10 frames", 1000, 3),
    ("difference_bias", "difference bias x1000", 1000, 2),
    ("flicker", "flicker x1000", 1000, 2),
    ("structure", "structure", 1, 2),
    ("sharpness", "sharpness", 1, 2),
    ("style_moved", "style moved %", 100, 1),
)
"""Figure, its heading, what it is multiplied by, and decimals."""


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
) -> None:
    """Judge outputs by the clip they were made of: do frames belong together, what is left of the source and the style.

    Warp error: squared difference of a frame and the one before it (or ten before), moved as the source moved.
    Difference bias: change from frame to frame that the source has not. Flicker: change where the source stands still.
    Structure: correlation of edges with the source's. Sharpness: 1 is the source's. Style moved: how much of the
    distance to the reference is gone. The first line is what the source itself has; a dash: nothing to measure. All
    figures of time reward blur: mind sharpness and style moved beside them.
    """
    from stdvid.compare import compare as compare_clips
    from stdvid.painter import read_reference

    from .names import find_style

    references = [read_reference(find_style(name)) for name in style or []]
    compared = [compare_clips(source, output, references) for output in outputs]
    if as_json:
        import dataclasses
        import json

        rows = [dataclasses.asdict(row) for row in compared]
        print(json.dumps({"source": str(source), "outputs": rows}, default=str))
        return
    _show(compared, styled=bool(references))


def _show(compared: list[Comparison], styled: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = [column for column in _COLUMNS if styled or column[0] != "style_moved"]
    table = Table("output", "frames", "shots")
    for _, heading, _, _ in columns:
        table.add_column(heading, justify="right")
    floor = compared[0].floor
    table.add_row("(source)", "", "", *(_text(floor.get(name), factor, n) for name, _, factor, n in columns))
    for row in compared:
        cells = (_text(row.figures.get(name), factor, n) for name, _, factor, n in columns)
        table.add_row(row.output.name, str(row.frames), str(row.shots), *cells)
    console = Console(width=160)
    console.print(table)
    for note in dict.fromkeys(note for row in compared for note in row.notes):
        console.print(f"note: {note}", highlight=False)


def _text(value: float | None, factor: float, decimals: int) -> str:
    return "-" if value is None else f"{value * factor:.{decimals}f}"
