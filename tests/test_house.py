"""The rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"stdvid": "stdvid", "cli": "stdvid_cli", "presets": "stdvid_presets"}
CODE = [*PACKAGES, "tests", "docs", "benchmarks"]
MAX_LINES = 400
MAX_STYLE_BYTES, MAX_DEMO_BYTES = 150_000, 1_500_000
BINARY = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".mp4", ".mkv", ".webm", ".safetensors", ".bin"}
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:work|farm|tmp|root|home/\w+)/")
VAGUE_NAMES = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py"}


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def repository_files() -> list[Path]:
    """What git tracks or would: everything that is not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [path for path in (ROOT / name for name in listed.split("\0") if name) if path.is_file()]


def is_checkout() -> bool:
    return (ROOT / ".git").exists()


def run_python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in python_files(*CODE)}
    assert len(lengths) > 30
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > MAX_LINES} == {}


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [path for path in python_files(*CODE) if path.name in VAGUE_NAMES] == []


def undocumented(path: Path) -> Iterator[str]:
    """The module itself and its public functions and classes that have no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if tree.body and not ast.get_docstring(tree):
        yield f"{path.relative_to(ROOT)}"
    for node in tree.body:
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ):
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_everything_public_is_documented() -> None:
    assert [name for path in python_files("stdvid", "cli") for name in undocumented(path)] == []


@pytest.mark.skipif(not is_checkout(), reason="needs a git checkout to know which files count")
def test_no_text_names_a_path_of_some_machine() -> None:
    found = []
    for path in repository_files():
        if path.suffix.lower() in BINARY:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_the_front_door_is_light(tmp_path: Path) -> None:
    heavy = ("torch", "diffusers", "huggingface_hub", "av", "decord", "cv2", "accelerate", "PIL")
    code = f"import stdvid_cli.app, sys; print([name for name in {heavy!r} if name in sys.modules])"
    done = run_python(code, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_generic_names_stay_free(tmp_path: Path) -> None:
    done = run_python("import importlib.util as u; print(u.find_spec('cli'), u.find_spec('presets'))", tmp_path)
    assert done.stdout.strip() == "None None", done.stderr
    assert set((distribution("stdvid").read_text("top_level.txt") or "").split()) == set(PACKAGES.values())


def test_every_package_is_named_in_pyproject() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    found = set()
    for folder, name in PACKAGES.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([name, *init.parent.relative_to(ROOT / folder).parts]))
    assert set(named) == found


@pytest.mark.parametrize("kind", ["stylize", "distill"])
def test_every_preset_file_parses(kind: str) -> None:
    paths = [path for path in (files("stdvid_presets") / kind).iterdir() if path.name.endswith(".toml")]
    assert paths
    for path in paths:
        assert tomllib.loads(path.read_text(encoding="utf-8")), path.name


def test_bundled_assets_are_small_and_their_origin_is_told() -> None:
    for folder, suffix, limit, least in (("styles", ".jpg", MAX_STYLE_BYTES, 6), ("demo", ".mp4", MAX_DEMO_BYTES, 1)):
        place = ROOT / "presets" / folder
        told = (place / "SOURCES.md").read_text(encoding="utf-8")
        assets = [path for path in place.iterdir() if path.name != "SOURCES.md"]
        assert len(assets) >= least
        for path in assets:
            assert path.suffix == suffix
            assert path.stat().st_size <= limit, path.name
            assert f"`{path.stem}`" in told or f"`{path.name}`" in told, path.name
            assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", path.stem), path.name
