"""stdvid doctor tells what is there, and fails for what is needed and not there."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from stdvid.errors import ModelError
from stdvid_cli import doctor, names
from stdvid_cli.app import main
from stdvid_cli.doctor import Finding, examine


def by_name() -> dict[str, Finding]:
    return {finding.name: finding for finding in examine()}


def test_it_speaks_of_everything() -> None:
    import av
    import torch

    found = by_name()
    assert {"stdvid", "python", "torch", "devices", "threads", "av", "encoders", "decoders", "presets"} <= set(found)
    assert {"styles", "model", "memory"} <= set(found)
    assert found["torch"].found == torch.__version__
    assert found["av"].found.startswith(av.__version__)
    assert "libx264" in found["encoders"].found
    assert "nano-fast" in found["presets"].found
    assert "cpu" in found["devices"].found


def test_this_installation_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert {f["status"] for f in report["findings"]} <= {"ok", "hint"}


def test_text_has_a_line_a_finding_and_the_hint_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = [Finding("a", "ok", "fine"), Finding("long", "fail", "broken", "mend it")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    assert main(["doctor"]) == 1
    out, err = capsys.readouterr()
    assert out == "ok    a     fine\nfail  long  broken\n            -> mend it\n"
    assert err == ""
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        raise ImportError("libtorch.so: cannot open shared object file")

    def damaged() -> Iterator[Finding]:
        raise ModelError("weights damaged")

    monkeypatch.setattr(doctor, "_torch", broken)
    monkeypatch.setattr(doctor, "_presets", damaged)
    found = by_name()
    assert found["torch"].status == "fail"
    assert "libtorch.so" in found["torch"].found
    assert found["presets"] == Finding("presets", "fail", "weights damaged")
    assert found["av"].status == "ok"


def test_damaged_or_missing_styles_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    monkeypatch.setattr(names, "bundled_styles", lambda: {"bad": bad})
    assert by_name()["styles"].status == "fail"
    assert "bad" in by_name()["styles"].found
    monkeypatch.setattr(names, "bundled_styles", dict)
    assert by_name()["styles"].status == "fail"


def test_a_missing_encoder_fails_only_if_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_has_codec", lambda name, mode: name != "libx265")
    assert by_name()["encoders"].status == "ok"
    assert "absent: libx265" in by_name()["encoders"].found
    monkeypatch.setattr(doctor, "_has_codec", lambda name, mode: name != "libx264")
    assert by_name()["encoders"].status == "fail"
    assert by_name()["decoders"].status == "ok"


def test_a_damaged_model_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from stdvid.models import bundle

    def damaged(base: str) -> bundle.Bundle:
        raise ModelError(f"{base}: hash differs")

    monkeypatch.setattr(bundle, "read_bundle", damaged)
    assert by_name()["model"].status == "fail"


def test_an_allocator_that_keeps_what_is_freed_is_told_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = by_name().get("memory")
    if not Path("/proc/self/maps").exists():
        assert finding is None
        return
    assert finding is not None
    loaded = "jemalloc" in Path("/proc/self/maps").read_text(errors="replace")
    assert finding.status == ("ok" if loaded or platform.libc_ver()[0] == "glibc" else "hint")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    other = by_name()["memory"]
    assert other.status == ("ok" if loaded else "hint")
    assert loaded or "MALLOC_CONF" in other.hint
