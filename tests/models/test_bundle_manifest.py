"""Manifests: every way to damage one is refused, hashes are those of the files, and strengths find their network."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from stdvid.diffusion.schedule import cosine
from stdvid.errors import ModelError, UsageError
from stdvid.models.bundle import CARD, FORMAT, MANIFEST, Bundle, NetworkEntry, Trained, read_bundle, write_bundle
from stdvid.models.nano import Nano

from .conftest import TINY

CPU = torch.device("cpu")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Nano(**TINY)  # type: ignore[arg-type]
    return write_bundle(
        tmp_path_factory.mktemp("written") / "tiny", "tiny", TINY, [Trained(model, 0.6, 599)], "# Tiny\n"
    ).folder


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Bundle:
    """A copy to damage."""
    return read_bundle(str(shutil.copytree(written, tmp_path / "tiny")))


def edit(bundle: Bundle, change: Change) -> str:
    """Change the manifest on disk; the folder as text."""
    path = bundle.folder / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return str(bundle.folder)


def students(*strengths: float | None) -> Bundle:
    networks = tuple(
        NetworkEntry(f"{s}.safetensors", "", s, 899 if s is None else round(1000 * s) - 1) for s in strengths
    )
    return Bundle(Path("nowhere"), "tiny", {}, "cosine", 1.0, "Apache-2.0", networks)


@pytest.mark.parametrize(
    "key", ["format", "name", "architecture", "schedule", "flops_per_pixel", "licence", "networks"]
)
def test_every_key_is_needed(bundle: Bundle, key: str) -> None:
    with pytest.raises(ModelError, match=f"needs a {MANIFEST} of {FORMAT}"):
        read_bundle(edit(bundle, lambda m: m.pop(key)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(format="stdvid-bundle/2"), "not a model bundle"),
        (lambda m: m.update(schedule="linear"), "not a model bundle"),
        (lambda m: m.update(schedule=["cosine"]), "not a model bundle"),
        (lambda m: m.update(author="me"), "not a model bundle"),
        (lambda m: m.update(networks=[["teacher.safetensors"]]), "not a model bundle"),
        (lambda m: m["networks"][0].pop("sha256"), "not a model bundle"),
        (lambda m: m["networks"][0].update(file=5), "not a model bundle"),
        (lambda m: m["networks"][0].update(sha256=5), "not a model bundle"),
        (lambda m: m["networks"][0].update(strength="0.6"), "not a model bundle"),
        (lambda m: m["networks"][0].update(start="599"), "not a model bundle"),
        (lambda m: m["networks"][0].update(size=3), "not a model bundle"),
        (lambda m: m.update(networks=[]), "names no weight file beside it"),
        (lambda m: m["networks"][0].update(file="sub/teacher.safetensors"), "names no weight file beside it"),
        (lambda m: m["networks"][0].update(file="/teacher.safetensors"), "names no weight file beside it"),
        (lambda m: m["networks"][0].update(file="."), "names no weight file beside it"),
    ],
)
def test_a_damaged_manifest_is_refused_when_it_is_read(bundle: Bundle, change: Change, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_bundle(edit(bundle, change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["networks"][0].update(file=".."), "cannot be read"),
        (lambda m: m["networks"][0].update(file=MANIFEST), "SHA-256"),
        (lambda m: m["networks"][0].update(sha256="0" * 64), "its manifest says 000000000000"),
        (lambda m: m["networks"][0].update(sha256=m["networks"][0]["sha256"].upper()), "SHA-256"),
        (lambda m: m["architecture"].pop("heads"), "does not fit its manifest"),
        (lambda m: m["architecture"].update(depth=9), "does not fit its manifest"),
        (lambda m: m["architecture"].update(token_dim=32), "does not fit its manifest"),
    ],
)
def test_what_the_manifest_says_of_its_weights_is_checked_when_they_load(
    bundle: Bundle, change: Change, words: str
) -> None:
    damaged = read_bundle(edit(bundle, change))
    with pytest.raises(ModelError, match=words):
        damaged.load(damaged.networks[0], CPU)


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"{", b"null", b'"text"'])
def test_files_that_are_no_json_object_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ModelError, match="not a model bundle"):
        read_bundle(str(tmp_path))


def test_a_file_is_no_bundle_and_an_empty_folder_neither(tmp_path: Path) -> None:
    file = tmp_path / "nano"
    file.write_bytes(b"weights")
    with pytest.raises(UsageError, match="or give a bundle folder"):
        read_bundle(str(file))
    with pytest.raises(ModelError, match="not a model bundle"):
        read_bundle(str(tmp_path))


@pytest.mark.parametrize("damage", ["truncated", "text", "missing tensor", "extra tensor"])
def test_weights_that_do_not_fit_are_refused_even_if_their_hash_does(bundle: Bundle, damage: str) -> None:
    path = bundle.folder / bundle.networks[0].file
    tensors = load_file(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-64])
    elif damage == "text":
        path.write_text("weights")
    elif damage == "missing tensor":
        save_file(dict(list(tensors.items())[1:]), path)
    else:
        save_file({**tensors, "more": torch.zeros(1)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    other = read_bundle(edit(bundle, lambda m: m["networks"][0].update(sha256=digest)))
    other.verify()
    with pytest.raises(ModelError, match="does not fit its manifest"):
        other.load(other.networks[0], CPU)


def test_what_is_written_is_described(bundle: Bundle, tiny_nano: Nano) -> None:
    [entry] = bundle.networks
    path = bundle.folder / entry.file
    assert (entry.file, entry.strength, entry.start) == ("student_eta0.60.safetensors", 0.6, 599)
    assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert {v.dtype for v in load_file(path).values()} == {torch.float16}
    assert set(load_file(path)) == set(tiny_nano.state_dict())
    assert sorted(p.name for p in bundle.folder.iterdir()) == sorted([CARD, MANIFEST, entry.file])
    assert bundle.architecture == TINY
    assert torch.equal(bundle.load_schedule().alphas_cumprod, cosine().alphas_cumprod)


def test_a_loaded_network_is_frozen_and_computes_in_full_precision(bundle: Bundle) -> None:
    model = bundle.load(bundle.networks[0], CPU).model
    assert not model.training
    assert {(p.dtype, p.requires_grad) for p in model.parameters()} == {(torch.float32, False)}


def test_the_same_weights_make_the_same_bundle_and_replace_another(bundle: Bundle, tiny_nano: Nano) -> None:
    before = {p.name: p.read_bytes() for p in bundle.folder.iterdir()}
    (bundle.folder / CARD).write_text("old")
    write_bundle(bundle.folder, "tiny", TINY, [Trained(tiny_nano, 0.6, 599)], "# Tiny\n")
    assert {p.name: p.read_bytes() for p in bundle.folder.iterdir()} == before
    again = write_bundle(bundle.folder, "teacher", TINY, [Trained(tiny_nano, None, 799)], "# New\n")
    assert [n.file for n in again.networks] == ["teacher.safetensors"]
    assert again.networks[0].sha256 == bundle.networks[0].sha256
    assert (bundle.folder / CARD).read_text() == "# New\n"


@given(strengths=st.lists(st.integers(1, 100), min_size=1, max_size=5, unique=True), asked=st.floats(0.001, 1))
def test_the_nearest_student_is_chosen_and_the_rounding_told(strengths: list[int], asked: float) -> None:
    known = [s / 100 for s in strengths]
    entry, start, note = students(*known).network_for(asked)
    assert entry.strength is not None
    assert abs(entry.strength - asked) == min(abs(s - asked) for s in known)
    assert start == entry.start
    assert (note is None) == (abs(entry.strength - asked) <= 1e-9)
    if note:
        assert f"rounded to {entry.strength:g}" in note
        assert note.endswith("has students for " + ", ".join(f"{s:g}" for s in known))


def test_halfway_between_two_students_the_first_is_taken() -> None:
    assert students(0.25, 0.75).network_for(0.5)[0].strength == 0.25
    assert students(0.75, 0.25).network_for(0.5)[0].strength == 0.75


@given(strength=st.floats(0.001, 1))
def test_a_teacher_starts_on_the_solver_grid_or_says_its_limit(strength: float) -> None:
    bundle = students(None)
    if strength > 0.9:
        with pytest.raises(UsageError, match=r"above what 'tiny' was trained for; allowed is at most 0\.9"):
            bundle.network_for(strength)
        return
    _, start, note = bundle.network_for(strength)
    assert note is None
    assert (start + 1) % 20 == 0
    assert 0 <= (start + 1) / 1000 - strength + 1e-9 < 0.02 + 1e-6
