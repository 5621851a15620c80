"""What an input may not do: lead to other files, be too large, too long or in too many parts, or keep us waiting."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest

from stdvid.errors import InputError, Interrupted, UsageError
from stdvid.media.limits import Limits
from stdvid.media.opening import REFUSED_FORMATS, open_input
from stdvid.media.probe import probe
from stdvid.media.reader import PyAVReader
from stdvid.media.threads import Prefetch

Clip = Callable[..., Path]

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n"
LISTS = {
    "list.m3u8": HLS,
    "list.mp4": HLS,
    "list.txt": "ffconcat version 1.0\nfile '{}'\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{}'\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "list.mpd": '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("where", ["beside", "absolute", "address"])
def test_a_list_leads_nowhere(clip: Clip, tmp_path: Path, name: str, where: str) -> None:
    target = tmp_path / "secret.ts"
    with av.open(str(target), "w") as container:  # every one of these formats could play it
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        frame = av.VideoFrame(32, 32, "yuv420p")
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert probe(target).video.width == 32
    url = {"beside": target.name, "absolute": str(target), "address": "http://127.0.0.1:9/x.ts"}[where]
    path = tmp_path / name
    path.write_text(LISTS[name].format(url))
    began = time.monotonic()
    with pytest.raises(InputError, match="not a readable video"):
        probe(path)
    assert time.monotonic() - began < 10


def test_the_refused_formats_are_there_to_be_refused() -> None:
    assert {"hls", "concat", "dash", "sdp"} <= REFUSED_FORMATS & av.formats_available


def test_a_pipe_is_said_to_be_one_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="is a pipe or a device"):
        probe(tmp_path / "pipe.mp4")


def test_large_frames_many_streams_and_long_clips(clip: Clip) -> None:
    source = clip("limits.mkv", n=12, audio=1)
    assert probe(source, Limits(pixels=64 * 48, streams=2)).video.width == 64
    with pytest.raises(InputError, match=r"64x48 pixels; allowed are 3000 .*--limit pixels=3072"):
        probe(source, Limits(pixels=3000))
    with (
        pytest.raises(InputError, match=r"2 streams; allowed are 1; .*--limit streams=2"),
        open_input(source, Limits(streams=1)),
    ):
        pass
    with pytest.raises(InputError, match=r"more than 0\.2 s"):
        list(PyAVReader(source, limits=Limits(seconds=0.2)))


def test_a_frame_that_grows_midway_is_too_large(clip: Clip, tmp_path: Path) -> None:
    grown = tmp_path / "grown.mjpeg"
    frames = []
    for size in (32, 320):
        path = tmp_path / f"{size}.jpg"
        with av.open(str(path), "w", format="image2") as container:
            stream = container.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = size, size, "yuvj420p"
            frame = av.VideoFrame(size, size, "yuvj420p")
            frame.pts = 0
            container.mux([*stream.encode(frame), *stream.encode(None)])
        frames.append(path.read_bytes())
    grown.write_bytes(frames[0] * 3 + frames[1] * 3)
    assert len(list(PyAVReader(grown))) == 6
    with pytest.raises(InputError):
        list(PyAVReader(grown, limits=Limits(pixels=2000)))


def test_limits_are_read_and_mistakes_said() -> None:
    assert Limits.of({"pixels": "2e8", "stall": "5"}) == Limits(pixels=2e8, stall=5)
    for given, words in (
        ({"bytes": "5"}, "unknown"),
        ({"pixels": "many"}, "number above 0"),
        ({"stall": "0"}, "above 0"),
    ):
        with pytest.raises(UsageError, match=words):
            Limits.of(given)


def test_who_stalls_is_left_behind_and_who_is_slow_is_not() -> None:
    decoded, ended = [0], threading.Event()

    def slow() -> Iterator[int]:
        for step in range(8):  # a window that takes long, while frames come
            time.sleep(0.1)
            decoded[0] = step
        yield 1
        ended.wait(3)
        yield 2

    items = Prefetch(slow(), 1, lambda: decoded[0], 0.3)
    assert next(items) == 1
    began = time.monotonic()
    with pytest.raises(InputError, match="gave no frame"):
        next(items)
    assert time.monotonic() - began < 2
    ended.set()


def test_who_waits_for_what_never_comes_can_be_stopped() -> None:
    ended, asked = threading.Event(), threading.Event()

    def hangs() -> Iterator[int]:
        yield 1
        ended.wait(20)

    def check() -> None:
        if asked.is_set():
            raise Interrupted("interrupted")

    items = Prefetch(hangs(), 1, lambda: 0, check=check)
    assert next(items) == 1
    threading.Timer(0.1, asked.set).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        next(items)
    assert time.monotonic() - began < 5
    ended.set()
