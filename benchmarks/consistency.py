"""How well the frames of a stylized clip belong together: each consistency mode, through the whole program, in a table.

    python benchmarks/consistency.py --style starry.png --frames 24 --size 256 clips/*.mp4

Every clip is stylized under every style and mode, losslessly, and measured by `stdvid.compare`. What counts of the warp
error is what is above that of the source. Shares are of the first mode's mean over clips; of flicker, the median.
"At best" is how much of the difference bias would be gone if all paint moved exactly with the source: paint has more
contrast than what it is put on, and the rest is motion.
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
from stdvid.config import StylizeConfig, load_preset
from stdvid.errors import StdvidError
from stdvid.media.timebase import TimePoint
from stdvid.painter import read_reference
from stdvid.schema import merge
from stdvid.stylize import Job, plan, run

LOSSLESS = {"codec": "libx264rgb", "crf": 0, "enc": {"preset": "ultrafast"}}


def measure(clip: Path, style: Path, config: StylizeConfig, frames: int, folder: Path) -> dict[str, float]:
    """Figures of one clip under one mode; flicker is over the source's, `seconds` is wall time a frame."""
    output = folder / f"{config.video.consistency}.mkv"
    job = Job(clip, (style,), output, config, end=TimePoint(frame=frames), audio=False, subtitles=False)
    result = run(plan(job))
    [found] = compare(clip, [output], [read_reference(style)])
    output.unlink()
    values = {name: value if value is not None else math.nan for name, value in found.figures.items()}
    floor = {name: value if value is not None else math.nan for name, value in found.floor.items()}
    return {
        "excess": values["warp_error"] - floor["warp_error"],
        "excess_long": values["warp_error_long"] - floor["warp_error_long"],
        "difference_bias": values["difference_bias"],
        "moving_bias": values["moving_bias"],
        "flicker": values["flicker"] / floor["flicker"],
        "style": values["style_moved"],
        "sharpness": values["sharpness"],
        "seconds": result.seconds / result.frames,
    }


def cut(rows: list[dict[str, dict[str, float]]], mode: str, against: str, name: str) -> float:
    """How much of `against`'s mean over clips `mode` takes away."""
    return 1 - mean(rows, mode, name) / mean(rows, against, name)


def mean(rows: list[dict[str, dict[str, float]]], mode: str, name: str) -> float:
    """Over clips and styles."""
    return float(np.nanmean([row[mode][name] for row in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--style", type=Path, action="append", required=True)
    parser.add_argument("--modes", default="none,noise,flow,full")
    parser.add_argument("--size", type=int, default=256, help="short side, px")
    parser.add_argument("--frames", type=int, default=24, help="of each clip")
    parser.add_argument("--style-guidance", type=int, help="iterations; the preset's by default")
    parser.add_argument("--precision", default="auto", help="of the network: int8, fp32")
    parser.add_argument("--json", type=Path, help="also write the figures of every clip here")
    arguments = parser.parse_args()

    modes = arguments.modes.split(",")
    base = merge(load_preset("nano"), {"video": {"size": arguments.size}, "encode": LOSSLESS})
    base = merge(base, {"model": {"precision": arguments.precision}})
    if arguments.style_guidance is not None:
        base = merge(base, {"sampling": {"style_guidance": arguments.style_guidance}})
    configs = {mode: merge(base, {"video": {"consistency": mode}}) for mode in modes}
    rows: list[dict[str, dict[str, float]]] = []
    names = []
    with tempfile.TemporaryDirectory() as folder:
        for clip in arguments.clips:
            for style in arguments.style:
                try:
                    row = {m: measure(clip, style, configs[m], arguments.frames, Path(folder)) for m in modes}
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
    for heading in ("difference bias", "at best", "flicker / source's", "style", "sharpness", "time"):
        table.add_column(heading, justify="right")
    for mode in modes:
        table.add_row(
            mode,
            *(f"{cut(rows, mode, other, 'excess'):.1%}" for other in modes[:-1]),
            f"{cut(rows, mode, first, 'excess_long'):.1%}",
            f"{cut(rows, mode, first, 'difference_bias'):.1%}",
            f"{1 - mean(rows, mode, 'moving_bias') / mean(rows, first, 'difference_bias'):.1%}",
            f"{np.nanmedian([row[mode]['flicker'] for row in rows]):.1f}",
            *(f"{1 - cut(rows, mode, first, name):.1%}" for name in ("style", "sharpness", "seconds")),
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
