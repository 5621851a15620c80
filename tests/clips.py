"""Tiny real clips, synthesised with PyAV (a few milliseconds each), and small measuring tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from stdvid.media.reader import PyAVReader

Clip = Callable[..., Path]
COLOURS = ((200, 30, 60), (20, 180, 90), (10, 40, 230), (240, 220, 30))


def picture(width: int, height: int, number: int = 0) -> np.ndarray:
    """Four flat quadrants whose colours move on with the frame number: red, green / blue, yellow at 0."""
    image = np.empty((height, width, 3), np.uint8)
    h, w = height // 2, width // 2
    for i, (rows, columns) in enumerate(
        [
            (slice(0, h), slice(0, w)),
            (slice(0, h), slice(w, None)),
            (slice(h, None), slice(0, w)),
            (slice(h, None), slice(w, None)),
        ]
    ):
        image[rows, columns] = COLOURS[(i + number) % 4]
    return image


def quadrants(image: np.ndarray) -> np.ndarray:
    """int [4,3]: the colours in the middle of the four quadrants."""
    h, w = image.shape[:2]
    return np.array([image[y, x] for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)], int)


def _add_audio(container: Any, seconds: float, codec: str = "aac") -> tuple[Any, list[Any]]:
    stream = container.add_stream(codec, rate=44100)
    stream.codec_context.layout = "mono"
    wave = (0.3 * np.sin(np.arange(int(44100 * seconds)) * 0.06)).astype(np.float32)[None]
    packets = []
    for begin in range(0, wave.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, begin : begin + 1024]), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 44100, begin, Fraction(1, 44100)
        packets += stream.encode(frame)
    return stream, packets + stream.encode(None)


def _write(path: Path, **o: Any) -> Path:
    n, (width, height) = o.get("n", 12), o.get("size", (64, 48))
    time_base = o.get("time_base", Fraction(1, 12800))
    pts: Sequence[int] = o.get("pts") or [o.get("first", 0) + 512 * i for i in range(n)]
    matrix, full = o.get("matrix", 6), o.get("full", False)
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        container.metadata.update({"title": "a test"} | o.get("metadata", {}))
        video = container.add_stream(o.get("codec", "libx264"), rate=25)
        context = video.codec_context
        context.width, context.height, context.pix_fmt = width, height, o.get("pix_fmt", "yuv420p")
        context.time_base = time_base
        video.time_base = time_base
        context.options = o.get("options", {"preset": "ultrafast", "crf": "4", "bf": "2"})
        if o.get("tagged", True):
            context.colorspace, context.color_range = matrix, 2 if full else 1
            context.color_primaries, context.color_trc = o.get("primaries", matrix), o.get("transfer", matrix)
        if "aspect" in o:
            context.sample_aspect_ratio = o["aspect"]
        if "turn" in o:
            video.set_display_rotation(*o["turn"])
        packets: list[Any] = []
        if o.get("audio"):
            for _ in range(int(o["audio"])):
                stream, sound = _add_audio(container, n / 25)
                stream.metadata["language"] = "eng"
                packets += sound
        if o.get("subtitles"):
            text = container.add_mux_stream("subrip")
            text.time_base = Fraction(1, 1000)
            packet = av.Packet(b"hello")
            packet.stream, packet.time_base, packet.pts, packet.dts, packet.duration = (
                text,
                Fraction(1, 1000),
                80,
                80,
                200,
            )
            packets.append(packet)
        if o.get("attachment"):
            container.add_attachment("font.ttf", "font/ttf", b"not really a font")
        if o.get("chapters"):
            base = Fraction(1, 1000)
            container.set_chapters(
                [
                    {"id": 1, "start": 0, "end": 200, "time_base": base, "metadata": {"title": "one"}},
                    {"id": 2, "start": 200, "end": 480, "time_base": base, "metadata": {"title": "two"}},
                ]
            )
        for number, time in enumerate(pts):
            image = o["images"][number] if "images" in o else o.get("image", picture(width, height, number))
            frame = av.VideoFrame.from_ndarray(image, "rgba" if image.shape[2] == 4 else "rgb24").reformat(
                format=context.pix_fmt,
                dst_colorspace={1: Colorspace.ITU709, 9: Colorspace.BT2020}.get(matrix, Colorspace.ITU601),
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            )
            frame.pts, frame.time_base, frame.duration = time, time_base, 512
            packets += video.encode(frame)
        packets += video.encode(None)
        packets.sort(key=lambda p: p.dts * p.time_base)
        container.start_encoding()
        for packet in packets:
            container.mux(packet)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """clip("a.mp4", n=12, size=(64, 48), ...) writes a clip once per distinct request and returns its path."""
    made: dict[str, Path] = {}

    def make(name: str, **options: Any) -> Path:
        key = name + repr(sorted((k, repr(v)) for k, v in options.items()))
        if key not in made:
            made[key] = _write(tmp_path_factory.mktemp("clip") / name, **options)
        return made[key]

    return make


@pytest.fixture(scope="session")
def packets() -> Callable[..., list[list[tuple[bytes, Fraction]]]]:
    """packets(path, "audio"): for each stream of the kind, the (bytes, seconds) of its packets."""

    def read(path: Path, kind: str = "audio") -> list[list[tuple[bytes, Fraction]]]:
        with av.open(str(path)) as container:
            streams = [s for s in container.streams if s.type == kind]
            found: list[list[tuple[bytes, Fraction]]] = [[] for _ in streams]
            for packet in container.demux(*streams) if streams else ():
                if packet.size:
                    found[streams.index(packet.stream)].append((bytes(packet), packet.pts * packet.time_base))
        return found

    return read


@pytest.fixture(scope="session")
def pictures() -> Any:
    """The functions ``picture`` and ``quadrants``."""

    class Tools:
        make = staticmethod(picture)
        quadrants = staticmethod(quadrants)

    return Tools


@pytest.fixture
def style(tmp_path: Path) -> Path:
    """A reference image of coarse, random colours."""
    path = tmp_path / "style.png"
    coarse = np.random.default_rng(3).integers(0, 256, (12, 16, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC))
    return path


def frames_of(path: Path) -> tuple[np.ndarray, list[Fraction]]:
    """uint8 [T,H,W,3] and the times of a clip."""
    with PyAVReader(path) as reader:
        frames = list(reader)
    return np.stack([f.image for f in frames]), [f.time for f in frames]


def film(clip: Clip, n: int = 16) -> Path:
    """A pan, a cut to black, and a pan again, with sound."""
    first, second = picture(96, 48, 1), picture(96, 48, 5)
    images = [first[:, 2 * k : 2 * k + 64] if k < 6 else second[:, k : k + 64] for k in range(n)]
    images[6] = images[7] = np.zeros_like(images[0])
    return clip(f"film{n}.mp4", n=n, images=images, audio=1)
