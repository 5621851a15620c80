"""Outputs against the clip they were made of: do frames belong together, what is left of the source, what of the style.

    source, outputs - frames side by side, shot by shot -> figures of each frame -> means

Flow and occlusion are those of the source, so a frame is judged by how the world moved and not by how the paint did;
outputs of one size share them.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stdvid.errors import InputError
from stdvid.media.reader import PyAVReader
from stdvid.metrics.content import edge_correlation, sharpness_ratio
from stdvid.metrics.temporal import difference_bias, flicker, standing_still, warp_error
from stdvid.temporal.flow import DisFlow, occluded, warp
from stdvid.temporal.shots import split_shots

Image = NDArray[np.uint8]
Series = dict[str, dict[int, float]]
"""Figures by name and number of the frame; frames where there was nothing to measure are left out."""

LONG_FRAMES = 10
"""Distance of the frames that the long-range warp error compares."""

STYLE_EVERY_FRAMES = 10
"""Style is measured on one frame of this many: it changes slowly, and a network takes its time."""

FLOORED = ("warp_error", "warp_error_long", "flicker")
"""What the source itself has of; with the rest it would be compared with itself."""

COLUMNS = (
    ("warp_error", "warp error x1000", 1000, 3),
    ("warp_error_long", "over 10 frames", 1000, 3),
    ("difference_bias", "difference bias x1000", 1000, 2),
    ("moving_bias", "of it motion", 1000, 2),
    ("flicker", "flicker x1000", 1000, 2),
    ("structure", "structure", 1, 2),
    ("sharpness", "sharpness", 1, 2),
    ("style_moved", "style moved %", 100, 1),
)
"""Figure, its heading, what it is multiplied by, and decimals."""


@dataclass(frozen=True)
class Moment:
    """A frame of the source and what became of it in each output, uint8 [H, W, 3] of one size; None: it has ended."""

    image: Image
    painted: tuple[Image | None, ...]


@dataclass(frozen=True)
class Comparison:
    """An output, frame by frame; `floor` the same of the source against itself, where that says anything."""

    output: Path
    frames: int
    shots: int
    series: Series
    floor_series: Series
    notes: tuple[str, ...]

    @property
    def figures(self) -> dict[str, float | None]:
        """Means over the clip; None where there was nothing to measure (a single frame, nothing that stands still)."""
        means = {name: _mean(self.series, name) for name, *_ in COLUMNS if name != "style_moved"}
        if "style_before" in self.series:
            before, after = _mean(self.series, "style_before"), _mean(self.series, "style_after")
            means["style_moved"] = 1 - after / before if before and after is not None else None
        return means

    @property
    def floor(self) -> dict[str, float | None]:
        """Means of the source against itself."""
        return {name: _mean(self.floor_series, name) for name in FLOORED}


def _mean(series: Series, name: str) -> float | None:
    values = series.get(name)
    return statistics.fmean(values.values()) if values else None


def lines(compared: Sequence[Comparison]) -> list[list[str]]:
    """A table of text: the heading, the source's own, and a line for each output."""
    columns = [column for column in COLUMNS if column[0] in compared[0].figures]

    def texts(figures: dict[str, float | None]) -> list[str]:
        values = ((figures.get(name), factor, decimals) for name, _, factor, decimals in columns)
        return ["-" if value is None else f"{value * factor:.{decimals}f}" for value, factor, decimals in values]

    return [
        ["output", "frames", "shots", *(heading for _, heading, _, _ in columns)],
        ["(source)", "", "", *texts(compared[0].floor)],
        *([row.output.name, str(row.frames), str(row.shots), *texts(row.figures)] for row in compared),
    ]


def compare(source: Path, outputs: Sequence[Path], style: Sequence[Image] = ()) -> list[Comparison]:
    """Judge `outputs` by `source`, frame by frame at each output's size, and by `style` if there is one.

    Raises:
        InputError: a file is missing or damaged, or they have no frame in common.
        UsageError: a style is given and the packages that measure it are not installed.
    """
    by_size: dict[tuple[int, int], list[int]] = {}
    for number, output in enumerate(outputs):
        with PyAVReader(output) as reader:
            by_size.setdefault(reader.size, []).append(number)
    distances = _style_distances(style) if style else None
    found: dict[int, Comparison] = {}
    for size, numbers in by_size.items():
        group = _compare_alike(source, [outputs[number] for number in numbers], size, distances)
        found.update(zip(numbers, group, strict=True))
    return [found[number] for number in range(len(outputs))]


@dataclass
class _Sums:
    """An output's figures while frames stream by."""

    frames: int = 0
    shots: int = 0
    series: Series = field(default_factory=dict)

    def add(self, name: str, value: float | None) -> None:
        if value is not None:
            self.series.setdefault(name, {})[self.frames] = value


