"""Frame and FrameChunk: decoded pictures with the times at which they are shown, checked when they are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from stdvid.media.timebase import to_seconds

Image = npt.NDArray[np.uint8]
"""RGB picture(s), uint8, [H,W,3] or [T,H,W,3], 0 = black, 255 = full."""


def check_pixels(array: Image, ndim: int, name: str) -> None:
    """Raise TypeError or ValueError unless ``array`` is uint8, C-contiguous, [H,W,3] (ndim 3) or [T,H,W,3] (4)."""
    layout = "[H,W,3]" if ndim == 3 else "[T,H,W,3]"
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: got {type(array).__name__}; a numpy array {layout} is needed")
    if array.dtype != np.uint8:
        raise TypeError(f"{name}: got dtype {array.dtype}; uint8 {layout} is needed")
    if array.ndim != ndim or array.shape[-1] != 3 or 0 in array.shape:
        raise ValueError(f"{name}: got shape {array.shape}; a non-empty {layout} is needed")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: got a strided view; C-contiguous {layout} is needed (np.ascontiguousarray)")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture.

    Attributes:
        image: uint8 [H,W,3] RGB, C-contiguous, upright.
        pts: when it is shown, in ticks of ``time_base``.
        time_base: seconds per tick.
        index: its number in the whole source, from 0, also when reading started later.
        duration: how long it is shown, in ticks; 0 where the container does not say.
    """

    image: Image
    pts: int
    time_base: Fraction
    index: int
    duration: int = 0

    def __post_init__(self) -> None:
        check_pixels(self.image, 3, "Frame.image")
        if self.index < 0 or self.duration < 0 or self.time_base <= 0:
            raise ValueError(f"Frame: index {self.index}, duration {self.duration}, time base {self.time_base}")

    @property
    def time(self) -> Fraction:
        """When it is shown, in seconds."""
        return to_seconds(self.pts, self.time_base)


@dataclass(frozen=True, slots=True, eq=False)
class FrameChunk:
    """Consecutive frames in memory.

    Attributes:
        images: uint8 [T,H,W,3] RGB, C-contiguous, T >= 1.
        pts: T strictly increasing ticks of ``time_base``.
        time_base: seconds per tick.
        first_index: number of the first frame in the source.
        durations: T durations in ticks, 0 where unknown.
    """

    images: Image
    pts: tuple[int, ...]
    time_base: Fraction
    first_index: int
    durations: tuple[int, ...]

    def __post_init__(self) -> None:
        check_pixels(self.images, 4, "FrameChunk.images")
        if not len(self.images) == len(self.pts) == len(self.durations):
            raise ValueError(
                f"FrameChunk: {len(self.images)} images, {len(self.pts)} pts and {len(self.durations)} durations; "
                "the three must agree"
            )
        if any(b <= a for a, b in zip(self.pts, self.pts[1:], strict=False)):
            raise ValueError("FrameChunk.pts must be strictly increasing")

    @classmethod
    def from_frames(cls, frames: Sequence[Frame]) -> FrameChunk:
        """Stack consecutive frames of one size; copies the pixels."""
        if not frames:
            raise ValueError("FrameChunk.from_frames: got no frame; at least one is needed")
        if any(f.index != frames[0].index + i for i, f in enumerate(frames)):
            raise ValueError("FrameChunk.from_frames: the frames are not consecutive")
        return cls(
            images=np.stack([f.image for f in frames]),
            pts=tuple(f.pts for f in frames),
            time_base=frames[0].time_base,
            first_index=frames[0].index,
            durations=tuple(f.duration for f in frames),
        )

    def __len__(self) -> int:
        return len(self.pts)

    def __iter__(self) -> Iterator[Frame]:
        """The frames again, as views."""
        for i, (pts, duration) in enumerate(zip(self.pts, self.durations, strict=True)):
            yield Frame(self.images[i], pts, self.time_base, self.first_index + i, duration)
