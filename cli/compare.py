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
    from stdvid.painter import read_reference

    from .names import find_style

    references = [read_reference(find_style(name)) for name in style or []]
    if html is not None:
        from stdvid.media.output import check_output

        for path in (source, *outputs):
            check_output(html, path, overwrite)
    compared = compare_clips(source, outputs, references)
    lines = _lines(compared, styled=bool(references))
    if html is not None:
        from stdvid.compare_page import page

        html.write_text(page(source, compared, lines), encoding="utf-8")
    if as_json:
        import json

        keys = ("output", "frames", "shots", "figures", "floor", "notes")
        rows = [{key: getattr(row, key) for key in keys} for row in compared]
        print(json.dumps({"source": str(source), "outputs": rows}, default=str))
        return
    _show(compared, lines)


def _lines(compared: list[Comparison], styled: bool) -> list[list[str]]:
    """The heading, the source's own, and a line for each output."""
    columns = [column for column in _COLUMNS if styled or column[0] != "style_moved"]

    def figures(of: dict[str, float | None]) -> list[str]:
        return [_text(of.get(name), factor, decimals) for name, _, factor, decimals in columns]

    return [
        ["output", "frames", "shots", *(heading for _, heading, _, _ in columns)],
        ["(source)", "", "", *figures(compared[0].floor)],
        *([row.output.name, str(row.frames), str(row.shots), *figures(row.figures)] for row in compared),
    ]


def _show(compared: list[Comparison], lines: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for number, heading in enumerate(lines[0]):
        table.add_column(heading, justify="right" if number > 2 else "left")
    for line in lines[1:]:
        table.add_row(*line)
    console = Console(width=160)
    console.print(table)
    for note in dict.fromkeys(note for row in compared for note in row.notes):
        console.print(f"note: {note}", highlight=False)


def _text(value: float | None, factor: float, decimals: int) -> str:
    return "-" if value is None else f"{value * factor:.{decimals}f}"
