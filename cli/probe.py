"""stdvid probe: what a media file holds, as text or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def probe(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A video file or an image.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show the streams of a media file, and its size, rotation, rate, time base and colour as stdvid reads them."""
    import json

    from stdvid.media.probe import probe as probe_file

    from .report import describe

    info = probe_file(source).to_dict()
    print(json.dumps(info, default=str) if as_json else describe(info))
