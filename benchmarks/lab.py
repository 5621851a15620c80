"""The distillation laboratory: trains every row of a table and prints the table in Markdown, from checkpoints.

    python benchmarks/lab.py train methods --teacher nano-teacher --styles DIR --photos DIR --runs DIR
    python benchmarks/lab.py table methods --teacher nano-teacher --styles DIR --photos DIR --runs DIR

All runs of a table share teacher, data, order of data, solver, batch and number of steps. A run that is there already
is not trained again. Figures: `end_error` (relative L2 of the final latents to the guided teacher's), `gram_lite0`
and the like (style moved), `structure`: means over held-out pairs and seeds, 95 % confidence intervals.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stdvid.distill.evaluation import half_width


@dataclass(frozen=True)
class Line:
    """One row: what it is called, the preset it is trained with, its seeds, its share of the training steps."""

    label: str
    preset: str
    seeds: int = 1
    step_share: float = 1.0


@dataclass(frozen=True)
class Table:
    """Rows trained and judged under the same conditions; `guidance` is that of the teacher's trajectories."""

    lines: tuple[Line, ...]
    strength: float = 0.6
    guidance: float = 2.0
    student_guidance: tuple[float, ...] = (1.0,)
    steps: tuple[int, ...] = (1, 2, 4, 6, 8)
    settings: tuple[str, ...] = field(default=())
    """KEY=VALUE, over every preset."""
    group: str = "base"
    """Rows of one group share their runs with other tables of that group."""


METHOD_LINES = (
    Line("STD", "nano-student", 3),
    Line("TCD", "nano-tcd", 3),
    Line("LCM", "nano-lcm"),
    Line("PCM", "nano-pcm", 3),
    Line("TDD", "nano-tdd"),
)

TABLES = {
    "methods": Table(METHOD_LINES),
    "bends": Table(
        tuple(Line(line.label, line.preset) for line in METHOD_LINES),
        strength=0.75,
        guidance=4.0,
        settings=("loss.strength=0.75", "loss.guidance_min=3.0", "loss.guidance_max=5.0"),
        group="bends",
    ),
    "guidance": Table(
        tuple(Line(line.label, line.preset) for line in METHOD_LINES), student_guidance=(1.0, 1.5, 2.0, 3.0), steps=(4,)
    ),
    "ablations": Table(
        (
            Line("STD", "nano-student", 3),
            Line("- condition in the bank", "ablation-condition"),
            Line("- begin at eta", "ablation-begin"),
            Line("- window", "ablation-window"),
            Line("half the window", "ablation-short-window"),
            Line("- finishing bank", "ablation-refresh"),
        )
    ),
    "bank": Table(
        (
            Line("STD", "nano-student", 3),
            Line("STD, walked anew, about the same time", "nano-rollout", step_share=1 / 6),
        )
    ),
    "adversarial": Table(
        (
            Line("STD", "nano-student", 3),
            Line("+ adversarial, r < s", "nano-adversarial"),
            Line("+ adversarial, r = s", "adversarial-equal"),
            Line("+ adversarial, r > s", "adversarial-above"),
        )
    ),
}


def run_folder(runs: Path, table: Table, preset: str, seed: int) -> Path:
    """Where a run is kept."""
    return runs / table.group / f"{preset}-seed{seed}"