def _compare_alike(
    source: Path,
    outputs: Sequence[Path],
    size: tuple[int, int],
    distances: Callable[[Image], float] | None,
) -> list[Comparison]:
    """Outputs of one size in one pass."""
    notes: list[list[str]] = [[] for _ in outputs]
    ours, theirs = _Sums(), [_Sums() for _ in outputs]
    history: deque[Moment] = deque(maxlen=LONG_FRAMES)
    flow, shot = DisFlow(), 0
    for number, moment in split_shots(_moments(source, outputs, size, notes)):
        if number != shot:
            history.clear()
            shot = number
        if history:
            _neighbours(moment, history[-1], flow, ours, theirs)
        if len(history) == LONG_FRAMES and ours.frames % LONG_FRAMES == 0:
            _warped("warp_error_long", moment, history[0], flow, ours, theirs)
        styled = distances is not None and ours.frames % STYLE_EVERY_FRAMES == 0
        before = distances(moment.image) if distances and styled else None
        for painted, sums in zip(moment.painted, theirs, strict=True):
            if painted is None:
                continue
            sums.add("structure", edge_correlation(painted, moment.image))
            sums.add("sharpness", sharpness_ratio(painted, moment.image))
            if distances and styled:
                sums.add("style_before", before)
                sums.add("style_after", distances(painted))
            sums.frames, sums.shots = sums.frames + 1, shot + 1
        ours.frames += 1
        history.append(moment)
    for output, sums in zip(outputs, theirs, strict=True):
        if sums.frames == 0:
            raise InputError(
                f"'{output}' and '{source}' have no frame in common; compare a clip with what was made of it"
            )
    return [
        Comparison(output, sums.frames, sums.shots, sums.series, ours.series, tuple(said))
        for output, sums, said in zip(outputs, theirs, notes, strict=True)
    ]


def _moments(
    source: Path, outputs: Sequence[Path], size: tuple[int, int], notes: Sequence[list[str]]
) -> Iterator[Moment]:
    """Frames side by side until the source ends, or all outputs have."""
    with ExitStack() as stack:
        originals = iter(stack.enter_context(PyAVReader(source, size=size)))
        painted = [iter(stack.enter_context(PyAVReader(output))) for output in outputs]
        ended = [False] * len(outputs)
        while not all(ended):
            original = next(originals, None)
            frames = [None if done else next(frames, None) for frames, done in zip(painted, ended, strict=True)]
            for number, frame in enumerate(frames):
                if not ended[number] and (original is None or frame is None):
                    ended[number] = True
                    if original is not frame:
                        longer = source if frame is None else outputs[number]
                        notes[number].append(
                            f"'{longer.name}' has more frames; those beyond the shorter clip were not compared"
                        )
            if original is None:
                return
            if not all(ended):
                yield Moment(original.image, tuple(None if frame is None else frame.image for frame in frames))


def _neighbours(moment: Moment, before: Moment, flow: DisFlow, ours: _Sums, theirs: Sequence[_Sums]) -> None:
    back = _warped("warp_error", moment, before, flow, ours, theirs)
    still = standing_still(moment.image, before.image, back)
    ours.add("flicker", flicker(moment.image, before.image, still))
    for painted, painted_before, sums in zip(moment.painted, before.painted, theirs, strict=True):
        if painted is not None and painted_before is not None:
            sums.add("difference_bias", difference_bias(painted, painted_before, moment.image, before.image))
            moved = warp(painted_before, back)
            sums.add("moving_bias", difference_bias(moved, painted_before, moment.image, before.image))
            sums.add("flicker", flicker(painted, painted_before, still))


def _warped(
    name: str, moment: Moment, before: Moment, flow: DisFlow, ours: _Sums, theirs: Sequence[_Sums]
) -> NDArray[np.float32]:
    back, forth = flow(moment.image, before.image), flow(before.image, moment.image)
    hidden = occluded(back, forth)
    ours.add(name, warp_error(moment.image, before.image, back, hidden))
    for painted, painted_before, sums in zip(moment.painted, before.painted, theirs, strict=True):
        if painted is not None and painted_before is not None:
            sums.add(name, warp_error(painted, painted_before, back, hidden))
    return back


def _style_distances(style: Sequence[Image]) -> Callable[[Image], float]:
    """The mean distance of a picture to the references of a style."""
    import torch

    from stdvid.metrics.features import LiteFeatures
    from stdvid.metrics.style import gram_distance

    judge = LiteFeatures("lite0")

    @torch.no_grad()
    def features(image: Image) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = judge(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1)
        return maps

    references = [features(image) for image in style]

    def distance(image: Image) -> float:
        maps = features(image)
        return statistics.fmean(float(gram_distance(maps, reference)) for reference in references)

    return distance
