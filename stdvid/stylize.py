"""The whole inference story, read top to bottom.

    plan:  probe -> sizes, times, network                  decisions only; nothing is written
    run:   reader -> windows [decode thread] -> stylize each window -> stitch -> writer [encode thread]

Invariants: as many frames come out as went in, at the same pts; memory is O(window), flat in duration; the same seed
gives the same frames whatever the chunks.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from stdvid.config import StylizeConfig
from stdvid.diffusion.schedule import sampling_times
from stdvid.errors import UsageError
from stdvid.media.encoding import choose_encoder
from stdvid.media.frames import Frame
from stdvid.media.output import check_output, output_format
from stdvid.media.probe import VideoInfo, probe
from stdvid.media.reader import PyAVReader
from stdvid.media.threads import Background, prefetch
from stdvid.media.timebase import TimePoint, check_range
from stdvid.media.writer import VideoWriter
from stdvid.models.bundle import Bundle, NetworkEntry, read_bundle
from stdvid.models.precision import fast_dtype
from stdvid.models.stylizer import BORDER_PX
from stdvid.painter import FOLLOWING, PIXELS_PER_CALL, WindowPainter, check_reference, read_reference, working_size
from stdvid.temporal.blend import Stitcher
from stdvid.temporal.shots import split_shots
from stdvid.temporal.windows import Window, count_windows, gather_shots

BASE_MIB = 500
ACTIVATION_BYTES_PER_PIXEL = 450
NETWORK_SHARE_OF_MATMUL = {torch.float32: 0.7, torch.bfloat16: 0.45}
"""For the estimates of a plan; measured on the embedded model."""

GUIDANCE_FLOPS_PER_PIXEL = 125_000
"""An iteration of style guidance, as the network work that takes as long."""

FRESH_SHARE = 0.25
"""Share of the iterations of style guidance that a frame takes where paint follows the motion, on average over clips
of many kinds: much where all moves, nothing where all rests."""

WAYS_BYTES_PER_PIXEL = 36
"""With consistency "full", for each frame of a window: three matches of two numbers and a trust."""

GUIDANCE_BYTES_PER_PIXEL = 5000
"""What a descent keeps of a frame, measured like the activations."""

ENCODE_DEPTH = 8
"""Finished frames that may wait for the encoder."""


Finished = tuple[NDArray[np.uint8], int, int]
"""A frame on its way to the writer: image, pts, duration."""


@dataclass(frozen=True)
class Job:
    """One stylization as asked for. `overwrite`: True allows replacing the output, False and None do not."""

    source: Path
    styles: tuple[Path, ...]
    output: Path
    config: StylizeConfig
    start: TimePoint | None = None
    end: TimePoint | None = None
    audio: bool = True
    subtitles: bool = True
    fps_mode: Literal["vfr", "cfr"] = "vfr"
    device: str = "auto"
    threads: int | None = None
    overwrite: bool | None = None


@dataclass(frozen=True)
class Plan:
    """A job with everything decided. `size` is (width, height) of the frames worked on and written."""

    job: Job
    info: VideoInfo
    bundle: Bundle
    network: NetworkEntry
    device: torch.device
    size: tuple[int, int]
    times: tuple[int, ...]
    frames: int | None
    notes: tuple[str, ...]

    @property
    def windows(self) -> int | None:
        """How many windows cover the clip if it has no cut; None if its length is unknown."""
        video = self.job.config.video
        return count_windows(self.frames, *video.spans) if self.frames else None

    @property
    def calls_per_frame(self) -> int:
        """Network calls for one frame of one window."""
        return (len(self.times) - 1) * (1 if self.job.config.sampling.guidance == 1 else 2)

    @cached_property
    def estimate_s(self) -> float | None:
        """Seconds of network time, from the speed of a matrix product measured now; None if the length is unknown."""
        if self.windows is None or self.frames is None:
            return None
        video = self.job.config.video
        repeated = 0 if video.consistency in FOLLOWING else (self.windows - 1) * video.overlap  # painted in two windows
        painted = self.frames + repeated
        calls = painted * self.calls_per_frame
        share = NETWORK_SHARE_OF_MATMUL[fast_dtype(self.device)]
        pixels = math.prod(side + 2 * BORDER_PX for side in self.size)
        drawn = painted * (FRESH_SHARE if video.consistency in FOLLOWING and self.frames > 1 else 1)
        guided = drawn * self.job.config.sampling.style_guidance * GUIDANCE_FLOPS_PER_PIXEL
        flops = (calls * self.bundle.flops_per_pixel + guided) * pixels
        return flops / (_matmul_flops_per_s(self.device, self.job.threads) * share)

    def memory_mib(self) -> int:
        """Rough peak of the run: the process, the window in float and uint8, activations, and style guidance."""
        pixels = self.size[0] * self.size[1]
        video = self.job.config.video
        ways = WAYS_BYTES_PER_PIXEL if video.consistency == "full" else 0
        window = video.spans[0] * pixels * (3 * (4 * 4 + 3) + ways)
        activations = max(pixels, PIXELS_PER_CALL) * ACTIVATION_BYTES_PER_PIXEL
        guided = pixels * GUIDANCE_BYTES_PER_PIXEL if self.job.config.sampling.style_guidance else 0
        return round(BASE_MIB + (window + activations + guided) / 2**20)

    def to_dict(self) -> dict[str, Any]:
        """Everything decided, JSON-able."""
        sampling, video = self.job.config.sampling, self.job.config.video
        estimate = self.estimate_s
        return {
            "input": str(self.job.source),
            "output": str(self.job.output),
            "styles": [str(p) for p in self.job.styles],
            "source": self.info.to_dict(),
            "model": self.bundle.name,
            "network": self.network.file,
            "strength": (self.times[0] + 1) / 1000,
            "start_time": self.times[0],
            "steps": len(self.times) - 1,
            "guidance": sampling.guidance,
            "style_scale": sampling.style_scale,
            "style_guidance": sampling.style_guidance,
            "seed": sampling.seed,
            "size": f"{self.size[0]}x{self.size[1]}",
            "frames": self.frames,
            "windows": self.windows,
            "window_frames": video.spans[0],
            "overlap_frames": video.spans[1],
            "consistency": video.consistency,
            "device": str(self.device),
            "memory_mib": self.memory_mib(),
            "estimate_s": None if estimate is None else float(f"{estimate:.2g}"),
            "config": asdict(self.job.config),
        }


@dataclass(frozen=True)
class Progress:
    """How far a run is. `frames_total` is what the container claims, None if it does not say."""

    frames_done: int
    frames_total: int | None
    elapsed_s: float
    fps: float
    eta_s: float | None


@dataclass(frozen=True)
class Result:
    """What a run did; seconds are wall time."""

    output: Path
    frames: int
    seconds: float
    network_seconds: float
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "output": str(self.output)}


def plan(job: Job) -> Plan:
    """Decide everything that can be decided without decoding the clip.

    Raises:
        UsageError: the request contradicts itself, names something unknown, or the output exists.
        InputError: input or reference is missing, damaged or not what it should be.
        ModelError: the bundle is damaged.
        OutputError: the output folder cannot be written.
    """
    for used in (job.source, *job.styles):
        check_output(job.output, used, job.overwrite)
    info = probe(job.source)
    check_range(job.start, job.end, info.video.rate)
    _check_encoding(job, info)
    for style in job.styles:
        check_reference(style)
    bundle = read_bundle(job.config.model.base)
    sampling = job.config.sampling
    network, start, note = bundle.network_for(sampling.strength)
    size = working_size(info, job.config.video.size)
    return Plan(
        job=job,
        info=info,
        bundle=bundle,
        network=network,
        device=resolve_device(job.device),
        size=size,
        times=tuple(sampling_times(start, sampling.steps)),
        frames=_frames_claimed(info, job.start, job.end),
        notes=(note,) if note else (),
    )


def resolve_device(name: str) -> torch.device:
    """'auto' is cuda, then mps, then cpu; UsageError for a device that is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if there[d]))
    if not there.get(name, False):
        usable = ", ".join(d for d, usable in there.items() if usable)
        raise UsageError(f"device '{name}' is not available; usable here: {usable}; choose one or leave --device out")
    return torch.device(name)


