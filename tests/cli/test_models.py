"""stdvid models list, pull, verify and path, against a hub on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import Hub, pipeline, weights

import stdvid.config
from stdvid.config import load_preset, preset_names
from stdvid.models.embedded import bundle_folder, bundle_names
from stdvid.models.sources import sources
from stdvid_cli.app import main

HUB_PRESETS = [name for name in preset_names() if load_preset(name).model.base not in bundle_names()]

PRESET = """
[model]
base = "lab/sd"
lora = [{ path = "lab/lora", weight_name = "a.safetensors" }]
"""


@pytest.fixture
def preset(hub: Hub, tmp_path: Path) -> str:
    """A preset of two repositories, which the hub has."""
    hub.put("lab/sd", pipeline())
    hub.put("lab/lora", {"a.safetensors": weights(1), "b.safetensors": weights(2)})
    path = tmp_path / "mine.toml"
    path.write_text(PRESET)
    return str(path)


@pytest.fixture
def bundled(preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same preset as one that comes with stdvid, beside one of an embedded model."""
    folder = tmp_path / "presets" / "stylize"
    folder.mkdir(parents=True)
    shutil.copy(preset, folder / "hub-sd.toml")
    (folder / "nano.toml").write_text("")
    monkeypatch.setattr(stdvid.config, "files", lambda _: folder.parent)
    return "hub-sd"


