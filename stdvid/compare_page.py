"""A comparison as one self-contained HTML page: a player of all clips side by side, plots over time, every figure.

The player is a single video in which the clips lie one below the other. The page shows parts of it, so whatever is
played, paused or sought, the clips are at the same frame.
"""

from __future__ import annotations

import base64
import io
import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from stdvid.compare import COLUMNS, Comparison, Series, lines
from stdvid.errors import UsageError
from stdvid.media.probe import probe
from stdvid.media.reader import PyAVReader
from stdvid.media.timebase import to_seconds
from stdvid.media.writer import VideoWriter
from stdvid.painter import working_size

try:
    from jinja2 import Environment
    from matplotlib.figure import Figure
except ImportError as exc:
    raise UsageError("the report's packages are not installed; --html needs them; pip install 'stdvid[eval]'") from exc

TILE_SHORT_SIDE_PX = 360
PLAYED_FRAMES = 1500
"""The player shows so many frames at most; figures and plots cover the whole clip."""

PLOT_LEFT, PLOT_WIDTH = 0.07, 0.91
"""Where the time axis lies in a plot, as shares of its width: the page moves a cursor along it."""


@dataclass(frozen=True)
class Player:
    """The clips one below the other: an H.264 video in MP4, the size of a clip in it, and when each frame is shown."""

    video: bytes
    tile: tuple[int, int]
    times_s: tuple[float, ...]


def page(source: Path, compared: Sequence[Comparison]) -> str:
    """The page of `compared`, what was made of `source`."""
    player = film(source, [row.output for row in compared])
    frames = max(row.frames for row in compared)
    notes = list(dict.fromkeys(note for row in compared for note in row.notes))
    if frames > len(player.times_s):
        notes.append(f"the player shows the first {len(player.times_s)} of {frames} frames; the figures are of all")
    names = [source.name, *(row.output.name for row in compared)]
    template = Environment(autoescape=True).from_string(
        files("stdvid").joinpath("compare_page.html").read_text(encoding="utf-8")
    )
    facts = {"tile": player.tile, "times": player.times_s, "frames": frames, "left": PLOT_LEFT, "width": PLOT_WIDTH}
    return template.render(
        names=names,
        table=lines(compared),
        notes=notes,
        plots=plots(compared, frames),
        facts=json.dumps(facts),
        video=base64.b64encode(player.video).decode(),
    )


def film(source: Path, outputs: Sequence[Path]) -> Player:
    """Put source and outputs into one video, each at the source's shape; an output that has ended stays dark."""
    info = probe(source)
    tile = working_size(info, TILE_SHORT_SIDE_PX)
    dark = np.zeros((tile[1], tile[0], 3), np.uint8)
    first_pts, times = 0, list[float]()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "film.mp4"
        originals = stack.enter_context(PyAVReader(source, size=tile, info=info))
        painted = [iter(stack.enter_context(PyAVReader(output, size=tile))) for output in outputs]
        size = (tile[0], tile[1] * (1 + len(outputs)))
        # seeking is a matter of moments with a keyframe every half second or so
        writer = VideoWriter(path, size=size, time_base=info.video.time_base, rate=info.video.rate, enc={"g": "12"})
        with writer:
            for number, original in enumerate(originals):
                frames = [next(frames, None) for frames in painted]
                if number == PLAYED_FRAMES or not any(frames):
                    break
                tiles = [original.image, *(dark if frame is None else frame.image for frame in frames)]
                first_pts = first_pts if times else original.pts
                times.append(float(to_seconds(original.pts - first_pts, original.time_base)))
                writer.write(np.vstack(tiles), original.pts - first_pts, original.duration)
        return Player(path.read_bytes(), tile, tuple(times))


def plots(compared: Sequence[Comparison], frames: int) -> list[str]:
    """An SVG for each figure that was measured on more than one frame: the source's own in grey, then outputs."""
    drawn = []
    for name, heading, factor, _ in COLUMNS:
        curves = [("(source)", compared[0].floor_series), *((row.output.name, row.series) for row in compared)]
        curves = [(label, series) for label, series in curves if len(series.get(name, {})) > 1]
        if curves:
            drawn.append(_plot(name, heading, factor, curves, frames))
    return drawn


def _plot(name: str, title: str, factor: float, curves: Sequence[tuple[str, Series]], frames: int) -> str:
    figure = Figure(figsize=(9, 2.4))
    axes = figure.add_axes((PLOT_LEFT, 0.16, PLOT_WIDTH, 0.72))
    for label, series in curves:
        values = series[name]
        colour = "0.6" if label == "(source)" else None
        axes.plot(list(values), [value * factor for value in values.values()], lw=1, label=label, color=colour)
    axes.set_title(title, fontsize=9)
    axes.set_xlim(0, max(1, frames - 1))
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, loc="upper right")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]
