"""What the trajectory bank saves: training steps a second with it, and with every state walked to anew.

    python benchmarks/bench_bank.py [--teacher nano-teacher] [--steps 8] [--styles DIR --photos DIR]

Both train on the same states of single trajectories begun at x_eta, uniform in time: with the bank a training step
makes one guided teacher step; without, it makes them all from x_eta on. Rounds alternate, so that a busy machine slows
both. By default the bundled styles and the frames of the demo clip are the data: the cost of a step knows no pictures.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import numpy as np

from stdvid.config import find_preset
from stdvid.distill.build import build_student
from stdvid.distill.settings import StudentSettings
from stdvid.distill.trainer import Run
from stdvid.schema import from_toml, merge


def make_run(preset: str, arguments: argparse.Namespace, folder: Path) -> Run:
    """A run of a preset, its first step (which fills the bank) done."""
    settings = from_toml(StudentSettings, find_preset(preset, "distill"))
    data = {"styles": [str(arguments.styles)], "photos": [str(arguments.photos)], "weights": {}}
    run = build_student(merge(settings, {"teacher": arguments.teacher, "data": data}), folder / preset, "auto")
    run.task.model.train()
    run.train_step()
    return run


def seconds_a_step(run: Run, steps: int) -> float:
    """Mean over `steps` training steps."""
    began = time.perf_counter()
    for _ in range(steps):
        run.train_step()
    return (time.perf_counter() - began) / steps


def main() -> None:
    presets = files("stdvid_presets")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="nano-teacher")
    parser.add_argument("--styles", type=Path, default=Path(str(presets / "styles")))
    parser.add_argument("--photos", type=Path, default=Path(str(presets / "demo")))
    parser.add_argument("--steps", type=int, default=8, help="training steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bank, rollout = (make_run(name, arguments, Path(folder)) for name in ("nano-student", "nano-rollout"))
        pairs = [
            (seconds_a_step(bank, arguments.steps), seconds_a_step(rollout, arguments.steps))
            for _ in range(arguments.rounds)
        ]
    ratios = [without / with_bank for with_bank, without in pairs]
    print(f"with the bank     {np.median([a for a, _ in pairs]):.3f} s a step")
    print(f"walked anew       {np.median([b for _, b in pairs]):.3f} s a step")
    print(f"the bank is {np.median(ratios):.2f} times as fast (rounds: {', '.join(f'{r:.2f}' for r in ratios)})")


if __name__ == "__main__":
    main()
