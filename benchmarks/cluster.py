"""One worker against two, of one thread each: time of the same clip on clusters on this machine, and its bytes.

    python benchmarks/cluster.py clip.mp4 --style starry.png --windows 40

The clip, which needs sound, is looped until it has so many windows. A cluster is started afresh for each run, so that
workers load what they need anew; starting it is not counted. Decoding, encoding and Ray itself run beside the workers,
on the same cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import av
from commands import stylize
from endurance import looped
from ray.cluster_utils import Cluster


def stylized(source: Path, output: Path, address: str, arguments: argparse.Namespace) -> float:
    """Seconds of a run, by its own report: from the start of decoding to the finished file."""
    end = f"{1 + arguments.windows * (arguments.window - 1)}f"
    options = ["--size", arguments.size, "--window", arguments.window, "--end", end, *arguments.options.split()]
    words = stylize(source, arguments.style, output, *options, "--ray", address, "--json")
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--window", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--options", default="", help="further options of stylize, as one word")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1"}
    with av.open(str(arguments.clip)) as clip:
        rate = float(clip.streams.video[0].average_rate or 25)
    with tempfile.TemporaryDirectory() as folder:
        source = looped(arguments.clip, 1 + arguments.windows * arguments.window / rate, Path(folder, "looped.mkv"))
        found: dict[int, float] = {}
        for workers in arguments.workers:
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
            for _ in range(workers):
                cluster.add_node(num_cpus=1, object_store_memory=10**9)
            output = Path(folder, f"{workers}.mkv")
            found[workers] = stylized(source, output, str(cluster.address), arguments)
            cluster.shutdown()  # type: ignore[no-untyped-call]
            digest = hashlib.sha256(output.read_bytes()).hexdigest()[:12]
            ratio = found[arguments.workers[0]] / found[workers]
            print(f"{workers} workers: {found[workers]:.1f} s, {ratio:.2f} times as fast; output {digest}", flush=True)
            time.sleep(2)


if __name__ == "__main__":
    main()
