"""Random access through decord: its protocol, and that it shows the frames that sequential reading shows."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import Clip

from stdvid.errors import InputError
from stdvid.media.random_access import DecordReader
from stdvid.media.reader import PyAVReader


def answer(path: Path, requests: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "stdvid.media.decord_worker", str(path), "32", "24"]
    return subprocess.run(command, input=requests, capture_output=True, check=False)


def test_the_worker_answers_requests_until_it_is_told_to_stop(clip: Clip) -> None:
    requests = struct.pack("<6q", 2, 3, 0, 1, 5, 0) + struct.pack("<2q", 1, 1)  # what follows the 0 is not answered
    done = answer(clip("r.mp4", n=12), requests)
    assert (done.returncode, done.stderr) == (0, b"")
    frame = 24 * 32 * 3
    assert struct.unpack("<q", done.stdout[:8]) == (12,)
    assert struct.unpack("<3q", done.stdout[8:32]) == (2, 24, 32)
    assert struct.unpack("<3q", done.stdout[32 + 2 * frame :][:24]) == (1, 24, 32)
    assert len(done.stdout) == 8 + 2 * 24 + 3 * frame


@pytest.mark.parametrize("turn", [(0,), (180,)])
def test_random_access_agrees_with_sequential_reading(clip: Clip, pictures: Any, turn: tuple[int]) -> None:
    path = clip("turned.mp4", n=10, turn=turn)
    order = np.random.default_rng(2).permutation(10).tolist()
    frames = list(PyAVReader(path))
    with DecordReader(path) as reader:
        assert len(reader) == len(frames)
        images = np.concatenate([reader.get(order[:4]), reader.get(order[4:])])
    for number, image in zip(order, images, strict=True):
        assert image.shape == frames[number].image.shape
        assert abs(pictures.quadrants(image) - pictures.quadrants(frames[number].image)).max() <= 30


def test_a_reader_whose_process_has_ended_says_so(clip: Clip) -> None:
    with DecordReader(clip("r.mp4", n=12)) as reader:
        reader._process.kill()
        reader._process.wait()
        with pytest.raises(InputError, match="decord has ended"):
            reader.get([0])
        reader.close()
