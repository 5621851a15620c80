"""Outputs against the clip they were made of: do frames belong together, what is left of the source, what of the style.

    source, output - pairs of frames, shot by shot -> figures of each pair -> means

Flow and occlusion are those of the source, so a frame is judged by how the world moved and not by how the paint did.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stdvid.errors import InputError
from stdvid.media.reader import PyAVReader
from stdvid.metrics.content import edge_correlation, sharpness_ratio
from stdvid.metrics.temporal import difference_bias, flicker, standing_still, warp_error
from stdvid.temporal.flow import DisFlow, occluded
from stdvid.temporal.shots import split_shots

Image = NDArray[np.uint8]

LONG_FRAMES = 10
"""Distance of the frames that the long-range warp error compares."""

STYLE_EVERY_FRAMES = 10
"""Style is measured on one frame of this many: it changes slowly, and a network takes its time."""


@dataclass(frozen=True)
class Pair:
    """A frame of the source and what became of it, uint8 [H, W, 3] of one size."""

    image: Image
    painted: Image


@dataclass(frozen=True)
class Comparison:
    """Means over a clip; None where there was nothing to measure (a single frame, nothing that stands still).

    `figures` of the output, `floor` the same of the source against itself, where that says anything.
    """

    output: Path
    frames: int
    shots: int
    figures: dict[str, float | None]
    floor: dict[str, float | None]
    notes: tuple[str, ...]


def compare(source: Path, output: Path, style: Sequence[Image] = ()) -> Comparison:
    """Judge `output` by `source`, frame by frame at the output's size, and by `style` if there is one.

    Raises:
        InputError: a file is missing or damaged, or they have no frame in common.
        UsageError: a style is given and the packages that measure it are not installed.
    """
    with PyAVReader(output) as reader:
        size = reader.size
    measured = _Sums()
    moved = _style_moved(style) if style else None
    history: deque[Pair] = deque(maxlen=LONG_FRAMES)
    flow, shot, frames, notes = DisFlow(), 0, 0, list[str]()
    for number, pair in split_shots(_pairs(source, output, size, notes)):
        if number != shot:
            history.clear()
            shot = number
        if history:
            _neighbours(pair, history[-1], flow, measured)
        if len(history) == LONG_FRAMES and frames % LONG_FRAMES == 0:
            _warped("warp_error_long", pair, history[0], flow, measured)
        measured.add("structure", edge_correlation(pair.painted, pair.image))
        measured.add("sharpness", sharpness_ratio(pair.painted, pair.image))
        if moved and frames % STYLE_EVERY_FRAMES == 0:
            before, after = moved(pair)
            measured.add("style_before", before)
            measured.add("style_after", after)
        history.append(pair)
        frames += 1
    if frames == 0:
        raise InputError(f"'{output}' and '{source}' have no frame in common; compare a clip with what was made of it")
    return Comparison(output, frames, shot + 1, *measured.figures(with_style=bool(style)), tuple(notes))


def _pairs(source: Path, output: Path, size: tuple[int, int], notes: list[str]) -> Iterator[Pair]:
    with PyAVReader(source, size=size) as ours, PyAVReader(output) as theirs:
        originals, painted = iter(ours), iter(theirs)
        while True:
            a, b = next(originals, None), next(painted, None)
            if a is None or b is None:
                if a is not b:
                    longer = source if b is None else output
                    notes.append(f"'{longer.name}' has more frames; those beyond the shorter clip were not compared")
                return
            yield Pair(a.image, b.image)


def _neighbours(pair: Pair, before: Pair, flow: DisFlow, measured: _Sums) -> None:
    back = _warped("warp_error", pair, before, flow, measured)
    still = standing_still(pair.image, before.image, back)
    measured.add("difference_bias", difference_bias(pair.painted, before.painted, pair.image, before.image))
    measured.add("flicker", flicker(pair.painted, before.painted, still), flicker(pair.image, before.image, still))


def _warped(name: str, pair: Pair, before: Pair, flow: DisFlow, measured: _Sums) -> NDArray[np.float32]:
    back, forth = flow(pair.image, before.image), flow(before.image, pair.image)
    hidden = occluded(back, forth)
    measured.add(
        name,
        warp_error(pair.painted, before.painted, back, hidden),
        warp_error(pair.image, before.image, back, hidden),
    )
    return back


def _style_moved(style: Sequence[Image]) -> Callable[[Pair], tuple[float, float]]:
    """Distances to the style of a frame of the source and of what became of it."""
    import torch

    from stdvid.metrics.features import LiteFeatures
    from stdvid.metrics.style import gram_distance

    judge = LiteFeatures("lite0")

    @torch.no_grad()
    def features(image: Image) -> list[torch.Tensor]:
        maps: list[torch.Tensor] = judge(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1)
        return maps

    references = [features(image) for image in style]

    def distances(pair: Pair) -> tuple[float, float]:
        before, after = (
            statistics.fmean(float(gram_distance(features(image), reference)) for reference in references)
            for image in (pair.image, pair.painted)
        )
        return before, after

    return distances


class _Sums:
    """Figures of frames on their way to means."""

    NAMES = ("warp_error", "warp_error_long", "difference_bias", "flicker", "structure", "sharpness")

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, name: str, value: float | None, floor: float | None = None) -> None:
        for key, number in ((name, value), (f"{name}:floor", floor)):
            if number is not None:
                self._values.setdefault(key, []).append(number)

    def _mean(self, name: str) -> float | None:
        values = self._values.get(name)
        return statistics.fmean(values) if values else None

    def figures(self, with_style: bool) -> tuple[dict[str, float | None], dict[str, float | None]]:
        figures = {name: self._mean(name) for name in self.NAMES}
        if with_style:
            before, after = self._mean("style_before"), self._mean("style_after")
            figures["style_moved"] = 1 - after / before if before and after is not None else None
        return figures, {name: self._mean(f"{name}:floor") for name in ("warp_error", "warp_error_long", "flicker")}
