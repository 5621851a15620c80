"""Bundles: what is written is read, and nothing damaged is ever loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from stdvid.errors import ModelError, UsageError
from stdvid.models.bundle import CARD, MANIFEST, Bundle, Trained, bundle_names, read_bundle, write_bundle
from stdvid.models.nano import Nano

from .conftest import TINY

CPU = torch.device("cpu")


@pytest.fixture
def bundle(tiny_nano: Nano, tmp_path: Path) -> Bundle:
    networks = [Trained(tiny_nano, 0.45, 459), Trained(tiny_nano, 0.6, 599)]
    return write_bundle(tmp_path / "tiny", "tiny", TINY, networks, "# Tiny\n")


@pytest.fixture
def teacher(tiny_nano: Nano, tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "teacher", "tiny-teacher", TINY, [Trained(tiny_nano, None, 799)], "# Teacher\n")


def test_round_trip_keeps_the_weights_to_half_precision(bundle: Bundle, tiny_nano: Nano) -> None:
    loaded = bundle.load(bundle.networks[1], CPU).model
    for (name, ours), theirs in zip(tiny_nano.state_dict().items(), loaded.state_dict().values(), strict=True):
        torch.testing.assert_close(ours.half().float(), theirs.contiguous(), atol=0, rtol=0, msg=name)
    assert (bundle.folder / CARD).read_text() == "# Tiny\n"
    assert bundle.flops_per_pixel > 100
    bundle.verify()


@pytest.mark.parametrize(("asked", "given", "start"), [(0.6, 0.6, 599), (0.5, 0.45, 459), (0.9, 0.6, 599)])
def test_strength_rounds_to_the_nearest_student_and_says_so(
    bundle: Bundle, asked: float, given: float, start: int
) -> None:
    entry, first, note = bundle.network_for(asked)
    assert (entry.strength, first) == (given, start)
    assert (note is None) == (asked == given)
    if note:
        assert f"rounded to {given:g}" in note


def test_teacher_starts_anywhere_that_it_was_trained(teacher: Bundle) -> None:
    assert teacher.network_for(0.5)[1:] == (499, None)
    assert teacher.network_for(0.8)[1] == 799
    with pytest.raises(UsageError, match=r"allowed is at most 0\.8"):
        teacher.network_for(0.9)


def test_one_flipped_bit_is_refused(bundle: Bundle) -> None:
    path = bundle.folder / bundle.networks[0].file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="SHA-256"):
        bundle.load(bundle.networks[0], CPU)
    with pytest.raises(ModelError, match="SHA-256"):
        bundle.verify()


def test_missing_weights_are_refused(bundle: Bundle) -> None:
    (bundle.folder / bundle.networks[0].file).unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        bundle.verify()


def test_weights_of_another_architecture_are_refused(bundle: Bundle) -> None:
    manifest = json.loads((bundle.folder / MANIFEST).read_text())
    manifest["architecture"]["channels"] = [32, 32, 32]
    (bundle.folder / MANIFEST).write_text(json.dumps(manifest))
    other = read_bundle(str(bundle.folder))
    with pytest.raises(ModelError, match="does not fit its manifest"):
        other.load(other.networks[0], CPU)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "other/1"}', '{"format": "stdvid-bundle/1", "schedule": "cosine", "networks": 3}'],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ModelError, match="not a model bundle"):
        read_bundle(str(tmp_path))


def test_a_manifest_cannot_point_out_of_its_folder(bundle: Bundle) -> None:
    manifest = json.loads((bundle.folder / MANIFEST).read_text())
    manifest["networks"][0]["file"] = "../elsewhere.safetensors"
    (bundle.folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="no weight file beside it"):
        read_bundle(str(bundle.folder))


def test_unknown_name_lists_the_embedded_ones() -> None:
    with pytest.raises(UsageError, match="no model named 'nanoo'"):
        read_bundle("nanoo")


def test_embedded_bundles_are_whole() -> None:
    assert {"nano", "nano-teacher"} <= set(bundle_names())
    total = 0
    for name in bundle_names():
        embedded = read_bundle(name)
        embedded.verify()
        sizes = [(embedded.folder / entry.file).stat().st_size for entry in embedded.networks]
        assert max(sizes) <= 25 * 2**20
        total += sum(sizes)
    assert total <= 40 * 2**20
