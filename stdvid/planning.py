"""A stylization as asked for, and everything about it that can be decided before a frame is decoded."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import torch

from stdvid import __version__, journal
from stdvid.config import SamplingConfig, StylizeConfig
from stdvid.diffusion.schedule import published_times, sampling_times
from stdvid.errors import UsageError
from stdvid.media.encoding import choose_encoder
from stdvid.media.limits import DEFAULT, Limits
from stdvid.media.output import check_output, output_format
from stdvid.media.probe import VideoInfo, probe
from stdvid.media.timebase import TimePoint, check_range
from stdvid.models.bundle import Bundle
from stdvid.models.catalogue import Model, decide_precision, find_model
from stdvid.models.diffusers_adapter import HubModel
from stdvid.models.memory import Layout, Work
from stdvid.models.nano_stylizer import BORDER_PX, PIXELS_PER_CALL
from stdvid.models.network import NetworkEntry
from stdvid.models.openvino_trial import openvino_version
from stdvid.models.precision import fast_dtype
from stdvid.painter import FOLLOWING, check_reference, working_size
from stdvid.temporal.windows import count_windows

SIDE_BY_SIDE_PIXELS = 600_000
"""Of all frames, one a window, of the windows that are painted at a time: memory is for each of them."""

BASE_MIB = 500
ACTIVATION_BYTES_PER_PIXEL = 450
NETWORK_SHARE_OF_MATMUL = {torch.float32: 0.7, torch.bfloat16: 0.45}
"""For the estimates of a plan; measured on the embedded model."""

INT8_SPEEDUP = 1.7
"""Of the network's calls, over fp32."""

GUIDANCE_FLOPS_PER_PIXEL = 125_000
"""An iteration of style guidance, as the network work that takes as long."""

AROUND_FLOPS_PER_PIXEL = {"none": 50_000, "noise": 50_000, "flow": 150_000, "full": 180_000}
"""Everything but the network, for a frame: colours, flow, paint that moves, encoding; as network work, on a CPU, that
takes as long."""

FRESH_SHARE = 0.25
"""Share of its steps, and of the iterations of style guidance, that a frame takes where paint follows the motion, on
average over clips of many kinds: much where all moves, nothing where all rests."""

SEEN_SHARE = 0.5
"""Share of the pixels of such a frame that a network sees which may be shown parts, on average as above."""

WAYS_BYTES_PER_PIXEL = 36
"""With consistency "full", for each frame of a window: three matches of two numbers and a trust."""

GUIDANCE_BYTES_PER_PIXEL = 5000
"""What a descent keeps of a frame, measured like the activations."""


@dataclass(frozen=True)
class Job:
    """One stylization as asked for. `source` and `output` may be "-", standard input and output, that one in the format
    `container`. `overwrite`: True allows replacing the output, False and None do not. `resume`:
    go on where an earlier run died. `verify`: decode the output at the end and check it. `limits`: what the input may
    not exceed."""

    source: Path
    styles: tuple[Path, ...]
    output: Path
    config: StylizeConfig
    start: TimePoint | None = None
    end: TimePoint | None = None
    audio: bool = True
    subtitles: bool = True
    container: str | None = None
    fps_mode: Literal["vfr", "cfr"] = "vfr"
    device: str = "auto"
    threads: int | None = None
    overwrite: bool | None = None
    resume: bool = True
    verify: bool = False
    limits: Limits = DEFAULT


