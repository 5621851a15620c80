"""The whole inference story, read top to bottom.

    plan:  probe -> sizes, times, network                  decisions only; nothing is written
    run:   reader -> windows [decode thread] -> stylize each window -> stitch -> recording [encode thread] -> output

Invariants: as many frames come out as went in, at the same pts; memory is O(window), flat in duration; the same seed
gives the same frames whatever the chunks; a run that died goes on where it was, and its output is the same.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stdvid.cluster import Cluster, RemotePainter
from stdvid.config import StylizeConfig
from stdvid.errors import Interrupted
from stdvid.media.frames import Frame
from stdvid.media.opening import Unchanged
from stdvid.media.output import output_format
from stdvid.media.pipes import is_pipe, standard_input
from stdvid.media.reader import PyAVReader
from stdvid.media.threads import Prefetch
from stdvid.media.writer import VideoWriter
from stdvid.painter import Painter, read_reference
from stdvid.planning import Job, Plan, plan
from stdvid.recording import Recording, Streaming, Timed
from stdvid.side_by_side import ThreadPainter
from stdvid.temporal.blend import Stitcher
from stdvid.temporal.shots import split_shots
from stdvid.temporal.windows import Window, gather_shots
from stdvid.window_painter import Begun, WindowPainter

Workers = Painter | ThreadPainter | RemotePainter

__all__ = ["Job", "Plan", "Progress", "Result", "plan", "run"]


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
    """What a run did; seconds are wall time. `frames` of the output, of which `resumed` are of earlier runs."""

    output: Path
    frames: int
    resumed: int
    seconds: float
    network_seconds: float
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "output": str(self.output)}


def run(
    planned: Plan,
    on_progress: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
    cluster: Cluster | None = None,
    hands: Workers | None = None,
) -> Result:
    """Stylize the clip and write the output: the whole file, or nothing; and where that ends early, a journal.

    With a `cluster`, its workers paint, and this machine does the rest; with `hands`, these.

    Raises:
        Interrupted: `stop` was set.
        InputError, OutputError, ModelError: see `plan`; SourceChangedError.
        ClusterError: the cluster is lost.
    """
    job, stop = planned.job, stop or threading.Event()
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    started = time.monotonic()
    if output_format(job.output, job.container).still:
        with _working(planned, stop, cluster, hands) as workers:
            return _run_still(planned, workers, on_progress, started)
    source = Unchanged(job.source)
    piped = is_pipe(job.source) or is_pipe(job.output)
    recording = Streaming(lambda: _open_writer(planned)) if piped else _recording(planned)
    notes: list[str] = []
    network_s = 0.0
    try:
        with recording:
            resumed = recording.frames
            if not recording.whole:
                with (
                    source,
                    _reader(planned) as reader,
                    closing(_reading(planned, reader, stop)) as windows,  # while the model is loaded
                    _working(planned, stop, cluster, hands) as workers,
                ):
                    _record(planned, windows, workers, recording, on_progress, started)
                    notes, network_s = reader.notes(), workers.network_seconds
    except Interrupted as exc:
        kept = "nothing was kept"
        if job.resume and recording.frames and not piped:
            kept = f"{recording.frames} frames are kept: run the same command again to go on"
        raise Interrupted(f"interrupted; {kept}") from exc
    seconds = time.monotonic() - started
    return Result(job.output, recording.frames, resumed, seconds, network_s, [*notes, *recording.notes])


def _recording(planned: Plan) -> Recording:
    job = planned.job
    return Recording(
        job.output,
        planned.key,
        lambda: _open_writer(planned),
        resume=job.resume,
        overwrite=job.overwrite is True,
        verify=job.verify,
    )


def _reading(planned: Plan, reader: PyAVReader, stop: threading.Event) -> Prefetch[tuple[Window, list[Frame]]]:
    """The windows, read by a thread from now on."""

    def check() -> None:
        if stop.is_set():
            raise Interrupted("interrupted")

    windows, limits = _windows(reader, planned.job.config), planned.job.limits
    return Prefetch(windows, 1, lambda: reader.frames_decoded, limits.stall, check)


def _record(
    planned: Plan,
    coming: Iterator[tuple[Window, list[Frame]]],
    hands: Workers,
    recording: Recording | Streaming,
    on_progress: Callable[[Progress], None],
    started: float,
) -> None:
    """Paint the windows that earlier runs have not."""
    job, resumed = planned.job, recording.frames
    video = job.config.video
    painter, stitcher = WindowPainter(hands, video), Stitcher(*video.spans, agree=video.anchored)
    waiting: deque[tuple[int, int]] = deque()  # pts and durations of frames that are not finished

    def noted() -> Iterator[tuple[Window, list[Frame]]]:
        known = 0
        for window, frames in coming:
            waiting.extend((frame.pts, frame.duration) for frame in frames[known - window.start : window.n_frames])
            known = window.stop
            if is_pipe(job.source):
                standard_input().seal()  # all who read it have begun
            yield window, frames

    def finish(number: int, images: list[NDArray[np.floating]], last: Begun | None) -> None:
        frames = [Timed(np.rint(image).astype(np.uint8), *waiting.popleft()) for image in images]
        recording.add(number, frames, lambda: stitcher.state() | (last.state() if last else {}))
        on_progress(_progress(planned, recording.frames, resumed, time.monotonic() - started))

    windows, number = noted(), 0
    for window, frames in islice(windows, recording.windows):
        number += 1
        painter.skip(window, frames)
        recording.skip(waiting)
    if number == recording.windows > 0:
        state = recording.state()
        stitcher.restore(state)
        painter.restore(state)
    for begun in painter.paint_all(windows):
        number += 1
        finish(number, stitcher.add(begun.window, begun.frames()), begun)
        del begun  # make room for the next
    if number + 1 > recording.windows:
        finish(number + 1, stitcher.flush(), None)


def _run_still(planned: Plan, hands: Workers, on_progress: Callable[[Progress], None], started: float) -> Result:
    """A picture from a picture: nothing to go on with."""
    painter = WindowPainter(hands, planned.job.config.video)
    with (
        PyAVReader(planned.job.source, size=planned.size, info=planned.info) as reader,
        _open_writer(planned) as writer,
    ):
        for window, frames in _windows(reader, planned.job.config):
            for image, frame in zip(painter.paint(window, frames), frames, strict=False):
                writer.write(np.rint(image).astype(np.uint8), frame.pts, frame.duration)
                on_progress(_progress(planned, 1, 0, time.monotonic() - started))
    notes = [*reader.notes(), *writer.notes]
    return Result(planned.job.output, 1, 0, time.monotonic() - started, hands.network_seconds, notes)


@contextmanager
def _working(planned: Plan, stop: threading.Event, cluster: Cluster | None, given: Workers | None) -> Iterator[Workers]:
    """Who paints: whoever is `given`, a cluster, or this process."""
    if given is not None:
        yield given
        return
    if cluster is not None:
        with cluster.painter(planned, stop) as hands:
            yield hands
        return
    job = planned.job
    stylizer = planned.model.load(planned.network, planned.device, planned.work)
    style = stylizer.read_style([read_reference(path) for path in job.styles], job.config.sampling.style_scale)
    painter = Painter(stylizer, style, planned.times, job.config, planned.size, stop)
    if planned.side_by_side == 1:
        yield painter
        return
    with ThreadPainter(painter, planned.side_by_side) as threads:
        yield threads


def _progress(planned: Plan, done: int, resumed: int, elapsed_s: float) -> Progress:
    fps = (done - resumed) / elapsed_s if elapsed_s else 0.0
    left = max(0, planned.frames - done) / fps if planned.frames and fps else None
    return Progress(done, planned.frames, elapsed_s, fps, left)


def _reader(planned: Plan) -> PyAVReader:
    job = planned.job
    return PyAVReader(job.source, size=planned.size, start=job.start, end=job.end, info=planned.info, limits=job.limits)


def _windows(reader: PyAVReader, config: StylizeConfig) -> Iterator[tuple[Window, list[Frame]]]:
    yield from gather_shots(split_shots(reader), *config.video.spans, config.video.anchored)


def _open_writer(planned: Plan) -> VideoWriter:
    job, config = planned.job, planned.job.config.encode
    return VideoWriter(
        job.output,
        container=job.container,
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
