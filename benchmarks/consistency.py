"""How well the frames of a stylized clip belong together: each consistency mode, through the whole program, in a table.

    python benchmarks/consistency.py --style starry.png --seconds 2 --size 256 clips/*.mp4

Every clip is stylized under every style and mode, losslessly, and measured by `stdvid.compare`. What counts of the warp
error is what is above that of the source. Shares are of the first mode's mean over clips; of flicker, the median.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from stdvid.compare import compare
from stdvid.config import load_preset, merge
from stdvid.errors import StdvidError
from stdvid.media.timebase import parse_time_point
from stdvid.painter import read_reference
from stdvid.stylize import Job, plan, run

LOSSLESS = {"codec": "libx264rgb", "crf": 0, "enc": {"preset": "ultrafast"}}


def measure(clip: Path, style: Path, mode: str, size: int, seconds: float, folder: Path) -> dict[str, float]:
    """Figures of one clip under one mode; flicker is over the source's, `seconds` is wall time a frame."""
    output = folder / f"{mode}.mkv"
    config = merge(load_preset("nano"), {"video": {"size": size, "consistency": mode}, "encode": LOSSLESS})
    job = Job(clip, (style,), output, config, end=parse_time_point(f"{seconds:g}"), audio=False, subtitles=False)
    result = run(plan(job))
    [found] = compare(clip, [output], [read_reference(style)])
    output.unlink()
    values = {name: value if value is not None else math.nan for name, value in found.figures.items()}
    floor = {name: value if value is not None else math.nan for name, value in found.floor.items()}
    return {
        "excess": values["warp_error"] - floor["warp_error"],
        "excess_long": values["warp_error_long"] - floor["warp_error_long"],
        "difference_bias": values["difference_bias"],
        "flicker": values["flicker"] / floor["flicker"],
        "style": values["style_moved"],
        "sharpness": values["sharpness"],
        "seconds": result.seconds / result.frames,
    }


def cut(rows: list[dict[str, dict[str, float]]], mode: str, against: str, name: str) -> float:
    """How much of `against`'s mean over clips `mode` takes away."""
    return float(1 - np.nanmean([row[mode][name] for row in rows]) / np.nanmean([row[against][name] for row in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--style", type=Path, action="append", required=True)
    parser.add_argument("--modes", default="none,noise,flow")
    parser.add_argument("--size", type=int, default=256, help="short side, px")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each clip")
    parser.add_argument("--json", type=Path, help="also write the figures of every clip here")
    arguments = parser.parse_args()

    modes = arguments.modes.split(",")
    rows: list[dict[str, dict[str, float]]] = []
    names = []
    with tempfile.TemporaryDirectory() as folder:
        for clip in arguments.clips:
            for style in arguments.style:
                try:
                    row = {m: measure(clip, style, m, arguments.size, arguments.seconds, Path(folder)) for m in modes}
                except StdvidError as exc:
                    print(f"{clip.name}: left out: {exc}", file=sys.stderr)
                    continue
                rows.append(row)
                names.append([clip.name, style.name])
                words = (f"{m} {row[m]['excess']:.2e}" for m in modes)
                print(f"{clip.name} {style.name}  warp error above the source's: {'  '.join(words)}", file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(json.dumps({"pairs": names, "figures": rows}, indent=1) + "\n", "utf-8")
    if not rows:
        raise SystemExit("no clip could be measured")
    first = modes[0]
    table = Table("mode", *(f"warp error, less than {m}" for m in modes[:-1]), "ten frames apart")
    for heading in ("difference bias", "flicker / source's", "style", "sharpness", "time"):
        table.add_column(heading, justify="right")
    for mode in modes:
        table.add_row(
            mode,
            *(f"{cut(rows, mode, other, 'excess'):.1%}" for other in modes[:-1]),
            f"{cut(rows, mode, first, 'excess_long'):.1%}",
            f"{cut(rows, mode, first, 'difference_bias'):.1%}",
            f"{np.nanmedian([row[mode]['flicker'] for row in rows]):.1f}",
            *(f"{1 - cut(rows, mode, first, name):.1%}" for name in ("style", "sharpness", "seconds")),
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
