"""Opening of input files: which stream is meant, and what is said of files that are none."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition
from clips import Clip, picture

from stdvid.media.opening import decoder_name, input_path, main_video_stream, open_input, reason


def several(path: Path, dispositions: list[Disposition]) -> Path:
    with av.open(str(path), "w") as container:
        for disposition in dispositions:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
            stream.disposition = disposition
        container.start_encoding()
        for stream in container.streams.video:
            frame = av.VideoFrame.from_ndarray(picture(32, 24), "rgb24")
            frame.pts, frame.time_base = 0, Fraction(1, 25)
            container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


@pytest.mark.parametrize(
    ("marks", "expected"), [("0", 0), ("000", 0), ("010", 1), ("001", 2), ("011", 1), ("110", 0), ("111", 0)]
)
def test_the_first_default_video_is_meant_or_else_the_first(tmp_path: Path, marks: str, expected: int) -> None:
    path = several(tmp_path / "v.mkv", [Disposition.default if m == "1" else Disposition(0) for m in marks])
    with open_input(path) as container:
        stream = main_video_stream(container, path)
        assert (stream.index, decoder_name(stream)) == (expected, "ffv1")


def test_a_path_becomes_absolute(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipe:0").write_bytes(clip("whole.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert input_path("pipe:0") == os.path.join(os.getcwd(), "pipe:0")
    with open_input(Path("pipe:0")) as container:
        assert len(container.streams.video) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.mp4"), "No such file or directory"),
        (ValueError("Bad value.\nand a second line"), "Bad value"),
        (OSError("disk on fire..."), "disk on fire"),
        (ValueError(), "ValueError"),
    ],
)
def test_reasons_are_short(error: BaseException, words: str) -> None:
    assert reason(error) == words


@pytest.mark.parametrize("failure", [None, KeyError("of the caller")])
def test_the_file_is_closed_on_every_way_out(clip: Clip, failure: Exception | None) -> None:
    seen = []

    def use() -> None:
        with open_input(clip("whole.mp4")) as container:
            seen.append(container)
            if failure is not None:
                raise failure

    if failure is None:
        use()
    else:
        with pytest.raises(KeyError, match="of the caller"):
            use()
    with pytest.raises(AssertionError, match="not open"):
        seen[0].seek(0)
