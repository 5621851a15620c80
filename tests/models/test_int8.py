"""nano in int8: what OpenVINO computes beside what torch does, from a tiny network that is quantized here."""

from __future__ import annotations

import builtins
import dataclasses
import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stdvid.config import ModelConfig
from stdvid.diffusion.sampler import sample, sample_last
from stdvid.diffusion.schedule import sampling_times
from stdvid.distill.data import Pool
from stdvid.distill.quantize import quantize
from stdvid.errors import ModelError, UsageError
from stdvid.models import openvino_graph, openvino_trial
from stdvid.models.bundle import MANIFEST, Bundle, Trained, read_bundle, write_bundle
from stdvid.models.catalogue import decide_precision, find_model
from stdvid.models.nano import Nano
from stdvid.models.nano_stylizer import NanoStylizer
from stdvid.models.openvino_trial import Verdict, openvino_version, verdict_file
from stdvid.models.stylizer import Condition, to_tensor

from .conftest import TINY

pytest.importorskip("openvino")
nncf = pytest.importorskip("nncf")

pytestmark = pytest.mark.filterwarnings("ignore")

CPU = torch.device("cpu")
NEAR = 0.1
"""Of x_0 in int8 from that in fp32, relative."""


def pictures(count: int, seed: int) -> Pool:
    """Smooth random ones."""
    rng, images = np.random.default_rng(seed), []
    for _ in range(count):
        coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 6, 8)).astype(np.float32))
        fine = torch.nn.functional.interpolate(coarse, (96, 128), mode="bicubic").clamp(0, 255)
        images.append(fine[0].permute(1, 2, 0).numpy().astype(np.uint8))
    names = tuple(f"{n}.png" for n in range(count))
    return Pool(names, tuple(images), np.full(count, 1 / count))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a tiny student with its int8 network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Nano(**TINY)  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("int8") / "tiny"
    write_bundle(folder, "tiny", TINY, [Trained(model, 0.6, 599)], "# Tiny\n")
    ((entry, error),) = quantize(str(folder), pictures(4, 0), pictures(4, 1), pairs=1)
    assert entry.int8 is not None
    assert error < NEAR
    return folder


@pytest.fixture
def bundle(written: Path) -> Bundle:
    return read_bundle(str(written))


def loaded(bundle: Bundle, precision: Any) -> NanoStylizer:
    return dataclasses.replace(bundle, precision=precision).load(bundle.networks[0], CPU)


@pytest.fixture(scope="module")
def both(written: Path) -> tuple[NanoStylizer, NanoStylizer]:
    """It in fp32 and in int8."""
    bundle = read_bundle(str(written))
    return loaded(bundle, "fp32"), loaded(bundle, "int8")


def bound(stylizer: NanoStylizer, count: int, size: tuple[int, int], references: int = 1) -> Condition:
    style = stylizer.read_style(pictures(references, 2).images, 1.5)
    frames = np.stack([image[: size[0], : size[1]] for image in pictures(count, 3).images])
    return stylizer.condition(to_tensor(frames), style, 1.0)


def noisy(condition: Condition, t: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.randn(condition.x_0.shape, generator=torch.Generator().manual_seed(0))
    return 0.7 * condition.x_0 + 0.7 * noise, torch.full((len(noise),), t)


def assert_near(found: torch.Tensor, expected: torch.Tensor, limit: float = NEAR) -> None:
    assert found.dtype is torch.float32
    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < limit


@pytest.mark.parametrize(("count", "size", "references"), [(1, (64, 64), 1), (3, (33, 70), 1), (2, (96, 128), 2)])
def test_a_call_is_that_of_torch(
    both: tuple[NanoStylizer, NanoStylizer], count: int, size: tuple[int, int], references: int
) -> None:
    exact, quick = ((s, bound(s, count, size, references)) for s in both)
    x, t = noisy(exact[1])
    for guidance in (1.0, 2.0):
        a, b = (s.denoiser(condition, guidance)(x, t) for s, condition in (exact, quick))
        assert_near(b, a)


def test_a_result_stays_when_the_network_goes_on(both: tuple[NanoStylizer, NanoStylizer]) -> None:
    quick = both[1]
    condition = bound(quick, 1, (48, 64))
    x, t = noisy(condition)
    first = quick.denoiser(condition)(x, t)
    copy = first.clone()
    quick.denoiser(condition)(-x, t)
    assert torch.equal(first, copy)


def test_a_picture_of_four_steps_is_that_of_torch() -> None:
    ends, embedded = [], read_bundle("nano")
    for stylizer in (loaded(embedded, "fp32"), loaded(embedded, "int8")):
        condition = bound(stylizer, 2, (64, 96))
        steps = sample(stylizer.denoiser(condition), noisy(condition)[0], sampling_times(599, 4), stylizer.schedule)
        ends.append(stylizer.decode(sample_last(steps)))
    assert float((ends[0] - ends[1]).abs().mean()) * 127.5 < 4


def test_threads_side_by_side_paint_what_one_does(both: tuple[NanoStylizer, NanoStylizer]) -> None:
    quick = both[1]
    conditions = [bound(quick, 1, (48 + 16 * n, 64)) for n in range(3)] * 3
    gate = threading.Barrier(3)

    def painted(condition: Condition) -> torch.Tensor:
        gate.wait(30)
        return quick.denoiser(condition)(*noisy(condition))

    alone = [quick.denoiser(condition)(*noisy(condition)) for condition in conditions]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(painted, conditions))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("name", ["file", "weights"])
