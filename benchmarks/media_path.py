"""What the way through the program costs beside painting: `stdvid stylize` with nothing painted, against ffmpeg.

    python benchmarks/media_path.py CLIP [--size 720] [--frames 300] [--rounds 5] [--json FILE]

Decode, cut into shots and windows, spool, encode, copy sound: everything but the painter, in whose place frames pass as
they are. ffmpeg (which has to be installed) transcodes the same frames with the same codec, settings, size and sound.
Rounds take turns; the figure is the median of their ratios. Programs are not started anew: imports do not count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

from stdvid import stylize
from stdvid.config import load_preset
from stdvid.media.timebase import TimePoint
from stdvid.schema import merge


class Untouched:
    """Hands that paint nothing."""

    ahead = 0
    network_seconds = 0.0

    def look(self, images: Any) -> None:
        """Nothing becomes of frames."""

    def apart(self, images: Any, index: int, look: None) -> Any:
        """The frames."""
        return images.astype(np.float32)

    def value(self, painted: Any) -> Any:
        """At once."""
        return painted


@contextmanager
def untouched(*_: Any) -> Iterator[Untouched]:
    """In the place of those who paint."""
    yield Untouched()


def ours(clip: Path, output: Path, size: int, frames: int) -> tuple[float, tuple[int, int]]:
    """Seconds of a run, and the size that it worked at."""
    config = merge(load_preset("nano"), {"video": {"size": size, "consistency": "none"}})
    style = Path(__file__).resolve().parents[1] / "presets/styles/reading.jpg"
    planned = stylize.plan(stylize.Job(clip, (style,), output, config, end=TimePoint(frame=frames), overwrite=True))
    started = time.perf_counter()
    with patch.object(stylize, "_hands", untouched):
        done = stylize.run(planned)
    seconds = time.perf_counter() - started
    if done.frames == 0:
        raise SystemExit("no frames")
    return seconds, planned.size


def theirs(clip: Path, output: Path, size: tuple[int, int], frames: int) -> float:
    """Seconds of ffmpeg."""
    started = time.perf_counter()
    given = ["-v", "error", "-y", "-i", str(clip), "-frames:v", str(frames), "-vf", f"scale={size[0]}:{size[1]}"]
    settings = ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-c:a", "copy"]
    subprocess.run(["ffmpeg", *given, *settings, str(output)], check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--size", type=int, default=720, help="short side, px; never above the clip's")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, name) for name in ("ours.mp4", "ffmpeg.mp4")]
        for _ in range(arguments.rounds):
            seconds, size = ours(arguments.clip, outputs[0], arguments.size, arguments.frames)
            rounds.append((seconds, theirs(arguments.clip, outputs[1], size, arguments.frames)))
            print(f"{size[0]}x{size[1]}  stdvid {rounds[-1][0]:.2f} s  ffmpeg {rounds[-1][1]:.2f} s", flush=True)
    ratio = median(mine / other for mine, other in rounds)
    print(f"stdvid / ffmpeg: {ratio:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rounds": rounds, "ratio": ratio}) + "\n", "utf-8")


if __name__ == "__main__":
    main()
