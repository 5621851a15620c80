"""stdvid presets list and show."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from stdvid.config import StylizeConfig, load_preset, preset_names
from stdvid.schema import build
from stdvid_cli.app import main
from stdvid_cli.names import bundled_styles
from stdvid_cli.presets import summary


def test_list_names_every_preset_and_style(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["presets", *preset_names(), "styles", *bundled_styles()]
    assert all(len(line.split()) > 1 for line in lines if line not in ("presets", "styles"))


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert list(listed["presets"]) == preset_names()
    assert all(listed["presets"].values())
    assert listed["styles"] == {name: str(path) for name, path in bundled_styles().items()}


@pytest.mark.parametrize("name", preset_names())
def test_show_prints_a_file_that_can_be_used_as_a_preset(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["presets", "show", name]) == 0
    text = capsys.readouterr().out
    assert "#" in text
    assert build(StylizeConfig, tomllib.loads(text)) == load_preset(name)


def test_show_as_json_has_all_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[sampling]\nsteps = 7\n")
    assert main(["presets", "show", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["sampling"]["steps"] == 7
    assert shown["video"]["window"] == 16
    assert build(StylizeConfig, shown).sampling.steps == 7


def test_show_refuses_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[sampling]\nstep = 7\n")
    assert main(["presets", "show", str(path)]) == 2
    assert main(["presets", "show", "nanoo"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "did you mean 'sampling.steps'?" in err
    assert "did you mean 'nano'?" in err


def test_summary_is_the_first_sentence_after_the_name() -> None:
    assert summary("# x: does this.\n# And that.\n\n[model]\n") == "does this"
    assert summary("# x: does this, which is\n# long\nkey = 1\n") == "does this, which is long"
    assert summary("key = 1\n") == ""
