"""How the time of a clip grows with its frames and with their pixels: straight lines, or not.

    python benchmarks/scaling.py [CLIP] [--frames 33,65,97,129] [--sizes 144,216,288,360] [--rounds 1] [--json FILE]

Each is a run of `stdvid stylize` in this process, after one that nobody counts; time is from the plan to the file.
R^2 is of the best straight line through seconds and frames; by pixels, how far seconds a frame and pixel are from
their mean.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np

from stdvid.config import load_preset
from stdvid.media.timebase import TimePoint
from stdvid.schema import merge
from stdvid.stylize import Job, plan, run

PRESETS = Path(__file__).resolve().parents[1] / "presets"


def seconds(clip: Path, size: int, frames: int, folder: Path) -> tuple[float, int]:
    """Of a run, and the pixels of a frame."""
    config = merge(load_preset("nano"), {"video": {"size": size}})
    style = (PRESETS / "styles/cafe-terrace.jpg",)
    started = time.perf_counter()
    planned = plan(Job(clip, style, folder / "out.mp4", config, end=TimePoint(frame=frames), overwrite=True))
    done = run(planned)
    if done.frames != frames:
        raise SystemExit(f"{clip} has {done.frames} frames; give fewer --frames")
    return time.perf_counter() - started, math.prod(planned.size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", default=PRESETS / "demo/bunny.mp4")
    parser.add_argument("--frames", default="33,65,97,129")
    parser.add_argument("--sizes", default="144,216,288,360")
    parser.add_argument("--size", type=int, default=216, help="short side while frames are counted, px")
    parser.add_argument("--count", type=int, default=49, help="frames while pixels are counted")
    parser.add_argument("--rounds", type=int, default=1, help="the least of so many counts")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:

        def least(size: int, frames: int) -> tuple[float, int]:
            return min(seconds(arguments.clip, size, frames, Path(folder)) for _ in range(arguments.rounds))

        seconds(arguments.clip, 144, 17, Path(folder))
        counts = [int(word) for word in arguments.frames.split(",")]
        by_frames = [least(arguments.size, count)[0] for count in counts]
        by_pixels = [least(int(word), arguments.count) for word in arguments.sizes.split(",")]
    fit = float(np.corrcoef(counts, by_frames)[0, 1] ** 2)
    slope, first = np.polyfit(counts, by_frames, 1)
    for count, taken in zip(counts, by_frames, strict=True):
        print(f"{count:5d} frames at {arguments.size} px  {taken:6.1f} s")
    print(f"R^2 {fit:.5f}; {slope:.3f} s a frame, {first:.1f} s before the first")
    each = np.array([taken / arguments.count / pixels * 1e6 for taken, pixels in by_pixels])
    for (taken, pixels), cost in zip(by_pixels, each, strict=True):
        print(f"{pixels:8d} px  {taken:6.1f} s  {cost:.2f} s a million pixels")
    print(f"by pixels: within {np.abs(each / each.mean() - 1).max():.0%} of the mean")
    if arguments.json:
        facts = {"frames": counts, "seconds": by_frames, "r2": fit, "pixels": by_pixels}
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
