"""A preview shows the very frame that a run makes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from clips import picture

from stdvid.config import StylizeConfig
from stdvid.errors import InputError, UsageError
from stdvid.media.reader import PyAVReader
from stdvid.media.timebase import parse_time_point
from stdvid.painter import read_reference
from stdvid.preview import find_moment, paint_moment, sheet, variations
from stdvid.schema import merge
from stdvid.stylize import Job, plan, run
from stdvid_cli.app import main

Clip = Callable[..., Path]
CPU = torch.device("cpu")
FAST = {
    "sampling": {"steps": 1, "style_guidance": 0},
    "video": {"size": 32, "window": 5, "overlap": 2},
    "encode": {"crf": 0, "codec": "libx264rgb", "enc": {"preset": "ultrafast"}},
}
N = 17


@pytest.fixture
def source(clip: Clip) -> Path:
    """Two shots, of 9 and 8 frames."""
    images = [picture(64, 48, k // 9) // (1 + k // 9) + k for k in range(N)]
    return clip("two.mp4", n=N, images=images)


def test_it_is_the_frame_of_the_whole_run(source: Path, style: Path, tmp_path: Path) -> None:
    config = merge(merge(StylizeConfig(), FAST), {"video": {"consistency": "noise"}})
    run(plan(Job(source=source, styles=(style,), output=tmp_path / "whole.mkv", config=config)))
    with PyAVReader(tmp_path / "whole.mkv") as reader:
        whole = [frame.image.astype(int) for frame in reader]
    references = [read_reference(style)]
    for k in (0, 3, 4, 8, 9, 12, N - 1):  # in one window and in two, at both sides of the cut, and the ends
        moment = find_moment(source, parse_time_point(f"{k}f"), config)
        assert moment.frame.index == k
        painted = paint_moment(moment, references, config, CPU).image.astype(int)
        assert int(abs(painted - whole[k]).max()) <= 4  # as far as groups of other sizes round apart
        assert float(abs(painted - whole[k]).mean()) < 0.5
    assert len(find_moment(source, parse_time_point("3f"), config).windows) == 2


def test_with_flow_colours_are_those_of_the_run(source: Path, style: Path, tmp_path: Path) -> None:
    config = merge(StylizeConfig(), FAST)
    run(plan(Job(source=source, styles=(style,), output=tmp_path / "whole.mkv", config=config)))
    with PyAVReader(tmp_path / "whole.mkv") as reader:
        whole = [frame.image.astype(float) for frame in reader]
    for k in (0, 4, 8, 9, N - 1):
        painted = paint_moment(
            find_moment(source, parse_time_point(f"{k}f"), config), [read_reference(style)], config, CPU
        )
        limit = 4 if k in (8, N - 1) else 0.5  # in a shot's first window it is the very frame
        assert float(abs(painted.image.mean((0, 1)) - whole[k].mean((0, 1))).max()) < limit


def test_time_and_middle_find_their_frame(source: Path) -> None:
    config = merge(StylizeConfig(), FAST)
    assert find_moment(source, parse_time_point("0.4"), config).frame.index == 10
    assert find_moment(source, None, config).frame.index == N // 2
    with pytest.raises(InputError, match=f"has {N} frames and none at"):
        find_moment(source, parse_time_point("99f"), config)


def test_settings_are_combined_and_strange_ones_refused() -> None:
    grid = {"steps": [1, 2], "color": [0, 0.5, 1]}
    assert len(list(variations(grid))) == 6
    assert list(variations({})) == [{}]
    with pytest.raises(UsageError, match="cannot vary 'size'"):
        list(variations({"size": [32]}))


def test_a_sheet_has_a_row_a_moment_and_a_column_a_value(source: Path, style: Path) -> None:
    config = merge(StylizeConfig(), FAST)
    moments = [parse_time_point(text) for text in ("2f", "11f")]
    styles = {"style": [read_reference(style)]}
    image = sheet(source, moments, styles, config, {"steps": [1, 2, 3]}, CPU)
    height, width = 32 + 22, 42 + 4
    assert image.shape == (2 * height, 4 * width, 3)
    with PyAVReader(source, size=(42, 32)) as reader:
        originals = [frame.image for frame in reader]
    assert np.array_equal(image[:32, :42], originals[2])
    assert np.array_equal(image[height : height + 32, :42], originals[11])
    cells = [image[:32, k * width : k * width + 42].astype(int) for k in range(4)]
    assert all(abs(a - b).mean() > 0.3 for a, b in itertools.pairwise(cells))


def test_the_command_writes_a_sheet(source: Path, style: Path, tmp_path: Path) -> None:
    target = tmp_path / "s.png"
    command = ["preview", str(source), "--style", str(style), "--size", "32", "-o", str(target), "--at", "3f"]
    assert main([*command, "--sheet", "steps=1,2", "style-scale=1,2,3"]) == 0
    image = cv2.imread(str(target))
    assert image is not None
    assert image.shape[:2] == (2 * 54, 4 * 46)
    assert main(command) == 2  # it exists
    assert main([*command, "-y"]) == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--sheet", "steps=a"], 2, "not KEY=NUMBER"),
        (["--sheet", "size=1,2"], 2, "cannot vary"),
        (["--sheet", "steps=0"], 2, "steps is 0"),
        (["--at", "99f"], 3, "none at"),
        (["-o", "x.jpg"], 2, "is a PNG"),
    ],
)
def test_mistakes_are_said_in_a_line(
    source: Path,
    style: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    message: str,
) -> None:
    target = tmp_path / "s.png"
    assert main(["preview", str(source), "--style", str(style), "--size", "32", "-o", str(target), *options]) == code
    assert message in capsys.readouterr().err
    assert not target.exists()
    assert main(["preview", str(source)]) == 2
