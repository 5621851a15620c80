"""What the way through the program costs beside painting: `stdvid stylize` with nothing painted, against ffmpeg.

    python benchmarks/media_path.py CLIP [--size 720] [--rounds 5]

ffmpeg has to be installed. Rounds take turns; the figure is the median of their ratios (stdvid/bench/media_path.py).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from stdvid.bench.media_path import media_over_ffmpeg
from stdvid.media.probe import probe
from stdvid.painter import working_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--size", type=int, default=720, help="short side, px; never above the clip's")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    style = Path(__file__).resolve().parents[1] / "presets/styles/reading.jpg"
    size = working_size(probe(arguments.clip), arguments.size)
    with tempfile.TemporaryDirectory() as folder:
        ratio = media_over_ffmpeg(arguments.clip, style, size, Path(folder), arguments.rounds)
    if ratio is None:
        raise SystemExit("ffmpeg is not installed")
    print(f"{size[0]}x{size[1]}  stdvid / ffmpeg: {ratio:.2f}")


if __name__ == "__main__":
    main()
