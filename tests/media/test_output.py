"""The output file: what its name means, whether it may be written, and the part that becomes it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stdvid.errors import OutputError, OutputExistsError, UsageError
from stdvid.media.output import OUTPUT_FORMATS, PartFile, check_output, default_codec, output_format
from stdvid.media.probe import probe
from stdvid.media.writer import VideoWriter


@pytest.mark.parametrize(
    ("name", "container", "muxer", "codec"),
    [
        ("a.mp4", None, "mp4", "libx264"),
        ("a.m4v", None, "mp4", "libx264"),
        ("A.MOV", None, "mov", "libx264"),
        ("a.b.mkv", None, "matroska", "libx264"),
        ("a.webm", None, "webm", "libvpx-vp9"),
        ("a.gif", None, "gif", "gif"),
        ("a.JPEG", None, "image2", "jpg"),
        ("a", "mp4", "mp4", "libx264"),
        ("a.mp4", "webm", "webm", "libvpx-vp9"),
        ("a.xyz", "Matroska", "matroska", "libx264"),
    ],
)
def test_container_then_extension_decide(name: str, container: str | None, muxer: str, codec: str) -> None:
    target = output_format(Path("folder.png") / name, container)
    assert (target.muxer, target.codec) == (muxer, codec)
    assert default_codec(name, container) == codec


@pytest.mark.parametrize(
    ("name", "container", "found"),
    [
        ("clip", None, "clip: extension (none)"),
        ("clip.", None, "extension"),
        (".mp4", None, ".mp4: extension (none)"),
        ("clip.exe", None, "clip.exe: extension .exe"),
        ("clip.matroska.", None, "extension"),
        ("clip.mp4", "exe", "container 'exe'"),
    ],
)
def test_unknown_names_are_refused_with_all_that_are_allowed(name: str, container: str | None, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        output_format(name, container)
    message = str(caught.value)
    assert message.startswith(found) or found == "extension"
    assert all(extension in message for extension in OUTPUT_FORMATS)
    assert (message.count("\n"), caught.value.exit_code) == (0, 2)


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("spelling", ["in.mp4", "./in.mp4", "sub/../in.mp4"])
def test_the_input_is_known_under_every_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str, exists: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    if exists:
        (tmp_path / "in.mp4").write_bytes(b"clip")
    for output, source in ((spelling, tmp_path / "in.mp4"), (tmp_path / "in.mp4", spelling)):
        with pytest.raises(UsageError, match="is an input itself"):
            check_output(output, source, overwrite=True)


@given(st.text("aB7é日%\\: -", min_size=1, max_size=12), st.sampled_from(["", ".mp4", ".part", ".tar.gz", "."]))
def test_the_part_lies_beside_the_output_under_its_name(stem: str, suffix: str) -> None:
    part = PartFile(Path("folder") / f"{stem}{suffix}").part
    assert (part.parent, part.name) == (Path("folder"), f"{stem}{suffix}.part")


@pytest.mark.parametrize("before", [None, b"old"])
def test_committing_gives_the_file_its_name(tmp_path: Path, before: bytes | None) -> None:
    final = tmp_path / "o.mp4"
    if before is not None:
        final.write_bytes(before)
    file = PartFile(final)
    file.part.write_bytes(b"new")
    file.commit()
    assert final.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]
    file.discard()
    assert final.read_bytes() == b"new"


def test_what_cannot_be_committed_is_removed_and_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        PartFile(tmp_path / "o.mp4").commit()  # there is no part
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    file = PartFile(tmp_path / "full")
    file.part.write_bytes(b"new")
    with pytest.raises(OutputError, match="cannot be written"):
        file.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def write_one(path: Path, **options: object) -> VideoWriter:
    with VideoWriter(path, size=(32, 32), enc={"preset": "ultrafast"}, **options) as writer:  # type: ignore[arg-type]
        writer.write(np.zeros((32, 32, 3), np.uint8), 0)
    return writer


def test_overwriting_a_link_replaces_the_link_and_not_what_it_points_at(tmp_path: Path) -> None:
    target, link = tmp_path / "target.mp4", tmp_path / "link.mp4"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    with pytest.raises(OutputExistsError):
        write_one(link)
    write_one(link, overwrite=True)
    assert (target.read_bytes(), link.is_symlink()) == (b"precious", False)
    assert probe(link).video.frame_size == (32, 32)


def test_a_stale_part_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "o.mp4.part").write_bytes(b"left by a crash" * 1000)
    write_one(tmp_path / "o.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]
    assert probe(tmp_path / "o.mp4").video.duration_s == Fraction(1, 25)


def test_closing_and_giving_up_may_be_repeated_in_any_order(tmp_path: Path) -> None:
    done = write_one(tmp_path / "done.mp4")
    done.abort()
    done.close()
    size = (tmp_path / "done.mp4").stat().st_size
    given_up = VideoWriter(tmp_path / "gone.mp4", size=(32, 32))
    given_up.abort()
    given_up.close()
    given_up.abort()
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("done.mp4", size)]
