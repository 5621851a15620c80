"""Segments: stretches of a clip encoded on their own (closed groups of pictures), kept as packets until all are there.

frames -> encoder -> packets -> file        one segment after another; each begins with a keyframe
files -> packets -> one stream of the output        nothing is encoded again
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import av
import numpy as np
from numpy.typing import NDArray

from stdvid.errors import OutputError
from stdvid.media.encoding import StreamPlan, add_video_stream
from stdvid.media.frames import Image
from stdvid.media.output import OutputFormat
from stdvid.media.timing import Slot


@dataclass(frozen=True)
class Segment:
    """Encoded frames in decoding order: their bytes one after another, and a row [size, pts, duration, key] each."""

    data: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def packets(self) -> Iterator[av.Packet[Any]]:
        """Each packet, with its pts, duration and flag."""
        at = 0
        for size, pts, duration, key in self.rows.tolist():
            packet: av.Packet[Any] = av.Packet(self.data[at : at + size].tobytes())
            packet.pts, packet.duration, packet.is_keyframe = pts, duration, bool(key)
            at += size
            yield packet

    def save(self, path: Path) -> None:
        """Write it to a file; OSError as the system says."""
        with open(path, "wb") as file:
            np.savez(file, data=self.data, rows=self.rows)

    @classmethod
    def load(cls, path: Path) -> Segment:
        """Read it again; OutputError if the file is damaged."""
        data, rows = _arrays(path, "data", "rows")
        return cls(data, rows)


def pts_of(path: Path) -> list[int]:
    """The pts of a segment in a file, in decoding order; OutputError if it is damaged."""
    return [int(pts) for pts in _arrays(path, "rows")[0][:, 1]]


def _arrays(path: Path, *names: str) -> list[NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (OSError, ValueError, KeyError, BadZipFile) as exc:
        raise OutputError(
            f"{path}: a segment of an earlier run is damaged; one as it was written is needed; use --no-resume to "
            "begin anew"
        ) from exc


class SegmentEncoder:
    """Encodes frames as they come, as the first to the last of a stream; what it raises are FFmpeg's errors."""

    def __init__(self, plan: StreamPlan, target: OutputFormat) -> None:
        self._scratch = av.open(io.BytesIO(), "w", format=target.muxer)  # for what this container asks of encoders
        self._stream = add_video_stream(self._scratch, plan)
        self._picture, self._ticks = plan.pictures(), plan.ticks
        self._data: list[bytes] = []
        self._rows: list[tuple[int, int, int, bool]] = []

    def add(self, image: Image, slot: Slot) -> None:
        """The next frame, uint8 [H,W,3] RGB, and when it is shown."""
        picture = self._picture(image)
        picture.pts, picture.time_base, picture.duration = slot.pts, self._ticks, slot.duration
        picture.pict_type = 0
        self._take(self._stream.encode(picture))

    def finish(self) -> Segment:
        """The segment; it was the last frame."""
        self._take(self._stream.encode(None))
        self.close()
        return Segment(np.frombuffer(b"".join(self._data), np.uint8), np.array(self._rows, np.int64).reshape(-1, 4))

    def close(self) -> None:
        """Release the encoder; the segment will not be needed."""
        self._scratch.close()

    def _take(self, packets: Sequence[av.Packet[Any]]) -> None:
        for packet in packets:
            self._data.append(bytes(packet))
            self._rows.append((packet.size, int(packet.pts or 0), int(packet.duration or 0), packet.is_keyframe))


def decoding_times(pts: Sequence[int]) -> list[int]:
    """Decoding times of packets whose pts come in decoding order: strictly increasing, none after its pts.

    They are the pts in order, delayed by as many frames as any packet comes early; the first ones, which have none to
    take, are as far before the first pts as theirs are behind it.
    """
    shown = sorted(pts)
    rank = {value: place for place, value in enumerate(shown)}
    delay = max((place - rank[value] for place, value in enumerate(pts)), default=0)
    first = [shown[place] - (shown[delay] - shown[0]) for place in range(delay)]
    return first + shown[: len(shown) - delay]
