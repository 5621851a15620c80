"""stdvid probe: the same facts as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from stdvid_cli.app import main


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * i, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_json(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(clip), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == str(clip)
    assert (facts["video"]["width"], facts["video"]["height"], facts["video"]["codec"]) == (64, 48, "h264")


def test_text(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(clip)]) == 0
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["video"] in words
    assert ["codec", "h264"] in words
    assert ["width", "64"] in words


def test_what_is_no_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(tmp_path / "none.mp4")]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
