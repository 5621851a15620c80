import threading
from fractions import Fraction

import cv2
import numpy as np
import pytest

from stdvid.errors import InputError, UsageError
from stdvid.media.reader import PyAVReader
from stdvid.media.timebase import TimePoint


def read(path, **options):
    return list(PyAVReader(path, **options))


@pytest.mark.parametrize("bframes", [0, 2, 4])
def test_every_frame_comes_once_with_its_pts(clip, bframes):
    path = clip("b.mp4", n=13, options={"preset": "ultrafast", "bf": str(bframes), "b-adapt": "0"})
    frames = read(path)
    assert [f.index for f in frames] == list(range(13))
    assert [f.time for f in frames] == [Fraction(i, 25) for i in range(13)]
    assert frames[-1].duration * frames[-1].time_base == Fraction(1, 25)


def test_variable_rate_and_late_start(clip):
    pts = [6400, 6912, 9000, 9001, 20000]
    assert [f.time for f in read(clip("v.mp4", pts=pts))] == [Fraction(p, 12800) for p in pts]


def test_pictures_are_in_order(clip, pictures):
    for number, frame in enumerate(read(clip("o.mp4", n=6))):
        assert abs(pictures.quadrants(frame.image) - pictures.quadrants(pictures.make(64, 48, number))).max() <= 5


@pytest.mark.parametrize("size", [(65, 49), (1, 1), (64, 47), (333, 187)])
def test_odd_sizes(clip, size):
    path = clip(
        "odd.mkv",
        n=2,
        size=size,
        codec="ffv1",
        pix_fmt="yuv444p",
        options={},
        image=np.full((*size[::-1], 3), 80, np.uint8),
    )
    frames = read(path)
    assert [f.image.shape for f in frames] == [(size[1], size[0], 3)] * 2
    assert abs(frames[0].image.astype(int) - 80).max() <= 2


def test_size_scales_once_and_antialiased(clip):
    """A fine checkerboard must become grey when it is made eight times smaller, not a moire."""
    board = np.kron(np.indices((48, 64)).sum(0) % 2, np.ones((1, 1)))[..., None].repeat(3, 2)
    path = clip("fine.mkv", n=1, codec="ffv1", pix_fmt="yuv444p", options={}, image=(board * 255).astype(np.uint8))
    frame = read(path, size=(8, 6))[0]
    assert frame.image.shape == (6, 8, 3)
    assert abs(frame.image.astype(int) - 127).max() <= 8


def test_size_is_that_of_the_upright_frame(clip):
    assert read(clip("turned.mp4", n=2, turn=(90,)), size=(20, 30))[0].image.shape == (30, 20, 3)


@pytest.mark.parametrize(
    ("start", "end", "indices"),
    [
        (None, TimePoint(frame=3), range(3)),
        (TimePoint(frame=4), None, range(4, 12)),
        (TimePoint(frame=4), TimePoint(frame=5), range(4, 5)),
        (TimePoint(seconds=Fraction(1, 10)), TimePoint(seconds=Fraction(1, 5)), range(3, 5)),
        (None, TimePoint(seconds=Fraction(99)), range(12)),
    ],
)
def test_trimming_counts_from_the_first_frame_and_keeps_indices(clip, start, end, indices):
    frames = read(clip("late.mp4", n=12, first=5120), start=start, end=end)
    assert [f.index for f in frames] == list(indices)
    assert [f.pts for f in frames] == [5120 + 512 * i for i in indices]


def test_trimming_to_nothing_is_a_usage_error(clip):
    path = clip("late.mp4", n=12)
    with pytest.raises(UsageError, match="not before"):
        PyAVReader(path, start=TimePoint(frame=5), end=TimePoint(frame=5))
    with pytest.raises(UsageError, match=r"end of the clip \(12 frames"):
        read(path, start=TimePoint(frame=12))


