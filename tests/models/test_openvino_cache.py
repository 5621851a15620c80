"""Compiled graphs on disk: read again they compute the same; what cannot be read is made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

openvino = pytest.importorskip("openvino")
from openvino import opset13 as ops  # noqa: E402  (where it is installed)

from stdvid.models import openvino_cache, openvino_trial  # noqa: E402
from stdvid.models.openvino_cache import KEPT, SUFFIX, compiled_once  # noqa: E402

Graph = tuple[bytes, bytes]


def graph(tmp_path: Path, seed: int = 0) -> Graph:
    """Rows of 8 numbers, times a matrix."""
    given = ops.parameter([-1, 8], np.float32)
    weights = ops.constant(np.random.default_rng(seed).standard_normal((8, 4)).astype(np.float32))
    path = tmp_path / "graph.xml"
    openvino.save_model(openvino.Model([ops.matmul(given, weights, False, False)], [given]), path)
    return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def out_of(model: Any) -> np.ndarray:
    return np.array(model([np.arange(16, dtype=np.float32).reshape(2, 8)])[0])


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(openvino_trial.platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept(cache: Path) -> list[Path]:
    assert not list(cache.rglob("*.new"))
    return sorted(cache.rglob(f"*{SUFFIX}"))


def no_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_cache, "compiled", lambda *_: pytest.fail("compiled again"))


def test_the_second_time_it_is_read_and_the_same(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = graph(tmp_path)
    first = out_of(compiled_once(*given, 1))
    assert len(kept(cache)) == 1
    with monkeypatch.context() as patched:
        no_compiling(patched)
        np.testing.assert_array_equal(out_of(compiled_once(*given, 1)), first)
    compiled_once(*given, 2)  # other threads, another graph
    other = compiled_once(*graph(tmp_path, 1), 1)
    assert len(kept(cache)) == 3
    assert not np.array_equal(out_of(other), first)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no graph"])
def test_what_is_damaged_is_made_anew(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    given = graph(tmp_path)
    first = out_of(compiled_once(*given, 1))
    (path,) = kept(cache)
    whole = path.read_bytes()
    blob = b"no graph"
    bad = {
        "cut": whole[:-100],
        "flipped": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
        "empty": b"",
        "no graph": openvino_cache.hashlib.sha256(blob).digest() + blob,
    }
    path.write_bytes(bad[damage])
    np.testing.assert_array_equal(out_of(compiled_once(*given, 1)), first)
    no_compiling(monkeypatch)
    np.testing.assert_array_equal(out_of(compiled_once(*given, 1)), first)


def test_where_nothing_can_be_kept_it_is_compiled(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    given = graph(tmp_path)
    np.testing.assert_array_equal(out_of(compiled_once(*given, 1)), out_of(compiled_once(*given, 1)))


def test_those_that_were_read_last_stay(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = graph(tmp_path)
    for seed in range(KEPT):
        compiled_once(*graph(tmp_path, seed), 1)
    compiled_once(*first, 1)
    compiled_once(*graph(tmp_path, KEPT), 1)
    assert len(kept(cache)) == KEPT
    no_compiling(monkeypatch)
    compiled_once(*first, 1)
