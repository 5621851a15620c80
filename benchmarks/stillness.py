"""What ought to stay as it is, through the program: a still photograph, one colour, mean colours over 3,000 frames.

    python benchmarks/stillness.py photo|colour|drift --photo photo.jpg --style reference.jpg [--style-guidance 0]

photo: it is repeated with grain and compressed; the flicker of the output over that of the clip. colour: the largest
change of any pixel between frames. drift: a camera wanders over the photograph; each 50th frame's mean colour against
the same frame painted alone in the palette of the clip, and the trend of that over the clip.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from stdvid.compare import compare
from stdvid.config import StylizeConfig, load_preset
from stdvid.media.reader import PyAVReader
from stdvid.painter import Painter, read_reference, stacked
from stdvid.schema import merge
from stdvid.stylize import Job, plan, run

Image = NDArray[np.uint8]
LOSSLESS = {"codec": "libx264rgb", "crf": 0, "enc": {"preset": "ultrafast"}}
SIZES = {"photo": 256, "colour": 128, "drift": 64}
DRIFT_FRAMES, EVERY = 3000, 50


def write(path: Path, images: Iterable[Image], crf: int) -> None:
    """A clip of some pictures at 25 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(crf)})
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(images):
            if number == 0:
                stream.height, stream.width = image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))


def scaled(photo: Image, height: int) -> Image:
    width = 2 * round(photo.shape[1] * height / photo.shape[0] / 2)
    return np.asarray(cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def grainy(photo: Image, count: int = 34) -> Iterable[Image]:
    rng, still = np.random.default_rng(0), scaled(photo, SIZES["photo"])
    return (np.clip(still + rng.normal(0, 3, still.shape), 0, 255).astype(np.uint8) for _ in range(count))


def wandering(photo: Image) -> Iterable[Image]:
    wide = cv2.resize(photo, (1200, 900), interpolation=cv2.INTER_AREA)
    for t in range(DRIFT_FRAMES):
        x, y = int(550 + 540 * np.sin(t / 260)), int(400 + 390 * np.sin(t / 190))
        yield np.ascontiguousarray(wide[y : y + 64, x : x + 96], np.uint8)


def frames_of(path: Path) -> list[Image]:
    with PyAVReader(path) as reader:
        return [frame.image for frame in reader]


def drift(source: Path, output: Path, style: Path, config: StylizeConfig) -> str:
    """Gaps of mean colour between frames of a clip and the same frames painted alone."""
    planned = plan(Job(source, (style,), output.with_name("alone.mkv"), config))
    stylizer = planned.model.load(planned.network, planned.device)
    read = stylizer.read_style([read_reference(style)], config.sampling.style_scale)
    painter = Painter(stylizer, read, planned.times, config, planned.size, threading.Event())
    with PyAVReader(source, size=planned.size) as reader:
        frames = list(reader)
    look = painter.look(stacked(frames[: config.video.spans[0]]))
    outputs, at = frames_of(output), range(0, DRIFT_FRAMES, EVERY)
    gaps = np.array(
        [outputs[k].mean((0, 1)) - painter.anchor(frames[k].image, look).painted[0].mean((0, 1)) for k in at]
    )
    trend = np.polyfit(at, gaps, 1)[0] * DRIFT_FRAMES
    return (
        f"mean colour against the frame alone, levels of 255: {np.abs(gaps).mean():.2f} on average, "
        f"{np.abs(gaps).max():.2f} at most; trend over {DRIFT_FRAMES} frames: {trend.round(2).tolist()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(SIZES))
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--style", type=Path, required=True)
    parser.add_argument("--style-guidance", type=int, default=24)
    arguments = parser.parse_args()

    photo = read_reference(arguments.photo)
    chosen = {"sampling": {"style_guidance": arguments.style_guidance}, "video": {"size": SIZES[arguments.what]}}
    config = merge(merge(load_preset("nano"), chosen), {"encode": LOSSLESS})
    colour = np.full((128, 160, 3), (90, 140, 60), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "source.mp4", Path(folder) / "output.mkv"
        if arguments.what == "photo":
            write(source, grainy(photo), 23)
        elif arguments.what == "colour":
            write(source, [colour] * 60, 18)
        else:
            write(source, wandering(photo), 12)
        run(plan(Job(source, (arguments.style,), output, config)))
        if arguments.what == "photo":
            [found] = compare(source, [output])
            ours, theirs = found.figures["flicker"], found.floor["flicker"]
            print(f"flicker over the clip's own: {ours / theirs:.2f}" if ours and theirs else "nothing stands still")
        elif arguments.what == "colour":
            images = np.stack(frames_of(output)).astype(int)
            print(f"largest change between frames: {np.abs(images - images[0]).max()} levels of 255")
        else:
            print(drift(source, output, arguments.style, config))


if __name__ == "__main__":
    main()