@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_damaged_file_is_refused_before_it_is_parsed(bundle: Bundle, tmp_path: Path, name: str, damage: str) -> None:
    for path in bundle.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    hurt = read_bundle(str(tmp_path))
    path = tmp_path / getattr(hurt.networks[0].int8, name)
    if damage == "gone":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    for attempt in (lambda: loaded(hurt, "int8"), hurt.verify, lambda: hurt.int8_works(hurt.networks[0])):
        with pytest.raises(ModelError, match=r"SHA-256|cannot be read"):
            attempt()
    loaded(hurt, "fp32")


def test_a_graph_of_something_else_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    import hashlib

    for path in bundle.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    facts = manifest["networks"][0]["int8"]
    (tmp_path / facts["file"]).write_text("<net/>")
    facts["sha256"] = hashlib.sha256(b"<net/>").hexdigest()
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="cannot be run here"):
        loaded(read_bundle(str(tmp_path)), "int8")


def test_a_graph_of_other_weights_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    for path in bundle.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["networks"][0]["int8"]["of"] = "0" * 64
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="of other weights"):
        loaded(read_bundle(str(tmp_path)), "int8")


def decided(bundle: Bundle, precision: Any = "auto", device: str = "cpu") -> tuple[str, str | None]:
    model = ModelConfig(base=str(bundle.folder), precision=precision)
    settled, note = decide_precision(model, bundle, bundle.networks[0], torch.device(device))
    return settled.precision, note


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(openvino_trial.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_int8_is_tried_out_once_and_taken(bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert decided(bundle) == ("int8", None)
    monkeypatch.setattr(openvino_trial.subprocess, "run", lambda *_, **__: pytest.fail("a second trial"))
    assert decided(bundle) == decided(bundle, "int8") == ("int8", None)
    assert decided(bundle, "fp32") == ("fp32", None)
    assert decided(bundle, "auto", "cuda") == ("auto", None)
    with pytest.raises(UsageError, match="for CPUs"):
        decided(bundle, "int8", "cuda")


def verdict_of(bundle: Bundle) -> Path:
    int8 = bundle.networks[0].int8
    assert int8 is not None
    return verdict_file(int8.sha256, int8.weights_sha256)


def test_a_bad_verdict_is_remembered_and_torch_paints(bundle: Bundle, cache: Path) -> None:
    path = verdict_of(bundle)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(dataclasses.asdict(Verdict(False, "OpenVINO failed in a trial (exit code -11)"))))
    precision, note = decided(bundle)
    assert precision in ("fp32", "bf16")
    assert note == "int8 is not used: OpenVINO failed in a trial (exit code -11); torch takes about twice as long"
    with pytest.raises(UsageError, match="exit code -11"):
        decided(bundle, "int8")


def test_a_signal_ends_nothing_when_networks_have_come_and_gone(written: Path) -> None:
    """With a Core each, the stack of signal handlers was one that had gone with the first of them."""
    code = """
import gc, os, pathlib, signal, sys
from stdvid.models.openvino_graph import compiled
files = [pathlib.Path(path).read_bytes() for path in sys.argv[1:]]
first, second = compiled(*files, 1), compiled(*files, 1)
for name in ("first", "second"):
    del globals()[name]
    gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("asked to stop"))
os.kill(os.getpid(), signal.SIGINT)
"""
    graph = next(written.glob("*.xml"))
    command = [sys.executable, "-c", code, str(graph), str(graph.with_suffix(".bin"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "asked to stop\n")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"works": 1, "why": "", "rest": ""}', '{"works": true}'])
def test_a_verdict_that_cannot_be_read_is_no_verdict(bundle: Bundle, cache: Path, text: str) -> None:
    path = verdict_of(bundle)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert openvino_trial._read(path) is None


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import os; os.abort()", "exit code -6"),
        ("print('hello')", "left no results"),
        ("import sys, numpy as np; np.savez(sys.argv[4], **{'0': np.zeros(3), '1': np.zeros(3)}); "
         "print('{\"rest\": \"f32\"}')", "something else than torch"),
    ],
)  # fmt: skip
def test_a_crash_in_a_trial_is_that_of_the_child_alone(
    bundle: Bundle, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, why: str
) -> None:
    child = tmp_path / "child.py"
    child.write_text(program)
    monkeypatch.setattr(openvino_trial.openvino_graph, "__file__", str(child))
    found = bundle.int8_works(bundle.networks[0])
    assert not found.works
    assert why in found.why
    assert verdict_of(bundle).exists() == ("left no results" not in why)


