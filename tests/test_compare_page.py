"""The report as a browser shows it: it plays, slides and seeks, and all clips are at one frame."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stdvid_cli.app import main

pytest.importorskip("playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

Clip = Callable[..., Path]
N = 20


def shade(k: int) -> int:
    """The grey of frame k: each frame has its own."""
    return 20 + 10 * k


@pytest.fixture
def clips(clip: Clip) -> list[str]:
    lossless = {"codec": "ffv1", "pix_fmt": "yuv444p", "options": {}, "size": (96, 64)}
    rng = np.random.default_rng(0)

    def frames(invert: bool) -> list[np.ndarray]:  # type: ignore[type-arg]
        greys = [255 - shade(k) if invert else shade(k) for k in range(N)]
        return [
            np.clip(grey + rng.integers(-2, 3, (64, 96, 1)), 0, 255).astype(np.uint8).repeat(3, 2) for grey in greys
        ]

    source = clip("fade.mkv", n=N, images=frames(invert=False), **lossless)
    output = clip("inverse.mkv", n=N, images=frames(invert=True), **lossless)
    return [str(source), str(output)]


@pytest.fixture
def report(clips: list[str], tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    assert main(["compare", *clips, "--html", str(path)]) == 0
    return path


@pytest.fixture
def tab(report: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(report.as_uri())
        wait_for_frame(tab, 0)
        yield tab
        browser.close()
        assert errors == []


def wait_for_frame(tab: Any, frame: int) -> None:
    tab.wait_for_function(f"document.getElementById('count').textContent.startsWith('frame {frame} of {N},')")


def grey(tab: Any, x: float) -> float:
    """The mean grey that is shown at a share of the picture's width."""
    script = """x => {
        const c = document.getElementById("canvas");
        const d = c.getContext("2d").getImageData(Math.round(x * c.width) - 4, 20, 8, 8).data;
        return Array.from(d).filter((_, i) => i % 4 == 0).reduce((a, b) => a + b) / 64;
    }"""
    return float(tab.evaluate(script, x))


def assert_shows(tab: Any, frame: int) -> None:
    """Source on the left and output on the right, both at `frame`."""
    assert grey(tab, 0.1) == pytest.approx(shade(frame), abs=4)
    assert grey(tab, 0.9) == pytest.approx(255 - shade(frame), abs=4)


def test_it_seeks_and_steps_to_the_very_frame_of_both_clips(tab: Any) -> None:
    assert_shows(tab, 0)
    for frame in (13, 4, N - 1):
        tab.locator("#seek").fill(str(frame))
        wait_for_frame(tab, frame)
        assert_shows(tab, frame)
    tab.locator("body").press("ArrowLeft")
    wait_for_frame(tab, N - 2)
    assert_shows(tab, N - 2)


def test_it_plays_and_pauses(tab: Any) -> None:
    tab.locator("#speed").select_option("0.25")
    tab.locator("#play").click()
    tab.wait_for_function("parseInt(document.getElementById('seek').value) >= 3")
    tab.locator("#play").click()
    tab.wait_for_function("document.getElementById('play').textContent == 'play'")
    frame = int(tab.locator("#seek").input_value())
    assert frame >= 3
    tab.wait_for_timeout(300)
    assert int(tab.locator("#seek").input_value()) == frame
    assert_shows(tab, frame)


def test_the_edge_slides(tab: Any) -> None:
    box = tab.locator("#stage").bounding_box()
    middle = box["y"] + box["height"] / 2
    assert grey(tab, 0.3) == pytest.approx(shade(0), abs=4)
    tab.mouse.move(box["x"] + box["width"] / 2, middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.2, middle)
    tab.mouse.up()
    assert grey(tab, 0.1) == pytest.approx(shade(0), abs=4)
    assert grey(tab, 0.3) == pytest.approx(255 - shade(0), abs=4)


def test_any_two_clips_may_be_set_side_by_side(tab: Any) -> None:
    tab.locator("#a").select_option("1")
    assert grey(tab, 0.1) == pytest.approx(255 - shade(0), abs=4)
    assert tab.locator("#left").text_content() == "inverse.mkv"


def test_a_click_in_a_plot_goes_there(tab: Any) -> None:
    plot = tab.locator(".plot").first
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] * (0.07 + 0.91 * 10 / (N - 1)), "y": box["height"] / 2})
    wait_for_frame(tab, 10)
    assert_shows(tab, 10)


def test_it_shows_every_figure_and_needs_nothing_from_outside(tab: Any, report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert 'src="http' not in text
    rows = tab.locator("table tr")
    assert rows.count() == 3
    assert "difference bias" in rows.nth(0).text_content()
    assert "inverse.mkv" in rows.nth(2).text_content()


def test_an_existing_page_and_an_input_are_kept(
    clips: list[str], report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = report.read_bytes()
    assert main(["compare", *clips, "--html", str(report)]) == 2
    assert report.read_bytes() == before
    assert main(["compare", *clips, "--html", clips[1], "-y"]) == 2
    assert main(["compare", *clips, "--html", str(report), "-y"]) == 0
    assert [p.name for p in report.parent.iterdir() if p.suffix == ".part"] == []
    assert capsys.readouterr().err.count("error: ") == 2


def test_missing_packages_are_said_before_any_work(
    clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "stdvid.compare_page", raising=False)
    monkeypatch.setattr("stdvid.compare.compare", lambda *_: pytest.fail("it went to work"))
    assert main(["compare", *clips, "--html", str(tmp_path / "page.html")]) == 2
    assert "pip install 'stdvid[eval]'" in capsys.readouterr().err
