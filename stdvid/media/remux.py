"""Copying of the other streams: audio, subtitles, attachments, chapters and metadata, packet for packet.

The source is opened a second time and read only as far as the video has been written, so that memory does not
grow with the duration. What the output container cannot hold is left out and said, one line each.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Discard, Disposition, Stream

from stdvid.errors import InputError
from stdvid.media.opening import decoder_name, open_input, packets_of, reason, stream_name
from stdvid.media.output import OutputFormat
from stdvid.media.timebase import MICROSECOND, to_seconds, to_ticks

_CONTAINER_KEYS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})
_STREAM_KEYS = frozenset({"encoder", "duration", "rotate", "vendor_id", "bps", "number_of_frames", "number_of_bytes"})
_COVERS = {"mjpeg": "jpeg", "png": "png", "webp": "webp", "bmp": "bmp", "gif": "gif"}


def copied_metadata(metadata: Mapping[str, str], stream: bool) -> dict[str, str]:
    """Metadata without what describes the old file rather than the work: brands, encoder, statistics."""
    dropped = _STREAM_KEYS if stream else _CONTAINER_KEYS
    return {k: v for k, v in metadata.items() if k.lower() not in dropped and not k.lower().startswith("_statistics")}


class StreamCopier:
    """Copies everything but the restyled stream from a source into an output whose header is not written yet.

    Args:
        source: the file to copy from.
        output: the container to add streams to.
        target: what the output container is.
        main_index: index of the restyled video stream in the source.
        audio, subtitles: whether to copy these kinds.

    Attributes:
        notes: one line for each stream that is not copied although it was wanted.

    Raises:
        InputError: the source cannot be opened, or (from advance) read.
    """

    def __init__(
        self,
        source: Path,
        output: OutputContainer,
        target: OutputFormat,
        main_index: int,
        *,
        audio: bool = True,
        subtitles: bool = True,
    ) -> None:
        self.notes: list[str] = []
        self._source_path = source
        self._output = output
        self._target = target
        self._opening = open_input(source)
        self._source: InputContainer = self._opening.__enter__()
        self._map: dict[int, Stream] = {}
        self._last_dts: dict[int, int] = {}
        self._pending: Packet[Stream] | None = None
        self._origin = Fraction(0)
        self._trims_start = False
        self._damaged = 0
        self._select(main_index, {"audio": audio, "subtitle": subtitles})
        self._packets = self._read()

    def close(self) -> None:
        """Release the source."""
        self._opening.__exit__(None, None, None)

    def _select(self, main_index: int, wanted: Mapping[str, bool]) -> None:
        for stream in list(self._source.streams):
            if stream.index == main_index:
                self._output.streams.video[0].metadata.update(copied_metadata(stream.metadata, stream=True))
            elif wanted.get(stream.type, True) and not self._is_chapter_track(stream):
                problem = self._add(stream)
                if problem:
                    self.notes.append(f"{_describe(stream)} is not copied: {problem}")
            if stream.index not in self._map:
                stream.discard = Discard.all

    def _is_chapter_track(self, stream: Stream) -> bool:
        """MP4 stores chapters as a text track too; they are written anew from the chapter list."""
        return stream.type == "data" and stream_name(stream) == "bin_data" and bool(self._source.chapters())

    def _add(self, stream: Stream) -> str:
        """Add one stream to the output; returns why not, or nothing."""
        if isinstance(stream, AttachmentStream):
            return self._attach(stream_name(stream) or f"attachment-{stream.index}", stream.mimetype or "", stream.data)
        if stream.type == "video":
            if not stream.disposition & Disposition.attached_pic:
                return "one video stream is restyled, others are left out"
            return self._add_cover(stream)
        if stream.type not in ("audio", "subtitle"):
            return "data tracks cannot be carried over"
        if decoder_name(stream) is None or not _can_hold(self._target.muxer, stream):
            advice = "use .mkv to keep it" if self._target.muxer != "matroska" else "it would have to be converted"
            return f"{self._target.muxer} cannot hold it; {advice}"
        copy = self._output.add_stream_from_template(stream, opaque=True)
        copy.metadata.update(copied_metadata(stream.metadata, stream=True))
        copy.disposition = stream.disposition
        self._map[stream.index] = copy
        return ""

    def _add_cover(self, stream: Stream) -> str:
        codec = decoder_name(stream) or ""
        if self._target.attachments and codec in _COVERS:
            with open_input(self._source_path) as again:  # so that the position of the copying demuxer stays
                packet = next((p for p in again.demux(again.streams[stream.index]) if p.size), None)
            kind = _COVERS[codec]
            name = "cover.jpg" if kind == "jpeg" else f"cover.{kind}"
            return self._attach(name, f"image/{kind}", bytes(packet)) if packet is not None else "it is empty"
        if self._target.muxer != "mp4" or codec not in ("mjpeg", "png", "bmp"):
            return f"{self._target.muxer} cannot hold cover art of this kind; use .mkv to keep it"
        copy = self._output.add_stream_from_template(stream, opaque=True)
        copy.disposition = stream.disposition
        self._map[stream.index] = copy
        return ""

    def _attach(self, name: str, mimetype: str, data: bytes) -> str:
        if not self._target.attachments:
            return f"{self._target.muxer} holds no attachments; use .mkv to keep it"
        self._output.add_attachment(name, mimetype or "application/octet-stream", data)
        return ""

    def write_tags(self, origin: Fraction, trims_start: bool, end: Fraction | None) -> None:
        """Set metadata and chapters, just before the header is written.

        Args:
            origin: the source time, in seconds, that becomes 0 in the output.
            trims_start: whether what lies before ``origin`` is cut away.
            end: source time at which the output ends where that is known, for chapters.
        """
        self._origin, self._trims_start = origin, trims_start
        self._output.metadata.update(copied_metadata(self._source.metadata, stream=False))
        chapters = []
        for chapter in self._source.chapters():
            base = chapter["time_base"] or MICROSECOND
            start, stop = to_seconds(chapter["start"], base), to_seconds(chapter["end"], base)
            if stop <= origin or (end is not None and start >= end):
                continue
            chapter["start"] = to_ticks(max(start - origin, Fraction(0)), base)
            chapter["end"] = to_ticks((stop if end is None else min(stop, end)) - origin, base)
            chapters.append(chapter)
        if chapters and self._target.chapters:
            self._output.set_chapters(chapters)
        elif chapters:
            self.notes.append(f"{len(chapters)} chapters are not copied: {self._target.muxer} holds none; use .mkv")

    def advance(self, until: Fraction | None) -> None:
        """Mux every packet that starts before ``until`` (source seconds); None: all that are left."""
        while True:
            packet = self._pending or next(self._packets, None)
            if packet is None:
                if self._damaged:
                    self.notes.append(f"{self._damaged} packets of sound or subtitles were damaged and are left out")
                    self._damaged = 0
                return
            self._pending = None
            time = packet.dts if packet.dts is not None else packet.pts
            if until is not None and time is not None and to_seconds(time, packet.time_base) >= until:
                self._pending = packet
                return
            self._mux(packet)

    def _read(self) -> Iterator[Packet[Stream]]:
        if not self._map:
            return
        streams = [s for s in self._source.streams if s.index in self._map]
        try:
            for packet in packets_of(self._source, *streams):
                if packet.size or packet.pts is not None:
                    yield packet
        except av.EOFError:
            return
        except (av.FFmpegError, ValueError) as exc:
            raise InputError(
                f"{self._source_path}: its sound or subtitles cannot be read to the end ({reason(exc)}); use --an --sn "
                "to leave them out, or get the file again"
            ) from exc

    def _mux(self, packet: Packet[Stream]) -> None:
        index = packet.stream_index
        base = packet.time_base
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is None:
            pts = self._last_dts.get(index, -1) + 1
        shift = to_ticks(self._origin, base)
        if self._trims_start and pts < shift:
            remaining = pts + (packet.duration or 0) - shift
            if packet.stream.type == "audio" or remaining <= 0:
                return
            pts, packet.duration, packet.dts = shift, remaining, shift
        if self._target.muxer == "nut" and pts < shift:
            return  # it has no times below 0, and would move everything by the priming of the sound
        dts = (packet.dts if packet.dts is not None else pts) - shift
        dts = max(dts, self._last_dts.get(index, dts - 1) + 1)
        self._last_dts[index] = dts
        packet.dts, packet.pts = dts, max(pts - shift, dts)
        packet.stream = self._map[index]
        try:
            self._output.mux_one(packet)
        except av.InvalidDataError:  # it is not what its codec says
            self._damaged += 1


def _can_hold(muxer: str, stream: Stream) -> bool:
    """Whether a muxer accepts a stream as it is: its header is written once, into memory."""
    try:
        trial = av.open(io.BytesIO(), "w", format=muxer)
        trial.add_stream_from_template(stream, opaque=True)
        trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _describe(stream: Stream) -> str:
    codec = decoder_name(stream) or stream_name(stream) or "unknown codec"
    language = f", {stream.metadata['language']}" if stream.metadata.get("language", "und") != "und" else ""
    kind = "cover art" if stream.disposition & Disposition.attached_pic else stream.type
    return f"{kind} stream #{stream.index} ({codec}{language})"