def run(
    planned: Plan,
    on_progress: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Result:
    """Stylize the clip and write the output: the whole file, or nothing.

    Raises:
        Interrupted: `stop` was set.
        InputError, OutputError, ModelError: see `plan`; nothing is left behind.
    """
    job, stop = planned.job, stop or threading.Event()
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    started = time.monotonic()
    stylizer = planned.bundle.load(planned.network, planned.device)
    style = stylizer.read_style([read_reference(path) for path in job.styles], job.config.sampling.style_scale)
    painter = WindowPainter(stylizer, style, planned.times, job.config, planned.size, stop)
    waiting: deque[tuple[int, int]] = deque()
    done = 0

    with (
        PyAVReader(job.source, size=planned.size, start=job.start, end=job.end, info=planned.info) as reader,
        _open_writer(planned) as writer,
    ):
        stitcher = Stitcher(*job.config.video.spans)
        encoder = Background[Finished](lambda item: writer.write(*item), ENCODE_DEPTH)
        with encoder:

            def finish(frames: list[NDArray[np.floating]]) -> None:
                nonlocal done
                for frame in frames:
                    pts, duration = waiting.popleft()
                    encoder.put((np.rint(frame).astype(np.uint8), pts, duration))
                    done += 1
                elapsed = time.monotonic() - started
                fps = done / elapsed
                left = max(0, planned.frames - done) / fps if planned.frames and fps else None
                on_progress(Progress(done, planned.frames, elapsed, fps, left))

            for window, frames in prefetch(_windows(reader, job.config), 1):
                for frame in frames[len(waiting) + done - window.start : window.n_frames]:
                    waiting.append((frame.pts, frame.duration))
                finish(stitcher.add(window, painter.paint(window, frames)))
            finish(stitcher.flush())
    return Result(
        job.output, done, time.monotonic() - started, painter.network_seconds, [*reader.notes(), *writer.notes]
    )


def _check_encoding(job: Job, info: VideoInfo) -> None:
    target, encode_config = output_format(job.output), job.config.encode
    if not target.still:
        choose_encoder(encode_config.codec, encode_config.crf, encode_config.enc)
    elif not info.is_image:
        raise UsageError(
            f"output '{job.output.name}' is an image file and '{job.source.name}' a video; allowed are .mp4, .mkv and "
            "others; choose one of these extensions"
        )


def _windows(reader: PyAVReader, config: StylizeConfig) -> Iterator[tuple[Window, list[Frame]]]:
    yield from gather_shots(split_shots(reader), *config.video.spans)


def _open_writer(planned: Plan) -> VideoWriter:
    job, config = planned.job, planned.job.config.encode
    return VideoWriter(
        job.output,
        size=planned.size,
        info=planned.info,
        codec=config.codec,
        crf=config.crf,
        enc=config.enc,
        audio=job.audio,
        subtitles=job.subtitles,
        fps_mode=job.fps_mode,
        start=job.start,
        end=job.end,
        overwrite=job.overwrite is True,
    )


def _frames_claimed(info: VideoInfo, start: TimePoint | None, end: TimePoint | None) -> int | None:
    if info.is_image:
        return 1
    rate, claimed = info.video.rate, info.video.frames_claimed
    duration = info.video.duration_s or info.duration_s
    total = claimed or (round(duration * rate) if duration else 0)
    if not total and end is None:
        return None
    last = min(x for x in (total or None, math.ceil(end.to_seconds(rate) * rate) if end else None) if x is not None)
    first = math.ceil(start.to_seconds(rate) * rate) if start else 0
    return max(1, last - first)


def _matmul_flops_per_s(device: torch.device, threads: int | None, n: int = 1024) -> float:
    if threads is not None:
        torch.set_num_threads(threads)
    a = torch.ones(n, n, device=device, dtype=fast_dtype(device))
    (a @ a).sum().item()
    started = time.perf_counter()
    (a @ a).sum().item()
    return 2 * n**3 / (time.perf_counter() - started)
