"""A wheel built from the checkout, installed into an environment of its own, used from another directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"stdvid": "stdvid", "cli": "stdvid_cli", "presets": "stdvid_presets"}
LEFT_OUT = ("__pycache__", "*.egg-info", "build")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """The wheel, and an environment that holds it and nothing else of this checkout."""

    wheel: Path
    bin: Path

    def run(self, *command: str, cwd: Path) -> str:
        """Standard output of a program of the environment; its failure is the test's."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    source, wheels, place = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "env"))
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(wheels), str(source)]
    subprocess.run(build, check=True, cwd=wheels)
    (wheel,) = wheels.glob("*.whl")
    venv.create(place, with_pip=False, symlinks=os.name != "nt")
    scripts = place / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run(
        [*pip, "--python", str(scripts / "python"), "install", "--no-deps", "--no-index", str(wheel)], check=True
    )
    # The dependencies come from the environment of the tests: a plain line in a .pth file adds a folder to the path
    # without running the import hook of an editable install that may be in it.
    (packages,) = place.rglob("site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return Installed(wheel, scripts)


def test_every_file_of_the_packages_is_in_the_wheel(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        f"{name}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, name in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == expected


def test_version_and_generic_names(installed: Installed, tmp_path: Path) -> None:
    from stdvid import __version__

    assert installed.run("stdvid", "--version", cwd=tmp_path).strip() == f"stdvid {__version__}"
    code = "import importlib.util as u, stdvid; print(u.find_spec('cli'), u.find_spec('presets'), stdvid.__file__)"
    cli, presets, file = installed.run("python", "-I", "-c", code, cwd=tmp_path).split(maxsplit=2)
    assert (cli, presets) == ("None", "None")
    assert ROOT not in Path(file).parents


def test_presets_and_styles_are_found(installed: Installed, tmp_path: Path) -> None:
    listing = installed.run("stdvid", "presets", "list", cwd=tmp_path)
    for path in (*(ROOT / "presets" / "styles").glob("*.jpg"), *(ROOT / "presets" / "stylize").glob("*.toml")):
        assert path.stem in listing


def test_it_stylizes_from_another_directory(installed: Installed, tmp_path: Path) -> None:
    shutil.copy(ROOT / "presets" / "demo" / "bunny.mp4", tmp_path)
    command = ["stdvid", "stylize", "bunny.mp4", "--style", "cafe-terrace", "-o", "out.mp4"]
    installed.run(*command, "--end", "4f", "--size", "144", "--progress", "none", cwd=tmp_path)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4
