"""Pipes, for real: processes before and after this one, sound and times through them, and one of them dying."""

from __future__ import annotations

import io
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from clips import picture

from stdvid.media.pipes import Tee
from stdvid_cli.app import main

Clip = Callable[..., Path]
Packets = Callable[[Path], list[Any]]

STDVID = [str(Path(sys.executable).with_name("stdvid")), "stylize"]
FAST = ["--size", "32", "--steps", "1", "--style-guidance", "0", "--window", "6", "--threads", "1", "-q"]
FFMPEG = shutil.which("ffmpeg")


def slow(*values: object) -> Any:
    """A case that `make test` leaves out: every one starts processes."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture
def style(tmp_path: Path) -> list[str]:
    path = tmp_path / "style.png"
    cv2.imwrite(str(path), cv2.resize(picture(16, 12, 3), (160, 120)))
    return ["--style", str(path)]


def film(clip: Clip, name: str, n: int = 20) -> Path:
    return clip(name, n=n, images=[np.roll(picture(64, 48, 1), k, 1) for k in range(n)], audio=1)


def times(path: Path) -> list[float]:
    """After the first frame: a container without negative times begins later, with the sound as well."""
    with av.open(str(path)) as container:
        found = [float(frame.time or 0) for frame in container.decode(video=0)]
    return [round(time - found[0], 3) for time in found]


@pytest.mark.parametrize("seed", range(8))
def test_a_tee_gives_every_reader_everything_and_forgets_what_all_have(seed: int) -> None:
    draw, data = random.Random(seed), random.Random(seed).randbytes(1_000_000)
    source = io.BytesIO(data)
    tee = Tee(lambda count: source.read(draw.randrange(1, min(count, 50_000) + 1)))
    early = tee.reader()
    head = early.read(1000)
    assert data.startswith(head)
    early.close()
    readers = [tee.reader(), tee.reader()]
    tee.seal()
    with pytest.raises(RuntimeError, match="sealed"):
        tee.reader()
    got: list[bytearray] = [bytearray(), bytearray()]
    most = 0
    while len(got[1]) < len(data):
        for reader, mine in zip(readers, got, strict=True):
            mine += reader.read(draw.randrange(1, 40_000))
        most = max(most, tee.held)
    assert got[1] == data
    while part := readers[0].read(100_000):
        got[0] += part
    assert got[0] == data
    assert most < 800_000  # as far as the readers were apart, not all


def test_readers_in_threads_wait_for_one_another() -> None:
    data = random.Random(1).randbytes(300_000)
    source = io.BytesIO(data)

    def slowly(count: int) -> bytes:
        time.sleep(0.001)
        return source.read(min(count, 7000))

    tee = Tee(slowly)
    readers = [tee.reader() for _ in range(3)]
    tee.seal()
    got = [b""] * 3

    def drain(n: int) -> None:
        parts = []
        while part := readers[n].read(5000):
            parts.append(part)
        readers[n].close()
        got[n] = b"".join(parts)

    threads = [threading.Thread(target=drain, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert got == [data] * 3
    assert tee.held == 0


@pytest.mark.parametrize(
    ("format", "suffix"), [(None, "nut"), slow("matroska", "mkv"), slow("mp4frag", "mp4"), slow("y4m", "y4m")]
)
def test_from_standard_input_to_standard_output(
    clip: Clip, style: list[str], tmp_path: Path, packets: Packets, format: str | None, suffix: str
) -> None:
    source, out = film(clip, "pipe.mkv"), tmp_path / f"out.{suffix}"
    command = [*STDVID, "-", *style, "-o", "-", *FAST, *(["--format", format] if format else [])]
    with open(source, "rb") as given, open(out, "wb") as taken:
        done = subprocess.run(command, stdin=given, stdout=taken, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert times(out) == times(source)
    if suffix != "y4m":
        copied, wanted = ([p for p, _ in packets(path)[0]] for path in (out, source))
        assert copied == wanted[len(wanted) - len(copied) :]
        assert len(copied) >= len(wanted) - (suffix == "nut")  # which has no times below 0, where sound begins


def test_a_pipe_to_a_file_and_a_file_to_a_pipe(clip: Clip, style: list[str], tmp_path: Path) -> None:
    source = film(clip, "pipe.mkv")
    command = [*STDVID, "-", *style, "-o", str(tmp_path / "out.mp4"), *FAST]
    with open(source, "rb") as given:
        assert subprocess.run(command, stdin=given, check=False).returncode == 0
    assert times(tmp_path / "out.mp4") == times(source)
    with open(tmp_path / "out.nut", "wb") as taken:
        command = [*STDVID, str(source), *style, "-o", "-", *FAST, "--json", "--codec", "ffv1"]
        done = subprocess.run(command, stdout=taken, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].startswith('{"event": "done"')
    assert times(tmp_path / "out.nut") == times(source)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".mp4", ".nut", ".png"]


def test_the_first_frames_come_while_the_input_still_does(clip: Clip, style: list[str]) -> None:
    data = film(clip, "long.mkv", n=240).read_bytes()
    command = [*STDVID, "-", *style, "-o", "-", *FAST]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(data[: len(data) // 2])
        process.stdin.flush()
        begun = process.stdout.read(32 * 42)  # comes, or this test hangs: the other half is not there yet
        assert len(begun) == 32 * 42
        feeder = threading.Thread(target=lambda: (process.stdin.write(data[len(data) // 2 :]), process.stdin.close()))
        feeder.start()
        rest = process.stdout.read()
        feeder.join()
    assert process.returncode == 0
    assert len(rest) > 30 * 42 * 32


def test_who_reads_the_output_goes_away(clip: Clip, style: list[str]) -> None:
    source = film(clip, "long.mkv", n=240)
    command = [*STDVID, str(source), *style, "-o", "-", *FAST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1000)
        process.stdout.close()
        said = process.stderr.read().decode()
    assert process.returncode == 1
    assert said.count("\n") == 1
    assert "Broken pipe" in said


@pytest.mark.parametrize("kept", [slow(0), 3000])
def test_who_writes_the_input_dies(clip: Clip, style: list[str], tmp_path: Path, kept: int) -> None:
    data = film(clip, "pipe.mkv").read_bytes()
    command = [*STDVID, "-", *style, "-o", str(tmp_path / "out.mkv"), *FAST]
    done = subprocess.run(command, input=data[:kept], capture_output=True, check=False)
    if done.returncode == 0:
        assert 0 < len(times(tmp_path / "out.mkv")) < 20
    else:
        assert done.returncode == 3
        assert done.stderr.decode().count("\n") == 1
        assert [p.name for p in tmp_path.iterdir()] == ["style.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-"], "an output is needed"),
        (["x.mkv", "-o", "y.mkv", "--format", "nut"], "--format is for -o -"),
        (["x.mkv", "-o", "-", "--verify"], "--verify with a pipe"),
    ],
)
def test_mistakes(style: list[str], words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stylize", *words, *style]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(FFMPEG is None, reason="needs the ffmpeg program")
@pytest.mark.parametrize("between", ["matroska", slow("nut"), slow("mpegts"), slow("yuv4mpegpipe")])
def test_between_two_ffmpegs(clip: Clip, style: list[str], tmp_path: Path, between: str) -> None:
    source, out = film(clip, "pipe.mkv"), tmp_path / "out.mp4"
    copied = ["-fps_mode", "passthrough"] if between == "yuv4mpegpipe" else ["-c:a", "copy", "-c:v", "copy"]
    assert FFMPEG is not None
    begin = [FFMPEG, "-v", "error", "-i", str(source), *copied, "-f", between, "-"]
    paint = [*STDVID, "-", *style, "-o", "-", *FAST]
    end = [
        FFMPEG,
        "-v",
        "error",
        "-i",
        "-",
        "-fps_mode",
        "passthrough",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        str(out),
    ]
    with (
        subprocess.Popen(begin, stdout=subprocess.PIPE) as first,
        subprocess.Popen(paint, stdin=first.stdout, stdout=subprocess.PIPE) as middle,
    ):
        last = subprocess.run(end, stdin=middle.stdout, capture_output=True, check=False)
    assert (first.returncode, middle.returncode, last.returncode) == (0, 0, 0), last.stderr
    assert len(times(out)) == 20
    with av.open(str(out)) as container:
        assert len(container.streams.audio) == (0 if between == "yuv4mpegpipe" else 1)


@pytest.mark.slow
def test_it_can_be_stopped_while_nothing_comes(clip: Clip, style: list[str], tmp_path: Path) -> None:
    data = film(clip, "film.mkv", 60).read_bytes()
    command = [*STDVID, "-", *style, *FAST, "-o", str(tmp_path / "out.mkv")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdin is not None
        assert run.stderr is not None
        run.stdin.write(data[: len(data) // 2])
        run.stdin.flush()
        time.sleep(20)  # it has begun, and waits for more
        began = time.monotonic()
        run.send_signal(signal.SIGINT)
        said = run.stderr.read().decode()
        assert run.wait(30) == 130
        assert time.monotonic() - began < 10
    assert "error: interrupted" in said
    assert not (tmp_path / "out.mkv").exists()
