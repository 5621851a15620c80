"""The loop that a user of torch writes for the same network: decode, denoise, encode, a frame at a time."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stdvid.config import load_preset
from stdvid.diffusion.sampler import sample, sample_last
from stdvid.media.reader import PyAVReader
from stdvid.media.timebase import TimePoint
from stdvid.media.writer import VideoWriter
from stdvid.models.stylizer import to_frames, to_tensor
from stdvid.painter import read_reference
from stdvid.stylize import Job, Plan, plan

EAGER_FRAMES = 8


@dataclass(frozen=True)
class Eager:
    """Seconds of the loop: until its first frame is done, from the start of its process, and for each after that."""

    start_s: float
    frame_s: float

    def of(self, frames: int) -> float:
        """From the start of the process to the file, for so many."""
        return self.start_s + (frames - 1) * self.frame_s


def eager(planned: Plan) -> Eager:
    """`eager_loop` for the same clip, in a new process, for which nothing was done."""
    job, began = planned.job, time.perf_counter()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        frame_s = pool.submit(eager_loop, job.source, job.styles[0], planned.size, planned.times).result()
        return Eager(time.perf_counter() - began - EAGER_FRAMES * frame_s, frame_s)


@torch.no_grad()
def eager_loop(clip: Path, style: Path, size: tuple[int, int], times: tuple[int, ...]) -> float:
    """Seconds a frame, each painted for itself by torch in fp32, at all times; start and first frame do not count."""
    config = load_preset("nano", {"model": {"precision": "fp32"}})
    with tempfile.TemporaryDirectory(prefix="stdvid-bench-") as folder:
        output, end = Path(folder, "eager.mp4"), TimePoint(frame=EAGER_FRAMES + 1)
        planned = plan(Job(clip, (style,), output, config, end=end, device="cpu"))
        stylizer = planned.model.load(planned.network, planned.device)
        reference = stylizer.read_style([read_reference(style)])
        count, started = 0, 0.0
        with (
            PyAVReader(clip, size=size, end=end) as reader,
            VideoWriter(output, size=size, info=planned.info, codec="libx264", crf=18, audio=False) as writer,
        ):
            for frame in reader:
                condition = stylizer.condition(to_tensor(frame.image[None]), reference, 1.0)
                noise = torch.randn(condition.x_0.shape, generator=torch.Generator().manual_seed(0))
                x = stylizer.schedule.add_noise(condition.x_0, noise, torch.tensor(times[:1]))
                latents = sample_last(sample(stylizer.denoiser(condition), x, times, stylizer.schedule))
                picture = stylizer.canvas.unpad(stylizer.decode(latents), size[1], size[0]).clamp(-1, 1)
                writer.write(np.rint(to_frames(picture)[0]).astype(np.uint8), frame.pts, frame.duration)
                count += 1
                if count == 1:  # the first one warms up
                    started = time.perf_counter()
            seconds = time.perf_counter() - started
    return seconds / (count - 1)
