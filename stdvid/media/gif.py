"""GIF pictures: 256 colours chosen for each frame, dithered."""

from __future__ import annotations

from av import VideoFrame
from av.filter import Graph

from stdvid.media.frames import Image


class GifPalette:
    """RGB frames to paletted ones, each with a palette of its own. Not thread-safe; one per writer."""

    def __init__(self, width: int, height: int) -> None:
        self._graph = graph = Graph()
        self._source = graph.add_buffer(width=width, height=height, format="rgb24", time_base="1/100")  # type: ignore[arg-type]
        split = graph.add("split")
        palette = graph.add("palettegen", "stats_mode=single")
        paint = graph.add("paletteuse", "new=1:dither=sierra2_4a")
        self._sink = graph.add("buffersink")
        self._source.link_to(split)
        split.link_to(palette, 0, 0)
        split.link_to(paint, 1, 0)
        palette.link_to(paint, 0, 1)
        paint.link_to(self._sink)
        graph.configure()

    def apply(self, image: Image) -> VideoFrame:
        """uint8 [H,W,3] RGB -> a pal8 frame."""
        frame = VideoFrame.from_ndarray(image, "rgb24")
        frame.pts = self._count = getattr(self, "_count", -1) + 1
        self._source.push(frame)
        result = self._sink.pull()
        assert isinstance(result, VideoFrame)
        return result
