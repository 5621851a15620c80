import subprocess
import sys

import pytest

from stdvid.errors import InputError
from stdvid.media import random_access
from stdvid.media.random_access import DecordReader


def test_frames_by_number_in_any_order(clip, pictures):
    with DecordReader(clip("r.mp4", n=12)) as reader:
        assert len(reader) == 12
        images = reader.get([7, 0, 7])
    assert images.shape == (3, 48, 64, 3)
    for image, number in zip(images, (7, 0, 7), strict=True):
        assert abs(pictures.quadrants(image) - pictures.quadrants(pictures.make(64, 48, number))).max() <= 30


def test_size(clip):
    with DecordReader(clip("r.mp4", n=12), size=(32, 24)) as reader:
        assert reader.get([3]).shape == (1, 24, 32, 3)


@pytest.mark.parametrize("indices", [[], [-1], [12]])
def test_numbers_outside_are_index_errors(clip, indices):
    with DecordReader(clip("r.mp4", n=12)) as reader, pytest.raises(IndexError, match=r"0\.\.11"):
        reader.get(indices)


def test_what_decord_cannot_open_is_an_input_error(tmp_path):
    (tmp_path / "no.mp4").write_text("nothing of the kind")
    with pytest.raises(InputError, match="decord cannot read"):
        DecordReader(tmp_path / "no.mp4")


def test_a_hanging_decoder_is_ended_after_the_time_out(clip, monkeypatch):
    started = []

    def hang(command, **options):
        started.append(subprocess_popen([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return started[0]

    subprocess_popen = subprocess.Popen
    monkeypatch.setattr(random_access.subprocess, "Popen", hang)
    with pytest.raises(InputError, match=r"no answer within 0\.2 s"):
        DecordReader(clip("r.mp4", n=12), timeout_s=0.2)
    assert started[0].poll() is not None
