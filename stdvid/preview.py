"""One frame before paying for the clip: painted as `stylize` paints it, under several settings side by side.

    source - windows around the frame, decoded only -> the frame painted in each, and blended -> a labelled sheet

The windows are read as in a whole run, and only this one frame of each goes through the network. Where paint
follows the motion the colours are those of the run and the strokes begin in this frame, where a run has carried them
there.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stdvid.config import StylizeConfig
from stdvid.errors import InputError, UsageError
from stdvid.media.frames import Frame
from stdvid.media.probe import VideoInfo, probe
from stdvid.media.reader import PyAVReader
from stdvid.media.timebase import TimePoint
from stdvid.models.catalogue import decide_precision, find_model, load_model
from stdvid.models.memory import Work
from stdvid.painter import FOLLOWING, Painter, plain, stacked, working_size
from stdvid.planning import choose_network
from stdvid.schema import merge
from stdvid.temporal.blend import ramp
from stdvid.temporal.shots import split_shots
from stdvid.temporal.windows import Window, gather_shots
from stdvid.window_painter import WindowPainter, seen

Image = NDArray[np.uint8]

AXES = ("strength", "steps", "guidance", "style_scale", "style_guidance", "color", "seed")
"""Settings that a sheet can vary: those of sampling, which leave the windows as they are."""

_LABEL_PX, _MARGIN_PX = 18, 4


@dataclass(frozen=True)
class Moment:
    """A frame of the clip with the windows that hold it, each with its place in it, and the window that gives its
    shot the palette."""

    frame: Frame
    windows: tuple[tuple[Window, list[Frame], int], ...]
    first: list[Frame]


@dataclass(frozen=True)
class Cell:
    """A picture of the sheet and what it says under it."""

    image: Image
    label: str


def find_moment(source: Path, at: TimePoint | None, config: StylizeConfig) -> Moment:
    """Read the windows around the frame at `at`; None is the middle of the clip as far as its header knows.

    Raises:
        InputError: the file is missing or damaged, or has no frame there.
        UsageError: the working size or the overlap is impossible.
    """
    info = probe(source)
    at = at or TimePoint(frame=max(0, _claimed_frames(info) // 2))
    size = working_size(info, config.video.size)
    found: list[tuple[Window, list[Frame], int]] = []
    target: Frame | None = None
    first: list[Frame] = []
    began: Fraction | None = None
    read = 0
    with PyAVReader(source, size=size, info=info) as reader:
        for window, frames in gather_shots(split_shots(reader), *config.video.spans, config.video.anchored):
            real = frames[: window.n_frames]
            if not found and (window.index == 0 or plain(stacked(first))):
                first = seen(window, frames)
            began = real[0].time if began is None else began
            read = window.stop
            if target is None:
                target = next((f for f in real if at.reached(f.index, f.time - began)), None)
            places = [k for k, frame in enumerate(real) if target is not None and frame.index == target.index]
            if places:
                found.append((window, frames, places[0]))
            elif found:
                break
    if target is None:
        raise InputError(f"'{source}' has {read} frames and none at {at}; an earlier one is needed; lower --at")
    return Moment(target, tuple(found), first)


def _claimed_frames(info: VideoInfo) -> int:
    seconds = info.video.duration_s or info.duration_s
    return info.video.frames_claimed or round((seconds or 0) * info.video.rate)


def paint_moment(moment: Moment, references: Sequence[Image], config: StylizeConfig, device: torch.device) -> Cell:
    """The frame as `stylize` paints it under `config`, uint8, with the seconds that its painting took.

    Raises ModelError or UsageError as planning a run does.
    """
    sampling = config.sampling
    found = find_model(config.model, sampling)
    network, times, _ = choose_network(found, sampling)
    model, _ = decide_precision(config.model, found, network, device)
    height, width = moment.frame.image.shape[:2]
    stylizer = load_model(model, sampling, network, device, Work(width, height, window=1))
    style = stylizer.read_style(references, sampling.style_scale)
    hands = Painter(stylizer, style, times, config, (width, height), threading.Event())
    painter = WindowPainter(hands, config.video)
    painter.begin_shot(moment.first)
    weights = ramp(*config.video.spans)
    began = time.monotonic()
    mean, total = np.zeros((height, width, 3), np.float32), 0
    # where paint follows the motion, a frame that windows share is painted once
    windows = moment.windows[:1] if config.video.consistency in FOLLOWING else moment.windows
    for window, frames, place in windows:
        painted = painter.paint_one(window, frames, place)[0]
        total += weights[place]
        mean += (painted - mean) * np.float32(weights[place] / total)
    seconds = (time.monotonic() - began) / len(windows)
    return Cell(np.rint(mean).astype(np.uint8), f"{seconds:.2f} s")


def variations(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the settings of a sheet, the last one changing fastest; one empty one without any.

    Raises UsageError for a setting that a sheet cannot vary.
    """
    for name in grid:
        if name not in AXES:
            known = ", ".join(axis.replace("_", "-") for axis in AXES)
            raise UsageError(f"a sheet cannot vary '{name.replace('_', '-')}'; it can vary {known}; choose among these")
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def sheet(
    source: Path,
    moments: Sequence[TimePoint | None],
    styles: Mapping[str, Sequence[Image]],
    config: StylizeConfig,
    grid: Mapping[str, Sequence[Any]],
    device: torch.device,
) -> Image:
    """A labelled picture, uint8 RGB: the source, and a cell for each value of the last setting.

    There is a row for each moment, style and value of the other settings.

    Raises InputError, ModelError or UsageError as the parts do.
    """
    configs = [(chosen, merge(config, {"sampling": chosen})) for chosen in variations(grid)]
    columns = len(list(grid.values())[-1]) if grid else 1
    rows = []
    for at in moments:
        moment = find_moment(source, at, config)
        for name, references in styles.items():
            cells = []
            for chosen, under in configs:
                cell = paint_moment(moment, references, under, device)
                words = [name, *(f"{key.replace('_', '-')} {value:g}" for key, value in chosen.items()), cell.label]
                cells.append(dataclasses.replace(cell, label="  ".join(words)))
            for first in range(0, len(cells), columns):
                original = Cell(moment.frame.image, f"frame {moment.frame.index}")
                rows.append(np.hstack([_labelled(cell) for cell in (original, *cells[first : first + columns])]))
    return np.vstack(rows)


def _labelled(cell: Cell) -> Image:
    height, width = cell.image.shape[:2]
    framed = np.full((height + _LABEL_PX + _MARGIN_PX, width + _MARGIN_PX, 3), 255, np.uint8)
    framed[:height, :width] = cell.image
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    (long, _), _ = cv2.getTextSize(cell.label, font, scale, 1)
    scale = min(scale, scale * (width - 4) / max(1, long))
    cv2.putText(framed, cell.label, (2, height + _LABEL_PX - 5), font, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return framed