def test_no_command_imports_torch_or_the_client_for_embedded_models() -> None:
    code = """
import sys
from stdvid_cli.app import main
assert main(["models", "list", "nano"]) == main(["models", "path", "nano"]) == main(["models", "pull", "nano"]) == 0
print({"torch", "huggingface_hub", "diffusers", "numpy"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_list_has_the_embedded_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()[: len(bundle_names())]
    assert [line.split()[:2] for line in lines] == [["embedded", name] for name in bundle_names()]
    assert all(line.endswith("Apache-2.0") for line in lines)


@pytest.mark.parametrize("name", HUB_PRESETS)
def test_a_bundled_preset_of_the_hub_says_what_gets_it(
    name: str, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list", name]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [[row[0], row[2]] for row in rows] == [[name, "missing"]] * len(sources(load_preset(name).model))
    clip, style = tmp_path / "clip.mp4", tmp_path / "style.png"
    for command in (
        ["models", "path", name],
        ["stylize", str(clip), "--style", str(style), "--preset", name],
        ["preview", str(clip), "--style", str(style), "--preset", name],
    ):
        assert main(command) == 3
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert err.endswith(f"; run: stdvid models pull {name}\n")


def test_list_says_what_is_here_and_what_is_missing(bundled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert list(before["embedded"]) == bundle_names()
    assert {name: [s["state"] for s in found] for name, found in before["hub"].items()} == {"hub-sd": ["missing"] * 2}
    assert main(["models", "pull", "lab/lora/a.safetensors", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["models", "list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["hub-sd", "lab/sd", "missing"] in lines
    assert ["hub-sd", "lab/lora/a.safetensors", "here", "0.0", "MiB"] in lines


def test_pull_by_name_by_file_and_by_id(
    bundled: str, preset: str, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "pull", bundled]) == 0
    out, err = capsys.readouterr()
    assert out == f"pulled {bundled}: 11 files, 0.0 MiB, verified\n"
    assert [line.split()[0] for line in err.splitlines()] == ["fetched", "fetched"]
    assert len(hub.got()) == 11
    assert main(["models", "pull", preset]) == 0
    assert main(["models", "pull", "lab/sd"]) == 0
    out, err = capsys.readouterr()
    assert [line.partition(": ")[2].split(",")[0] for line in out.splitlines()] == ["11 files", "10 files"]
    assert (err, hub.got()) == ("", [])


def test_a_terminal_gets_a_bar(
    preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["models", "pull", preset]) == 0
    out, err = capsys.readouterr()
    assert out == f"pulled {preset}: 11 files, 0.0 MiB, verified\n"
    assert "fetched" not in err


def test_pull_as_json_is_one_object(preset: str, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", preset, "--json"]) == 0
    out, err = capsys.readouterr()
    done = json.loads(out)
    assert (err, done["files"]) == ("", 11)
    assert [s["source"] for s in done["sources"]] == ["lab/sd", "lab/lora/a.safetensors"]
    assert sum(s["fetched_bytes"] for s in done["sources"]) == done["bytes"] > 0


def test_a_revision_is_asked_for_and_named(preset: str, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    commit = hub.put("lab/lora", {"a.safetensors": weights(5)}, "v2")
    assert main(["models", "path", "lab/lora/a.safetensors@v2"]) == 3
    assert capsys.readouterr().err.endswith("run: stdvid models pull lab/lora/a.safetensors@v2\n")
    assert main(["models", "pull", "lab/lora/a.safetensors", "--revision", "v2"]) == 0
    assert main(["models", "path", "lab/lora/a.safetensors", "--revision", "v2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(hub.snapshot("lab/lora", commit))
    assert main(["models", "pull", preset, "--revision", "v2"]) == 2
    assert "--revision with" in capsys.readouterr().err


def test_path_before_and_after(preset: str, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "path", preset]) == 3
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("", [err.strip()])
    assert err.endswith(f"run: stdvid models pull {preset}\n")
    assert main(["models", "pull", preset]) == main(["models", "path", preset]) == 0
    folders = capsys.readouterr().out.splitlines()[1:]
    assert [os.path.relpath(folder, hub.cache).split(os.sep)[0] for folder in folders] == [
        "models--lab--sd",
        "models--lab--lora",
    ]
    assert main(["models", "path", "nano-teacher"]) == 0
    assert capsys.readouterr().out == f"{bundle_folder('nano-teacher')}\n"


def test_verify_by_name_finds_damage(preset: str, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", preset]) == main(["models", "verify", preset]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["ok   lab/sd", "ok   lab/lora/a.safetensors"]
    [link] = hub.cache.glob("models--lab--lora/snapshots/*/a.safetensors")
    blob = link.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    assert main(["models", "verify", preset]) == 3
    out, err = capsys.readouterr()
    assert out.splitlines() == ["ok   lab/sd", "bad  lab/lora/a.safetensors"]
    assert f"run: stdvid models pull {preset}, which gets it anew" in err
    assert main(["models", "verify", preset, "--json"]) == 3
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["exit_code"]) == ("error", 3)
    assert main(["models", "pull", preset]) == main(["models", "verify", preset]) == 0


def test_verify_without_a_name_is_all_that_is_here(bundled: str, capsys: pytest.CaptureFixture[str]) -> None:
    embedded = [str(bundle_folder(name)) for name in bundle_names()]
    assert main(["models", "verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "checked": embedded}
    assert main(["models", "pull", "lab/sd", "-q"]) == 0
    assert main(["models", "verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checked"] == [*embedded, "lab/sd"]
    assert main(["models", "verify", bundled]) == 3  # asked for by its name it has to be there
    assert "run: stdvid models pull hub-sd" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["list", "pull", "verify", "path"])
def test_an_unknown_name_is_wrong_usage(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", command, "nanoo"]) == 2
    out, err = capsys.readouterr()
    assert (out, "did you mean 'nano'?" in err) == ("", True)
    assert main(["models", command, "lab--x/sd"]) == 2
    assert "is no id of the hub" in capsys.readouterr().err
    assert main(["models", command, "none.toml"]) == 2


def test_a_local_model_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[model]\nbase = "./none"\n')
    assert main(["models", "path", str(path)]) == 3
    assert "correct its path" in capsys.readouterr().err


def test_offline_is_a_failure_of_one_line(
    preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["models", "pull", preset]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "HF_HUB_OFFLINE is set" in err