@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
def test_images_are_videos_of_one_frame(tmp_path, pictures, extension):
    path = tmp_path / f"i%d.{extension}"
    cv2.imwrite(str(path), pictures.make(64, 48)[..., ::-1])
    reader = PyAVReader(path)
    frames = list(reader)
    assert reader.info.is_image
    assert len(frames) == 1
    assert abs(pictures.quadrants(frames[0].image) - pictures.quadrants(pictures.make(64, 48))).max() <= 6


def test_exif_orientation_of_photographs(tmp_path, pictures):
    from PIL import Image

    exif = Image.Exif()
    exif[0x112] = 6  # turn clockwise to see it upright
    Image.fromarray(pictures.make(64, 48)).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    frame = read(tmp_path / "phone.jpg")[0]
    assert abs(pictures.quadrants(frame.image) - pictures.quadrants(np.rot90(pictures.make(64, 48), -1))).max() <= 6


def test_animated_webp_is_refused_rather_than_cut_to_one_frame(tmp_path, pictures):
    from PIL import Image

    images = [Image.fromarray(pictures.make(64, 48, n)) for n in range(3)]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=100)
    with pytest.raises(InputError, match="animated webp"):
        read(tmp_path / "a.webp")


def test_gif_keeps_its_durations(clip):
    path = clip(
        "a.gif", codec="gif", pix_fmt="rgb8", options={}, tagged=False, time_base=Fraction(1, 100), pts=[0, 10, 40, 45]
    )
    assert [f.time for f in read(path)] == [0, Fraction(1, 10), Fraction(2, 5), Fraction(9, 20)]


def test_damage_that_the_decoder_reports_is_an_input_error(clip, tmp_path):
    whole = clip("whole.mov", n=12, codec="png", pix_fmt="rgb24", options={}, tagged=False).read_bytes()
    place = [i for i in range(len(whole)) if whole.startswith(b"IHDR", i)][5]
    path = tmp_path / "damaged.mov"
    path.write_bytes(whole[:place] + b"junk" + whole[place + 4 :])
    with pytest.raises(InputError, match=r"damaged after \d+ frames") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_an_early_end_is_said(clip, tmp_path):
    whole = clip("whole.mkv", n=40, codec="ffv1", options={}).read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[: len(whole) // 2])
    reader = PyAVReader(path)
    try:
        count = len(list(reader))
    except InputError:
        return
    assert 0 < count < 40
    assert any("incomplete" in line for line in reader.notes())


def test_a_whole_file_has_nothing_to_say(clip):
    reader = PyAVReader(clip("whole.mp4", n=12, audio=1))
    list(reader)
    assert (reader.notes(), reader.frames_read, reader.repairs, reader.damaged_frames) == ([], 12, 0, 0)


def test_a_change_of_size_midway_is_scaled_to_the_first_size(tmp_path, pictures):
    import av

    path = tmp_path / "two.mjpeg"
    with path.open("wb") as file:
        for size in ((64, 48), (32, 24)):
            file.write(cv2.imencode(".jpg", pictures.make(*size)[..., ::-1])[1].tobytes())
    assert av.open(str(path)).format.name == "mjpeg"
    frames = read(path)
    assert [f.image.shape for f in frames] == [(48, 64, 3)] * 2
    assert abs(pictures.quadrants(frames[1].image) - pictures.quadrants(frames[0].image)).max() <= 6
    assert frames[1].pts > frames[0].pts


def test_it_can_be_stopped_from_another_thread(clip):
    reader = PyAVReader(clip("whole.mp4", n=12))
    frames = iter(reader)
    next(frames)
    other = threading.Thread(target=reader.close)
    other.start()
    other.join()
    assert list(frames) == []


def test_it_is_read_once(clip):
    reader = PyAVReader(clip("whole.mp4", n=12))
    list(reader)
    with pytest.raises(RuntimeError, match="once"):
        list(reader)


def test_readers_in_threads_do_not_disturb_each_other(clip):
    path = clip("whole.mp4", n=12)
    alone = np.stack([f.image for f in read(path)])
    results = []

    def work():
        results.append(np.stack([f.image for f in read(path)]))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all((r == alone).all() for r in results)
