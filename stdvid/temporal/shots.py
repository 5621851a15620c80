"""Shots: where a clip cuts from one scene to another, found while its frames stream by.

PySceneDetect's adaptive detector compares the change of colour from one frame to the next with the changes around it,
so that a pan is no cut. Its verdict on a frame needs the frames after it: the stream runs LOOKAHEAD frames behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

LOOKAHEAD = 2
"""Frames on either side that a change is compared with."""

SHORTEST_SHOT = 5
"""Frames. A change sooner after a cut is a flash or a wipe, and stays in the shot."""

_WIDTH_PX = 160
_RATE = 25.0  # the detector counts frames; it wants a rate, and uses it for nothing here


class Pictured(Protocol):
    """Anything with a picture, uint8 [H, W, 3] RGB."""

    @property
    def image(self) -> Image: ...


F = TypeVar("F", bound=Pictured)


def split_shots(frames: Iterable[F]) -> Iterator[tuple[int, F]]:
    """Every frame with the number of its shot, 0, 1, 2, ... in the order of time; at most LOOKAHEAD frames are held.

    Cuts within the first two or the last two frames are not found: there is nothing to compare them with.
    """
    from scenedetect import FrameTimecode  # a tenth of a second, in which a network can be loaded
    from scenedetect.detectors import AdaptiveDetector, ContentDetector

    change = ContentDetector.Components(delta_hue=0.0, delta_sat=0.0, delta_lum=1.0, delta_edges=0.0)
    detector = AdaptiveDetector(min_scene_len=SHORTEST_SHOT, window_width=LOOKAHEAD, weights=change)
    held: deque[tuple[int, F]] = deque()
    shot = 0
    for number, frame in enumerate(frames):
        held.append((number, frame))
        cuts = {cut.frame_num for cut in detector.process_frame(FrameTimecode(number, _RATE), _planes(frame.image))}
        if len(held) > LOOKAHEAD:
            first, ready = held.popleft()
            shot += first in cuts
            yield shot, ready
    for _, ready in held:
        yield shot, ready


def _planes(image: Image) -> Image:
    """Red, green and blue as one grey picture [H, 3 W, 3], of _WIDTH_PX a plane at most.

    Cuts are seen in it just as well. The detector's own measure compares hues, which are
    noise in greys and jump where a picture fades to black.
    """
    scale = min(1.0, _WIDTH_PX / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    return cv2.cvtColor(np.hstack(cv2.split(small)), cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
