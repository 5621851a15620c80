"""How fast stdvid is on this machine, against what it is up against; all measured in one run, as machines are noisy.

painting      `stdvid stylize`, from the start of the command to the file
eager         the loop that a user of torch writes for the same network (eager.py)
limit         a product of large matrices in the precision of the network (limit.py)
media path    the way through the program with nothing painted, against ffmpeg (media_path.py)
filter        cv2.stylization, which needs no network
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import torch

from stdvid.bench.eager import eager
from stdvid.bench.limit import flop_share
from stdvid.bench.media_path import media_over_ffmpeg
from stdvid.config import load_preset
from stdvid.errors import InputError, StdvidError
from stdvid.media.reader import PyAVReader
from stdvid.media.timebase import TimePoint
from stdvid.stylize import Job, Plan, plan

FILTER_FRAMES = 8


@dataclass(frozen=True)
class Speed:
    """What was measured; a ratio is None where there is nothing to compare with here.

    Attributes:
        fps: frames a second, from the start of the command to the file.
        start_s, first_frame_s: from the start of the command until its plan, and until the first frames are painted.
        network_share_of_wall: of that time, that the network was at work.
        speedup_over_eager: time a frame of the eager loop, which does not count its start, over ours, which does.
        speedup_start_to_file: time of the eager loop over ours, for as many frames, both from their start to the file.
        flop_share_of_limit: operations a second of the network by itself over those of a product of matrices.
        media_over_ffmpeg: time of decoding and encoding over ffmpeg's with the same settings.
        over_stylization: time a frame over that of cv2.stylization.
        peak_rss_mib: memory of the run; None on Windows.
        steps: of a frame of which all is new.
    """

    fps: float
    seconds_per_frame: float
    start_s: float
    first_frame_s: float
    network_share_of_wall: float
    speedup_over_eager: float
    speedup_start_to_file: float
    flop_share_of_limit: float | None
    media_over_ffmpeg: float | None
    over_stylization: float
    peak_rss_mib: float | None
    frames: int
    size: str
    steps: int
    backend: str
    dtype: str
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, with four digits."""
        return {key: float(f"{v:.4g}") if isinstance(v, float) else v for key, v in asdict(self).items()}


def bench(clip: Path, style: Path, frames: int | None = None, say: Callable[[str], None] = lambda _: None) -> Speed:
    """Measure everything on a clip, or its first `frames`, with the preset nano on the CPU; a minute or two.

    `say` is told what is being measured.

    Raises:
        InputError: the clip or the reference cannot be used.
        StdvidError: painting failed.
    """
    end = TimePoint(frame=frames) if frames else None
    with tempfile.TemporaryDirectory(prefix="stdvid-bench-") as name:
        folder = Path(name)
        planned = plan(Job(clip, (style,), folder / "planned.mp4", load_preset("nano"), end=end, device="cpu"))
        if planned.frames == 1:
            raise InputError(f"{clip} has 1 frame; a clip of 2 or more is needed; give another")
        say("painting")
        ours = painting(clip, style, folder / "painted.mp4", frames)
        say("the eager loop")
        loop = eager(planned)
        say("the limit of this CPU")
        share = flop_share(planned)
        say("the media path")
        media = media_over_ffmpeg(clip, style, planned.size, folder)
    say("cv2.stylization")
    seconds = ours.seconds / ours.frames
    return Speed(
        fps=1 / seconds,
        seconds_per_frame=seconds,
        start_s=ours.start_s,
        first_frame_s=ours.first_frame_s,
        network_share_of_wall=ours.network_seconds / ours.seconds,
        speedup_over_eager=loop.frame_s / seconds,
        speedup_start_to_file=loop.of(ours.frames) / ours.seconds,
        flop_share_of_limit=share,
        media_over_ffmpeg=media,
        over_stylization=seconds / filter_seconds(planned),
        peak_rss_mib=ours.peak_rss_mib,
        frames=ours.frames,
        size=f"{planned.size[0]}x{planned.size[1]}",
        steps=len(planned.times) - 1,
        backend="openvino" if planned.precision == "int8" else "torch",
        dtype=planned.precision,
        threads=torch.get_num_threads(),
    )


@dataclass(frozen=True)
class Painting:
    """A run of the command; seconds are from its start, those of the network of wall time."""

    seconds: float
    frames: int
    start_s: float
    first_frame_s: float
    network_seconds: float
    peak_rss_mib: float | None


def painting(clip: Path, style: Path, output: Path, frames: int | None = None) -> Painting:
    """Run `stdvid stylize` as a command. Raises StdvidError with what it said if it fails."""
    words = ["stylize", str(clip), "--style", str(style), "-o", str(output), "--device", "cpu", "--json"]
    words += ["--end", f"{frames}f"] if frames else []
    started = time.monotonic()
    at: dict[str, float] = {}
    last: dict[str, Any] = {}
    with subprocess.Popen([sys.executable, "-m", "stdvid_cli", *words], stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout or ():
            last = json.loads(line)
            at.setdefault(last["event"], time.monotonic() - started)
    seconds = time.monotonic() - started
    if child.returncode:
        raise StdvidError(f"`stdvid stylize` failed: {last.get('message', f'exit code {child.returncode}')}")
    return Painting(seconds, last["frames"], at["plan"], at["progress"], last["network_seconds"], _peak_of_children())


def _peak_of_children() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def filter_seconds(planned: Plan) -> float:
    """Seconds a frame of cv2.stylization at the size of a plan."""
    with PyAVReader(planned.job.source, size=planned.size) as reader:
        images = [frame.image for frame in islice(reader, FILTER_FRAMES)]
    cv2.stylization(images[0])
    started = time.perf_counter()
    for image in images:
        cv2.stylization(image)
    return (time.perf_counter() - started) / len(images)
