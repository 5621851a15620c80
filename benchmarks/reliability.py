"""SIGKILL at random moments of a run, again and again; every output has to be that of a run which nobody touched.

    python benchmarks/reliability.py clip.mp4 --style starry.png --kills 30

A run is killed, the same command goes on, is killed again, ... until one lives; then the next output begins. Moments
are drawn evenly over the time that an untouched run takes. What was under way when it died is read from the journal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from commands import stylize

from stdvid.journal import folder_of


def command(arguments: argparse.Namespace, output: Path) -> list[str]:
    """The command line that is run and killed."""
    options = ["--size", arguments.size, "--end", f"{arguments.frames}f", "--threads", 1, "--window", 8, "--verify"]
    guidance = ["--style-guidance", arguments.style_guidance]
    return stylize(arguments.clip, arguments.style, output, *options, *guidance, "--json")


def stage(output: Path) -> str:
    """What a run that was killed had reached."""
    folder = folder_of(output)
    if output.exists():
        return "the output has its name"
    if output.with_name(output.name + ".part").exists():
        return "the output is being put together"
    try:
        record = json.loads((folder / "journal.json").read_text("utf-8"))
    except OSError:
        return "before the first window"
    return "between windows" if any(folder.glob("*.new")) else "painting" if record["windows"] else "first window"


def digest(path: Path) -> str:
    """Of the content of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--style-guidance", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw, stages, outputs, differ = random.Random(arguments.seed), Counter[str](), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder, "whole.mp4"), Path(folder, "parts.mp4")
        began = time.monotonic()
        subprocess.run(command(arguments, whole), check=True, capture_output=True)
        length, wanted = time.monotonic() - began, digest(whole)
        while sum(stages.values()) < arguments.kills:
            process = subprocess.Popen(command(arguments, parts), stdout=subprocess.PIPE, text=True)
            try:
                said, _ = process.communicate(timeout=draw.uniform(0, length))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                stages[stage(parts)] += 1
                if not parts.exists() or folder_of(parts).exists():
                    continue
                said = ""  # it was all done, and had not yet ended
            if said and process.returncode:
                raise SystemExit(f"exit {process.returncode}: {said}")
            outputs += 1
            differ += digest(parts) != wanted
            left = sorted(path.name for path in Path(folder).iterdir())
            if left != ["parts.mp4", "whole.mp4"]:
                raise SystemExit(f"left behind: {left}")
            parts.unlink()
            resumed = json.loads(said.splitlines()[-1])["resumed"] if said else "all"
            print(f"output {outputs}: {resumed} frames were there", flush=True)
    for name, count in stages.most_common():
        print(f"{count:4d} killed: {name}")
    print(f"{outputs} outputs were finished, {differ} differ from that of an untouched run")


if __name__ == "__main__":
    main()
