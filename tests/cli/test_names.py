"""Styles by name or path, output templates, key=value options."""

from __future__ import annotations

from pathlib import Path

import pytest

from stdvid.errors import UsageError
from stdvid_cli import names
from stdvid_cli.names import find_style, key_values, output_path, style_label


@pytest.fixture
def styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    found = {name: tmp_path / f"{name}.jpg" for name in ("hokusai", "monet")}
    monkeypatch.setattr(names, "bundled_styles", lambda: found)
    return found


def test_every_bundled_style_has_a_plain_name() -> None:
    for name, path in names.bundled_styles().items():
        assert path.is_file()
        assert name == path.stem
        assert name.replace("-", "").replace("_", "").isalnum()


def test_a_style_is_a_bundled_name_or_a_path(styles: dict[str, Path], tmp_path: Path) -> None:
    assert find_style("hokusai") == styles["hokusai"]
    assert find_style("my.png") == Path("my.png")
    assert find_style("./hokusai") == Path("hokusai")
    bare = tmp_path / "bare"
    bare.touch()
    assert find_style(str(bare)) == bare


def test_an_unknown_style_is_answered_with_the_nearest_and_the_list(styles: dict[str, Path]) -> None:
    with pytest.raises(
        UsageError, match=r"no style named 'hokusia' \(did you mean 'hokusai'\?\); known: hokusai, monet;"
    ):
        find_style("hokusia")


def test_a_style_of_several_images_has_one_label() -> None:
    assert style_label([Path("x/a.png")]) == "a"
    assert style_label([Path("a.png"), Path("b.jpg")]) == "a+b"
    assert style_label([Path(f"{c}.png") for c in "abcde"]) == "a+b+c+2"


@pytest.mark.parametrize(
    ("template", "source", "expected"),
    [
        (None, "in/clip.mkv", "in/clip.ink.mp4"),
        (None, "in/photo.JPG", "in/photo.ink.png"),
        (None, "anim.gif", "anim.ink.mp4"),
        ("out.mp4", "in/clip.mkv", "out.mp4"),
        ("o/{stem}-{style}-{preset}.{ext}", "in/clip.mkv", "o/clip-ink-nano.mkv"),
        ("{stem}.{ext}", "in/raw", "raw.mp4"),
        ("a{{b}}.mp4", "in/clip.mkv", "a{b}.mp4"),
    ],
)
def test_output_templates(template: str | None, source: str, expected: str) -> None:
    assert output_path(template, Path(source), [Path("s/ink.png")], "x/nano.toml") == Path(expected)


@pytest.mark.parametrize(
    ("preset", "label"), [("sdxl-std-i2i-.75", "sdxl-std-i2i-.75"), ("x/my.v2.toml", "my.v2"), ("nano", "nano")]
)
def test_a_preset_keeps_the_dots_of_its_name(preset: str, label: str) -> None:
    assert output_path("{preset}.{ext}", Path("in/clip.mkv"), [Path("ink.png")], preset) == Path(f"{label}.mkv")


@pytest.mark.parametrize(
    "template", ["{name}.mp4", "{}.mp4", "{stem.mp4", "{stem!r}.mp4", "{stem:>9}.mp4", "{stem[0]}"]
)
def test_templates_with_mistakes(template: str) -> None:
    with pytest.raises(UsageError, match="output template"):
        output_path(template, Path("a.mp4"), [Path("s.png")], "nano")


def test_key_values() -> None:
    assert key_values("--enc", []) == {}
    assert key_values("--enc", ["preset=slow", "x=a=b", "tune=", "preset=fast"]) == {
        "preset": "fast",
        "x": "a=b",
        "tune": "",
    }


@pytest.mark.parametrize("pair", ["preset", "=slow", " =x", ""])
def test_key_values_with_mistakes(pair: str) -> None:
    with pytest.raises(UsageError, match="--enc"):
        key_values("--enc", [pair])
