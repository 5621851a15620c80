"""Through pipes against file to file: the same clip, in turn, and the ratio of the times.

    python benchmarks/pipes.py clip.mp4 --style starry.png --rounds 3 --options "--size 96"

Whole processes are timed, with their start. The pipes: `cat clip | stdvid stylize - -o - | cat > out`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from commands import stylize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--options", default="", help="further options of stylize, as one word")
    arguments = parser.parse_args()
    options = arguments.options.split()
    piped = stylize("-", arguments.style, "-", *options)
    seconds: dict[str, list[float]] = {"files": [], "pipes": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            began = time.monotonic()
            words = stylize(arguments.clip, arguments.style, Path(folder, f"{number}.mkv"), *options)
            subprocess.run(words, check=True)
            seconds["files"].append(time.monotonic() - began)
            began = time.monotonic()
            with Path(folder, f"{number}.nut").open("wb") as target:
                cat = subprocess.Popen(["cat", str(arguments.clip)], stdout=subprocess.PIPE)
                run = subprocess.Popen(piped, stdin=cat.stdout, stdout=subprocess.PIPE)
                subprocess.run(["cat"], stdin=run.stdout, stdout=target, check=True)
            if run.wait() or cat.wait():
                raise SystemExit("a part of the pipeline failed")
            seconds["pipes"].append(time.monotonic() - began)
    files, pipes = (statistics.median(seconds[name]) for name in ("files", "pipes"))
    listed = {name: [round(value, 1) for value in values] for name, values in seconds.items()}
    print(f"seconds {listed}; medians: pipes have {100 * files / pipes:.1f} % of the throughput of files")


if __name__ == "__main__":
    main()
