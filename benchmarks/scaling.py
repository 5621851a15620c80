"""How the time of a clip grows: with its frames, their pixels, network steps, and threads; straight lines, or not.

    python benchmarks/scaling.py [CLIP] [--size 288] [--count 97] [--rounds 1] [--plot FILE.png] [--json FILE]
        [--frames 33,65,97,129] [--sizes 144,192,240,288,336] [--steps 1,2,4,8] [--threads 1,2]

Each is a run of `stdvid stylize` in this process, after one that nobody counts; time is from the plan to the file.
R^2 is of the best straight line through seconds and frames, or pixels; "off": how far from it seconds are, at most.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stdvid.config import load_preset
from stdvid.media.timebase import TimePoint
from stdvid.schema import merge
from stdvid.stylize import Job, plan, run

PRESETS = Path(__file__).resolve().parents[1] / "presets"

Curve = list[tuple[float, float]]
"""What is varied, and seconds."""


def seconds(clip: Path, size: int, frames: int, folder: Path, steps: int = 4, threads: int | None = None) -> float:
    """Of a run."""
    config = merge(load_preset("nano"), {"video": {"size": size}, "sampling": {"steps": steps}})
    style, end = (PRESETS / "styles/cafe-terrace.jpg",), TimePoint(frame=frames)
    started = time.perf_counter()
    done = run(plan(Job(clip, style, folder / "out.mp4", config, end=end, overwrite=True, threads=threads)))
    if done.frames != frames:
        raise SystemExit(f"{clip} has {done.frames} frames; give fewer --frames")
    return time.perf_counter() - started


def pixels(clip: Path, size: int) -> int:
    """Of a frame at this size."""
    config = merge(load_preset("nano"), {"video": {"size": size}})
    return math.prod(plan(Job(clip, (PRESETS / "styles/cafe-terrace.jpg",), Path("none.mp4"), config)).size)


def plot(curves: dict[str, Curve], target: Path) -> None:
    """A panel for each of the curves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    for axes, (name, curve) in zip(figure.subplots(2, 2).flat, curves.items(), strict=True):
        values, taken = (np.array(side) for side in zip(*curve, strict=True))
        axes.plot(values / 1e3 if name == "pixels" else values, taken, marker="o", lw=1)
        label = "thousand pixels" if name == "pixels" else name
        axes.set(xlabel=label, ylabel="seconds", ylim=(0, 1.1 * taken.max()), xlim=(0, None))
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, nargs="?", default=PRESETS / "demo/bunny.mp4")
    for name, usual in (
        ("frames", "33,65,97,129"),
        ("sizes", "144,192,240,288,336"),
        ("steps", "1,2,4,8"),
        ("threads", "1,2"),
    ):
        parser.add_argument(f"--{name}", type=lambda words: [int(word) for word in words.split(",")], default=usual)
    parser.add_argument("--size", type=int, default=288, help="short side where others are varied, px")
    parser.add_argument("--count", type=int, default=97, help="frames where others are varied")
    parser.add_argument("--rounds", type=int, default=1, help="the least of so many counts; rounds take turns")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder, clip = Path(name), given.clip
        axes: dict[str, tuple[list[int], Callable[[int], float]]] = {
            "frames": (given.frames, lambda n: seconds(clip, given.size, n, folder)),
            "pixels": (given.sizes, lambda n: seconds(clip, n, given.count, folder)),
            "steps": (given.steps, lambda n: seconds(clip, given.size, given.count, folder, steps=n)),
            "threads": (given.threads, lambda n: seconds(clip, given.size, given.count, folder, threads=n)),
        }
        seconds(clip, 144, 17, folder)
        least: dict[tuple[str, int], float] = {}
        for _ in range(given.rounds):
            for axis, (values, work) in axes.items():
                for value in values:
                    least[axis, value] = min(work(value), least.get((axis, value), math.inf))
    curves: dict[str, Curve] = {axis: [(v, least[axis, v]) for v in values] for axis, (values, _) in axes.items()}
    curves["pixels"] = [(pixels(clip, int(size)), taken) for size, taken in curves["pixels"]]
    for axis, curve in curves.items():
        print(f"{axis:8}", "   ".join(f"{value:g}: {taken:.1f} s" for value, taken in curve))

    for axis in ("frames", "pixels"):
        values, taken = np.array(curves[axis]).T
        slope, first = np.polyfit(values, taken, 1)
        off = np.abs(taken / (slope * values + first) - 1).max()
        fit = np.corrcoef(values, taken)[0, 1] ** 2
        print(f"{axis}: R^2 {fit:.5f}, {slope:.3g} s each, {first:.1f} s before the first; off by {off:.0%}")
    if given.plot:
        plot(curves, given.plot)
    if given.json:
        given.json.write_text(json.dumps(curves, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