@dataclass(frozen=True)
class Plan:
    """A job with everything decided. `size` is (width, height) of the frames worked on and written."""

    job: Job
    info: VideoInfo
    model: Model
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
    def side_by_side(self) -> int:
        """How many windows this machine paints at a time: of an embedded model on a CPU, as many as it has threads,
        where windows are small and none is begun in another."""
        if self.device.type != "cpu" or self.job.config.video.consistency == "flow" or isinstance(self.model, HubModel):
            return 1
        threads, room = self.job.threads or torch.get_num_threads(), SIDE_BY_SIDE_PIXELS // math.prod(self.size)
        return max(1, min(threads, room, (self.windows or threads) // 2))

    @property
    def work(self) -> Work:
        """What a network is to do."""
        return work_of(self.job.config, self.size, self.times)

    @property
    def layout(self) -> Layout | None:
        """How a model of the hub is to fit on its device; None for a bundle, which always does."""
        return self.model.layout(self.work, self.device) if isinstance(self.model, HubModel) else None

    @property
    def calls_per_frame(self) -> int:
        """Network calls for one frame of one window."""
        return (len(self.times) - 1) * (1 if self.job.config.sampling.guidance == 1 else 2)

    def _calls(self, painted: int, windows: int) -> float:
        """Network calls for so many frames in so many windows, a frame each."""
        sampling, steps = self.job.config.sampling, len(self.times) - 1
        if sampling.always_whole(steps) or not self.job.config.video.anchored:
            return painted * self.calls_per_frame
        between = (
            max(sampling.steps_between or 1, steps * FRESH_SHARE)
            / steps
            * (SEEN_SHARE if isinstance(self.model, Bundle) else 1)
        )
        return (windows + (painted - windows) * between) * self.calls_per_frame

    @cached_property
    def estimate_s(self) -> float | None:
        """Seconds of painting here, from the speed of a matrix product measured now; None if the length is unknown, or
        the device is elsewhere."""
        if self.windows is None or self.frames is None or self.device.type not in local_devices():
            return None
        video = self.job.config.video
        repeated = 0 if video.consistency in FOLLOWING else (self.windows - 1) * video.overlap  # painted in two windows
        painted = self.frames + repeated
        calls = self._calls(painted, min(self.windows, painted))
        dtype = {"fp32": torch.float32, "int8": torch.float32}.get(self.precision, fast_dtype(self.device))
        share = NETWORK_SHARE_OF_MATMUL[dtype]
        speedup = INT8_SPEEDUP if self.precision == "int8" else 1.0
        pixels = math.prod(side + 2 * BORDER_PX for side in self.size)
        drawn = painted * (FRESH_SHARE if video.consistency in FOLLOWING and self.frames > 1 else 1)
        guided = drawn * self.job.config.sampling.style_guidance * GUIDANCE_FLOPS_PER_PIXEL
        flops = calls * self.model.call_flops(*self.size) / speedup + guided * pixels
        rate = _matmul_flops_per_s(self.device, self.job.threads, dtype)
        here = rate if self.device.type == "cpu" else _matmul_flops_per_s(torch.device("cpu"), None, torch.float32)
        return flops / (rate * share) + painted * AROUND_FLOPS_PER_PIXEL[video.consistency] * pixels / here

    @cached_property
    def key(self) -> str:
        """A hash of everything that the output depends on: contents of files, the model, settings, versions.

        Raises InputError if a file cannot be read.
        """
        job = self.job
        facts = {
            "files": [journal.file_hash(path) for path in (job.source, *job.styles)],
            "model": [self.model.name, asdict(self.network), self.device.type, self.precision],
            # frames in a call change rounding alone, and vary with what is free: a run goes on with others
            "tiled": bool(self.layout and self.layout.tiled),
            "config": asdict(job.config),
            "clip": [job.start, job.end, job.audio, job.subtitles, job.fps_mode, self.size, self.times],
            "output": job.output.suffix,
            "versions": [__version__, torch.__version__, av.__version__, cv2.__version__, *self._runtime],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def precision(self) -> str:
        """What the network computes in."""
        asked = self.job.config.model.precision
        if asked != "auto":
            return asked
        dtype = self.model.dtype(self.device) if isinstance(self.model, HubModel) else fast_dtype(self.device)
        return {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]

    @property
    def _runtime(self) -> list[str]:
        """The version of what runs int8, if that is what runs, and the precision of what in it is not int8."""
        if self.precision != "int8" or not isinstance(self.model, Bundle):
            return []
        return [f"openvino {openvino_version()}", self.model.int8_works(self.network).rest]

    def memory_mib(self) -> int:
        """Rough peak of the run: the process, the window in float and uint8, activations, and style guidance."""
        pixels = self.size[0] * self.size[1]
        video = self.job.config.video
        ways = WAYS_BYTES_PER_PIXEL if video.consistency == "full" else 0
        window = video.spans[0] * pixels * (3 * (4 * 4 + 3) + ways)
        activations = max(pixels, PIXELS_PER_CALL) * ACTIVATION_BYTES_PER_PIXEL
        if layout := self.layout:  # with the weights; on a card they are, and in memory they wait or pass
            return round(BASE_MIB + (window + layout.peak) / 2**20)
        guided = pixels * GUIDANCE_BYTES_PER_PIXEL if self.job.config.sampling.style_guidance else 0
        return round(BASE_MIB + self.side_by_side * (window + activations + guided) / 2**20)

    def to_dict(self) -> dict[str, Any]:
        """Everything decided, JSON-able."""
        sampling, video = self.job.config.sampling, self.job.config.video
        estimate = self.estimate_s
        return {
            "input": str(self.job.source),
            "output": str(self.job.output),
            "styles": [str(p) for p in self.job.styles],
            "source": self.info.to_dict(),
            "model": self.model.name,
            "network": self.network.file,
            "strength": self.network.strength or (self.times[0] + 1) / 1000,
            "start_time": self.times[0],
            "steps": len(self.times) - 1,
            "steps_between": sampling.steps_between,
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
            "precision": self.precision,
            "memory_mib": self.memory_mib(),
            "estimate_s": None if estimate is None else float(f"{estimate:.2g}"),
            "config": asdict(self.job.config),
        }


def plan(job: Job, devices: frozenset[str] | None = None) -> Plan:
    """Decide everything that can be decided without decoding the clip.

    `devices`: those that will paint, if others than this machine's.

    Raises:
        UsageError: the request contradicts itself, names something unknown, or the output exists.
        InputError: input or reference is missing, damaged or not what it should be.
        ModelError: the model is missing or damaged.
        OutputError: the output folder cannot be written.
    """
    overwrite = job.overwrite or (job.resume and journal.finished(job.output))
    for used in (job.source, *job.styles):
        check_output(job.output, used, overwrite)
    info = probe(job.source, job.limits)
    check_range(job.start, job.end, info.video.rate)
    _check_encoding(job, info)
    for style in job.styles:
        check_reference(style)
    sampling = job.config.sampling
    model = find_model(job.config.model, sampling)
    network, times, note = choose_network(model, sampling)
    size = working_size(info, job.config.video.size)
    device = resolve_device(job.device, devices)
    settled, slower = decide_precision(job.config.model, model, network, device)
    if settled != job.config.model:  # from here on it is as if it had been asked for, on workers too
        job = replace(job, config=replace(job.config, model=settled))
        model = find_model(settled, sampling)
    planned = Plan(
        job=job,
        info=info,
        model=model,
        network=network,
        device=device,
        size=size,
        times=times,
        frames=_frames_claimed(info, job.start, job.end),
        notes=tuple(n for n in (note, slower) if n),
    )
    layout = planned.layout
    return replace(planned, notes=(*planned.notes, layout.note)) if layout and layout.free is not None else planned


def work_of(config: StylizeConfig, size: tuple[int, int], times: tuple[int, ...]) -> Work:
    """What a network is to do for frames of a size."""
    steps, video = len(times) - 1, config.video
    drawing = math.prod(size) * GUIDANCE_BYTES_PER_PIXEL if config.sampling.style_guidance else 0
    full = video.consistency == "full"
    halves = 1 if full or config.sampling.guidance == 1 else 2  # where anchors are seen they are one after the other
    return Work(*size, video.spans[0], steps if full else 0, drawing, halves)


def choose_network(model: Model, sampling: SamplingConfig) -> tuple[NetworkEntry, tuple[int, ...], str | None]:
    """The network for a strength, the times it walks, and a note if that is not what was asked for.

    Raises UsageError if it cannot start there, or not make so many steps.
    """
    network, start, note = model.network_for(sampling.strength)
    if sampling.sampler == "published":
        return network, tuple(published_times(sampling.strength, sampling.steps)), note
    return network, tuple(sampling_times(start, sampling.steps)), note


def resolve_device(name: str, there: frozenset[str] | None = None) -> torch.device:
    """'auto' is cuda, then mps, then cpu; UsageError for a device that is not `there`, by default on this machine."""
    there = local_devices() if there is None else there
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if d in there))
    if name not in there:
        usable = ", ".join(sorted(there))
        raise UsageError(f"device '{name}' is not available; usable here: {usable}; choose one or leave --device out")
    return torch.device(name)


def local_devices() -> frozenset[str]:
    """Kinds of device that this machine has."""
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return frozenset(name for name, there in found.items() if there)


def _check_encoding(job: Job, info: VideoInfo) -> None:
    target, encode_config = output_format(job.output, job.container), job.config.encode
    if not target.still:
        choose_encoder(encode_config.codec, encode_config.crf, encode_config.enc)
    elif not info.is_image:
        raise UsageError(
            f"output '{job.output.name}' is an image file and '{job.source.name}' a video; allowed are .mp4, .mkv and "
            "others; choose one of these extensions"
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


def _matmul_flops_per_s(device: torch.device, threads: int | None, dtype: torch.dtype, n: int = 1024) -> float:
    if threads is not None:
        torch.set_num_threads(threads)
    a = torch.ones(n, n, device=device, dtype=dtype)
    times = []
    for _ in range(4):  # the first one warms up; the least is what the machine can do
        started = time.perf_counter()
        (a @ a).sum().item()
        times.append(time.perf_counter() - started)
    return 2 * n**3 / min(times[1:])