def test_what_to_try_by_comes_with_a_network_or_is_made_here(
    bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[openvino_trial.Examples] = []
    monkeypatch.setattr(openvino_trial, "_try", lambda *given: (met.append(given[2:]), (Verdict(True), False))[1])
    entry = bundle.networks[0]
    assert entry.int8 is not None
    assert entry.int8.trial
    older = dataclasses.replace(entry, int8=dataclasses.replace(entry.int8, trial="", trial_sha256=""))
    assert bundle.int8_works(entry).works
    assert bundle.int8_works(older).works
    (calls, expected), (calls_here, expected_here) = met
    for ours, theirs in [*zip(calls, calls_here, strict=True), ({"x_0": expected}, {"x_0": expected_here})]:
        assert ours.keys() == theirs.keys()
        for name, values in ours.items():
            for one, other in zip(values, theirs[name], strict=True):
                np.testing.assert_allclose(one, other, atol=5e-3, rtol=2e-3)


def test_a_trial_of_the_embedded_network_needs_no_unet_of_torch(cache: Path) -> None:
    """To import it takes longer than all the rest of a first run."""
    code = """
import sys
from stdvid.models.bundle import read_bundle
bundle = read_bundle("nano")
assert bundle.int8_works(bundle.networks[0]).works
assert "stdvid.models.nano" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_damaged_file_to_try_by_is_refused(bundle: Bundle, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(bundle.folder, folder)
    next(folder.glob("*.trial.safetensors")).write_bytes(b"else")
    with pytest.raises(ModelError, match="trial"):
        read_bundle(str(folder)).int8_works(bundle.networks[0])


def test_a_place_that_cannot_be_written_costs_a_trial_each_time(bundle: Bundle, cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    assert decided(bundle) == ("int8", None)


def test_without_openvino_torch_paints_and_it_is_said(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def blocked(name: str, *args: Any, **options: Any) -> Any:
        if name.split(".")[0] == "openvino":
            raise ImportError("blocked")
        return imported(name, *args, **options)

    monkeypatch.setattr(openvino_graph, "runtime", openvino_graph.runtime.__wrapped__)  # as before it was first called
    monkeypatch.setattr(builtins, "__import__", blocked)
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert openvino_version() is None
    precision, note = decided(bundle)
    assert precision in ("fp32", "bf16")
    assert note is not None
    assert "not installed" in note
    with pytest.raises(UsageError, match="not installed"):
        decided(bundle, "int8")
    with pytest.raises(ModelError, match="cannot be run here"):
        loaded(bundle, "int8")


def test_what_has_no_int8_network_says_so_only_when_asked(tmp_path: Path, tiny_nano: Nano) -> None:
    plain = write_bundle(tmp_path / "plain", "plain", TINY, [Trained(tiny_nano, 0.6, 599)], "# Plain\n")
    precision, note = decided(plain)
    assert precision in ("fp32", "bf16")
    assert note is None
    with pytest.raises(UsageError, match="stdvid distill quantize makes one"):
        decided(plain, "int8")
    with pytest.raises(ModelError, match="no int8 network"):
        loaded(plain, "int8")


def test_fp16_is_for_models_of_the_hub(bundle: Bundle) -> None:
    from stdvid.config import SamplingConfig

    with pytest.raises(UsageError, match="takes no precision fp16"):
        find_model(ModelConfig(base=str(bundle.folder), precision="fp16"), SamplingConfig())


@pytest.mark.parametrize("facts", ["x", {}, {"file": "a", "sha256": "b"}, {"file": 1}, ["a"]])
def test_a_manifest_that_says_something_else_of_it_is_refused(bundle: Bundle, tmp_path: Path, facts: Any) -> None:
    manifest = json.loads((bundle.folder / MANIFEST).read_text())
    manifest["networks"][0]["int8"] = facts
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="not a model bundle"):
        read_bundle(str(tmp_path))


def test_its_files_lie_beside_the_manifest(bundle: Bundle, tmp_path: Path) -> None:
    manifest = json.loads((bundle.folder / MANIFEST).read_text())
    manifest["networks"][0]["int8"]["weights"] = "../weights.bin"
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="names no weight file beside it"):
        read_bundle(str(tmp_path))
