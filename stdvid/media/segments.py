"""Segments: stretches of a clip encoded on their own (closed groups of pictures), kept as packets until all are there.

frames -> encoder -> packets -> file        one segment after another; each begins with a keyframe
files -> packets -> one stream of the output        nothing is encoded again
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
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


def encode_segment(plan: StreamPlan, target: OutputFormat, frames: Iterable[tuple[Image, Slot]]) -> Segment:
    """Encode frames, uint8 [H,W,3] RGB each, as the first to the last of a stream.

    Raises FFmpeg's errors.
    """
    data: list[bytes] = []
    rows: list[tuple[int, int, int, bool]] = []
    with av.open(io.BytesIO(), "w", format=target.muxer) as scratch:  # for what this container asks of encoders
        stream = add_video_stream(scratch, plan)
        pictures = plan.pictures()

        def take(packets: Sequence[av.Packet[Any]]) -> None:
            for packet in packets:
                data.append(bytes(packet))
                rows.append((packet.size, int(packet.pts or 0), int(packet.duration or 0), packet.is_keyframe))

        for image, slot in frames:
            picture = pictures(image)
            picture.pts, picture.time_base, picture.duration = slot.pts, plan.ticks, slot.duration
            picture.pict_type = 0
            take(stream.encode(picture))
        take(stream.encode(None))
    return Segment(np.frombuffer(b"".join(data), np.uint8), np.array(rows, np.int64).reshape(-1, 4))


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