def stdvid(arguments: Sequence[str], threads: int) -> None:
    """The command line of this installation, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    script = "from stdvid_cli.app import main; main()"
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)


def data_options(arguments: argparse.Namespace) -> list[str]:
    """Teacher and pictures, as options."""
    pairs = (("--teacher", arguments.teacher), ("--styles", arguments.styles), ("--photos", arguments.photos))
    return [str(part) for pair in pairs for part in pair]


def train(table: Table, arguments: argparse.Namespace) -> None:
    """Train what is missing, `--jobs` runs at a time."""
    commands = []
    for line in table.lines:
        for seed in range(line.seeds):
            out = run_folder(arguments.runs, table, line.preset, seed)
            command = ["distill", "student", "--config", line.preset, "--seed", str(seed), "--out", str(out)]
            command += ["--max-steps", str(round(arguments.max_steps * line.step_share)), *data_options(arguments)]
            commands.append(command + [part for setting in table.settings for part in ("--set", setting)])
    threads = max(1, len(os.sched_getaffinity(0)) // arguments.jobs)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda command: stdvid(command, threads), commands))


def evaluate(table: Table, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of `stdvid distill eval` for all runs of a table; what was judged before is read again."""
    folders = [
        run_folder(arguments.runs, table, line.preset, seed) for line in table.lines for seed in range(line.seeds)
    ]
    conditions = [f"--pairs={arguments.pairs}", f"--size={arguments.size}", f"--strength={table.strength}"]
    conditions += [f"--guidance={table.guidance}", *(f"--steps={n}" for n in table.steps)]
    conditions += [f"--student-guidance={g}" for g in table.student_guidance]
    conditions.append("--deterministic")
    name = "eval" + "".join(c.removeprefix("-").replace("-", "_") for c in conditions) + ".json"
    missing = [folder for folder in folders if not (folder / name).exists()]
    shares = [missing[job :: arguments.jobs] for job in range(arguments.jobs)]
    threads = max(1, len(os.sched_getaffinity(0)) // arguments.jobs)

    def judge(share: list[Path]) -> None:
        if not share:
            return
        out = share[0] / f"all-{name}"
        stdvid(
            ["distill", "eval", *map(str, share), *conditions, *data_options(arguments), "--json", str(out)], threads
        )
        rows = json.loads(out.read_text(encoding="utf-8"))
        out.unlink()
        for folder in share:
            own = [
                row for row in rows if row["name"].startswith("teacher") or row["name"].split(", ")[0] == folder.name
            ]
            (folder / name).write_text(json.dumps(own), encoding="utf-8")

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(judge, shares))
    teachers = [r for r in json.loads((folders[0] / name).read_text(encoding="utf-8")) if r["name"][:7] == "teacher"]
    judged = []
    for line in table.lines:
        for seed in range(line.seeds):
            path = run_folder(arguments.runs, table, line.preset, seed) / name
            rows = [r for r in json.loads(path.read_text(encoding="utf-8")) if r["name"][:7] != "teacher"]
            labels = {row["name"]: row["name"].replace(path.parent.name, line.label) for row in rows}
            judged += [{**row, "label": labels[row["name"]], "seed": seed} for row in rows]
    return [{**row, "label": row["name"], "seed": 0} for row in teachers] + judged


def by_pair(rows: list[dict[str, Any]], figure: str) -> np.ndarray[Any, Any]:
    """[seeds, pairs] of one figure."""
    return np.array([row["values"][figure] for row in rows])


def cell(rows: list[dict[str, Any]], figure: str) -> str:
    """Mean and interval over pairs of the mean over seeds; with several seeds also their standard deviation."""
    values = by_pair(rows, figure)
    text = f"{values.mean():.3f} ±{half_width(values.mean(0).tolist()):.3f}"
    return text + (f" (seeds ±{values.mean(1).std(ddof=1):.4f})" if len(values) > 1 else "")


def markdown(rows: list[dict[str, Any]], figure: str) -> str:
    """One table: a line for each network and guidance, a column for each number of steps."""
    keys = list(dict.fromkeys((row["label"], row["guidance"]) for row in rows))
    counts = sorted({row["steps"] for row in rows if row["label"] != "teacher, whole"})
    lines = [f"| {figure} | guidance | " + " | ".join(f"{n} steps" for n in counts) + " |"]
    lines.append("|" + "---|" * (len(counts) + 2))
    for label, guidance in keys:
        own = [row for row in rows if (row["label"], row["guidance"]) == (label, guidance)]
        cells = [cell(at, figure) if (at := [r for r in own if r["steps"] == n]) else "" for n in counts]
        if label == "teacher, whole":
            cells = [
                f"{own[0]['steps']} steps, {own[0]['calls']} calls: {cell(own, figure)}",
                *[""] * (len(counts) - 1),
            ]
        lines.append(f"| {label} | {guidance:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def differences(rows: list[dict[str, Any]], steps: Sequence[int], ours: str, figure: str) -> str:
    """`ours` minus every other row, pair by pair and seed by seed; what excludes 0 is a difference."""
    lines = []
    others = dict.fromkeys(r["label"] for r in rows if r["label"] != ours and r["label"][:7] != "teacher")
    for other in others:
        cells = []
        for n in steps:
            a, b = ([r for r in rows if (r["label"], r["steps"]) == (name, n)] for name in (ours, other))
            seeds = min(len(a), len(b))
            paired = (by_pair(a[:seeds], figure) - by_pair(b[:seeds], figure)).mean(0)
            cells.append(f"{paired.mean():+.4f} ±{half_width(paired.tolist()):.4f}")
        lines.append(f"| {ours} minus {other} | | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["train", "table"])
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument("--teacher", default="nano-teacher", help="run directory or bundle")
    parser.add_argument("--styles", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="where run directories are kept")
    parser.add_argument("--max-steps", type=int, default=300, help="of training, the same for every row")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time; they share the cores")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--size", type=int, default=192, help="side of the pictures, px")
    parser.add_argument("--figures", default="end_error,gram_lite0,swd_lite0,structure")
    arguments = parser.parse_args()
    table = TABLES[arguments.table]
    if arguments.action == "train":
        train(table, arguments)
        return
    rows = evaluate(table, arguments)
    for figure in arguments.figures.split(","):
        print(markdown(rows, figure))
        if len(table.student_guidance) == 1:
            print(differences(rows, table.steps, table.lines[0].label, figure))
        print()


if __name__ == "__main__":
    main()
