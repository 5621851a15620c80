"""stdvid bench: how fast this machine paints, against what it is up against."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer


def bench(
    clip: Annotated[
        Path | None, typer.Argument(metavar="[CLIP]", help="A video; by default the one of the demo.")
    ] = None,
    style: Annotated[
        str, typer.Option(metavar="REF", help="Reference image, or the name of a bundled style.")
    ] = "cafe-terrace",
    frames: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="The first of the clip; by default all.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure the speed of painting on this CPU: frames a second from the start of the command to the file, and ratios.

    The eager loop is what a user of torch writes for the same network, frame by frame. The limit is a product of large
    matrices in the network's own precision. The media path is a run that paints nothing. All of it takes a minute or
    two; nothing else should be running.
    """
    import json
    import sys

    from stdvid.bench.speed import bench as measure

    from .names import find_style

    source = clip or Path(str(files("stdvid_presets") / "demo" / "bunny.mp4"))
    speed = measure(source, find_style(style), frames, lambda what: print(f"measuring {what}", file=sys.stderr))
    if as_json:
        print(json.dumps(speed.to_dict()))
        return
    rows = {
        f"frames a second, {speed.size}, {speed.steps} steps, {speed.frames} frames": f"{speed.fps:.2f}",
        "seconds until the run begins, until its first frames": f"{speed.start_s:.1f}, {speed.first_frame_s:.1f}",
        f"share of the network ({speed.backend}, {speed.dtype})": f"{speed.network_share_of_wall:.0%}",
        "times as fast as the eager loop, with its start, and without": (
            f"{speed.speedup_start_to_file:.1f}, {speed.speedup_over_eager:.1f}"
        ),
        "operations a second of the network, of the limit": _ratio(speed.flop_share_of_limit, "{:.0%}"),
        "media path, times ffmpeg's": _ratio(speed.media_over_ffmpeg, "{:.2f}"),
        "times the time of cv2.stylization": f"{speed.over_stylization:.1f}",
        "memory, MiB": _ratio(speed.peak_rss_mib, "{:.0f}"),
    }
    print(f"{speed.threads} threads")
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")


def _ratio(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
