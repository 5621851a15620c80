"""The windows of a clip, painted in their order: what each needs of those before it, and hands on.

    none, noise     window -> painted
    flow            window, what was handed on -> painted, what it hands on                      a chain
    full            window's last frame, the anchor before it -> its anchor                      a short chain
                    window, both anchors -> painted                                              in any order

Who paints is told what to paint and with what; it may be a `Painter` here, or workers elsewhere, which return promises
of results, to be handed on like results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray
from torch import Tensor

from stdvid.config import VideoConfig
from stdvid.media.frames import Frame
from stdvid.models.stylizer import Look
from stdvid.painter import FOLLOWING, Handed, Image, Images, Painted, plain, stacked
from stdvid.temporal.ways import Ways
from stdvid.temporal.windows import Window

P = TypeVar("P")

State = dict[str, NDArray[Any] | Tensor]


class Hands(Protocol):
    """Who paints; see `Painter`. Methods may return promises, and take promises in the place of results.

    Attributes:
        ahead: how many windows may be begun while another is not finished.
    """

    @property
    def ahead(self) -> int: ...

    def look(self, images: Images) -> Look: ...
    def ways(self, images: Images) -> Ways: ...
    def apart(self, images: Images, index: int, look: Look) -> Painted: ...
    def anchor(self, image: Image, look: Look, first: Handed | None = None, ways: Ways | None = None) -> Handed: ...
    def between(self, images: Images, look: Look, ways: Ways, first: Handed, last: Handed) -> Painted: ...
    def chain(self, images: Images, look: Look, before: Handed | None) -> tuple[Painted, Handed]: ...
    def value(self, painted: P) -> P: ...


@dataclass
class _Shot:
    """What becomes of a shot's frames, for now if its first window is `plain`, and what the last one has handed on."""

    look: Look
    plain: bool
    handed: Handed | None = None


@dataclass(frozen=True)
class Begun:
    """A window that is being painted."""

    window: Window
    hands: Hands
    painted: Painted
    handed: Handed | None

    def frames(self) -> Painted:
        """Its real frames, float32 [n_frames, H, W, 3] in 0..255, when they are painted."""
        return self.hands.value(self.painted)

    def state(self) -> State:
        """What the next window needs of this one and those before it, besides their frames."""
        return {} if self.handed is None else self.hands.value(self.handed).state()


def seen(window: Window, frames: list[Frame]) -> list[Frame]:
    """The real frames of a window, and after a lead those that come along: what is known of a shot where it begins."""
    return [*frames[: window.n_frames], *frames[window.size :]]


class WindowPainter:
    """Repaints the windows of a clip, which come in their order.

    Frames of a window share a palette. With consistency "noise" they share their noise as well. With "flow" and "full"
    noise and strokes follow the motion, and the palette is that of the shot's first window that is not plain.
    "flow": each frame takes over from the one before, so the windows of a shot are a chain. "full": the ends of windows
    are painted first, each after the one before; what is between needs nothing else but the source.
    """

    def __init__(self, hands: Hands, video: VideoConfig) -> None:
        self.hands, self.mode = hands, video.consistency
        self._shot: _Shot | None = None
        self._skipped: Images | None = None
        self._skipped_plain = False

    def paint_all(self, windows: Iterable[tuple[Window, list[Frame]]]) -> Iterator[Begun]:
        """The windows in their order; so many as the hands can work on are begun ahead of the one that is awaited. The
        clip's first frame has all hands for itself where it is a window of its own: somebody waits to see it."""
        begun: deque[Begun] = deque()
        for window, frames in windows:
            begun.append(self.begin(window, frames))
            if len(begun) > self.hands.ahead or window.stop == 1:
                yield begun.popleft()
        yield from begun

    def begin(self, window: Window, frames: list[Frame]) -> Begun:
        """Begin with the next window; padding is not computed."""
        images, hands = stacked(frames[: window.n_frames]), self.hands
        shot = self._shot
        if self.mode not in FOLLOWING:
            shot = _Shot(hands.look(images), plain=False)
        elif shot is None or window.index == 0:
            shot = self._shot_of(seen(window, frames))
        elif shot.plain:
            shot.look, shot.plain = hands.look(images), plain(images)
        self._shot = shot
        if self.mode == "full":
            ways = hands.ways(images)
            first = hands.anchor(images[0], shot.look) if shot.handed is None else shot.handed
            shot.handed = hands.anchor(images[-1], shot.look, first, ways) if len(images) > 1 else first
            painted = hands.between(images, shot.look, ways, first, shot.handed)
        elif self.mode == "flow":
            painted, shot.handed = hands.chain(images, shot.look, shot.handed)
        else:
            painted = hands.apart(images, window.start, shot.look)
        return Begun(window, hands, painted, shot.handed)

    def paint(self, window: Window, frames: list[Frame]) -> Painted:
        """The frames of the next window, float32 [n_frames, H, W, 3] in 0..255. Raises Interrupted."""
        return self.begin(window, frames).frames()

    def paint_one(self, window: Window, frames: list[Frame], place: int) -> Painted:
        """Just the frame at this place of a window, [1, H, W, 3], as it is among the others. With consistency "full" as
        where a shot begins with the window, and the frame is an anchor; with "flow" as where a shot begins with it."""
        images, hands = stacked(frames[: window.n_frames]), self.hands
        if self.mode not in FOLLOWING:
            return hands.value(hands.apart(images[place : place + 1], window.start + place, hands.look(images)))
        look = self._shot.look if self._shot else hands.look(images)
        if self.mode == "flow" or place == 0:
            return hands.value(hands.anchor(images[place], look)).painted
        first, ways = hands.anchor(images[0], look), hands.ways(images[: place + 1])
        return hands.value(hands.anchor(images[place], look, first, ways)).painted

    def begin_shot(self, frames: list[Frame]) -> None:
        """Begin a shot whose first window, or first that is not plain, these are, without painting it: its palette is
        known then."""
        self._shot = self._shot_of(frames)

    def _shot_of(self, frames: list[Frame]) -> _Shot:
        images = stacked(frames)
        return _Shot(self.hands.look(images), plain(images))

    def skip(self, window: Window, frames: list[Frame]) -> None:
        """Pass a window that was painted before; `restore` then goes on after it."""
        if window.index == 0 or self._skipped is None or self._skipped_plain:
            self._skipped = stacked(seen(window, frames))
            self._skipped_plain = plain(self._skipped)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the `state` of a window, after every window up to there has been skipped."""
        if self._skipped is not None:
            handed = Handed.of_state(state) if "painted" in state else None
            self._shot = _Shot(self.hands.look(self._skipped), self._skipped_plain, handed)
