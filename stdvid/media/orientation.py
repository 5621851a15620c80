"""Orientation: the eight ways in which a display matrix can turn or mirror a picture."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from av import VideoFrame

from stdvid.media.frames import Image


@dataclass(frozen=True, slots=True)
class Orientation:
    """First transpose (swap rows and columns), then flip left-right and top-bottom."""

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of_frame(cls, frame: VideoFrame) -> Orientation:
        """Read a decoded frame's display matrix (phones, JPEG EXIF); upright where there is none."""
        try:
            entries: Iterable[Any] = frame.side_data  # PyAV's stub calls it a dict; it iterates over its entries
            for entry in entries:
                if entry.type.name == "DISPLAYMATRIX":
                    return cls.of_matrix(struct.unpack("=9i", bytes(entry)[:36]))
        except ValueError:  # PyAV fails on types of side data that it has no name for (EXIF); this it reads apart
            return cls.of_rotation(frame.rotation)
        return cls()

    @classmethod
    def of_rotation(cls, degrees: float) -> Orientation:
        """The nearest quarter turn; counter-clockwise."""
        return (cls(), cls(True, False, True), cls(False, True, True), cls(True, True, False))[round(degrees / 90) % 4]

    @classmethod
    def of_matrix(cls, matrix: tuple[int, ...]) -> Orientation:
        """The nearest quarter turn of FFmpeg's 3x3 matrix: x' = a x + c y, y' = b x + d y."""
        a, b, _, c, d = matrix[:5]
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise (0, 90, 180, -90), after undoing a mirroring left-right."""
        mirrored_x = self.flip_x != self.mirrored
        if self.transposed:
            return 90 if not mirrored_x else -90
        return 180 if mirrored_x else 0

    @property
    def mirrored(self) -> bool:
        """Whether the picture is also mirrored (text would read backwards)."""
        return self.transposed ^ self.flip_x ^ self.flip_y

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) after turning."""
        return (height, width) if self.transposed else (width, height)

    def apply(self, image: Image) -> Image:
        """Turn an image [H,W,3]; the result is C-contiguous."""
        if self.transposed:
            image = image.transpose(1, 0, 2)
        if self.flip_x:
            image = image[:, ::-1]
        if self.flip_y:
            image = image[::-1]
        return np.ascontiguousarray(image)
