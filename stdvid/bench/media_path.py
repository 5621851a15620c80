"""What the way through the program costs beside painting: a run that paints nothing, against ffmpeg.

Decode, cut into shots and windows, journal, encode, copy sound: everything but the painter, in whose place frames pass
as they are. ffmpeg transcodes the same frames at the same size with the same codec and settings, sound included.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np

from stdvid.config import load_preset
from stdvid.media.probe import probe
from stdvid.painter import Images, Painted
from stdvid.schema import merge
from stdvid.stylize import Job, Workers, plan, run

ROUNDS = 3

FRAMES = 600
"""A short clip is repeated up to so many, or what comes once would count too much."""


class Untouched:
    """Hands that paint nothing, of frames that know nothing of one another."""

    ahead = 0
    network_seconds = 0.0

    def look(self, images: Images) -> Any:
        """Nothing becomes of frames."""

    def apart(self, images: Images, index: int, look: Any) -> Painted:
        """The frames."""
        return images.astype(np.float32)

    def value(self, painted: Any) -> Any:
        """At once."""
        return painted


def media_over_ffmpeg(
    clip: Path, style: Path, size: tuple[int, int], folder: Path, rounds: int = ROUNDS
) -> float | None:
    """Time of such a run over that of ffmpeg, the median of some rounds in turn; None where there is no ffmpeg, or
    it cannot read or write the clip.

    `size`: (width, height); `style`: a reference, which a run must have; `folder`: for what is written.
    """
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        return None

    def converted(*words: str | Path) -> bool:
        return subprocess.run([ffmpeg, "-v", "fatal", "-y", *map(str, words)]).returncode == 0

    source, sizes = folder / f"repeated{clip.suffix}", f"{size[0]}x{size[1]}"
    again = max(0, FRAMES // max(1, probe(clip).video.frames_claimed or FRAMES) - 1)
    if not converted("-stream_loop", str(again), "-i", clip, "-map", "0:v:0", "-map", "0:a?", "-c", "copy", source):
        return None
    config = merge(load_preset("nano"), {"video": {"size": sizes, "consistency": "none"}})
    encoding = ("-c:v", config.encode.codec, "-crf", str(config.encode.crf), "-pix_fmt", "yuv420p", "-c:a", "copy")
    ratios = []
    for _ in range(rounds):
        planned = plan(Job(source, (style,), folder / "untouched.mp4", config, overwrite=True, device="cpu"))
        started = time.perf_counter()
        run(planned, hands=cast(Workers, Untouched()))
        between = time.perf_counter()
        if not converted("-i", source, "-vf", f"scale={sizes}", *encoding, folder / "ffmpeg.mp4"):
            return None
        ratios.append((between - started) / (time.perf_counter() - between))
    return median(ratios)
