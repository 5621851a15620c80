"""Colour: which matrix and range a picture has, and the two conversions, decoded frame -> RGB8 and RGB8 -> encoder.

Tags are FFmpeg's integers (AVColorSpace and friends). Untagged YUV is taken as BT.709 when it is HD (more than 576
lines or 1280 columns and more) and as BT.601 otherwise, like players do; untagged range is limited, except for
the full-range pixel formats (yuvj*, gray*).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from av import VideoFrame
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from stdvid.media.frames import Image
from stdvid.media.tonemap import to_sdr

UNSPECIFIED = 2
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020",
             10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"}  # fmt: skip
TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100",
             10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12",
             16: "smpte2084", 17: "smpte428", 18: "arib-std-b67"}  # fmt: skip
MATRICES = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
            10: "bt2020c", 14: "ictcp"}  # fmt: skip
RANGES = {1: "tv", 2: "pc"}
HDR_TRANSFERS = frozenset({"smpte2084", "arib-std-b67"})

_SWS_MATRIX = {1: Colorspace.ITU709, 4: Colorspace.FCC, 5: Colorspace.ITU601, 6: Colorspace.ITU601,
               7: Colorspace.SMPTE240M, 9: Colorspace.BT2020, 10: Colorspace.BT2020}  # fmt: skip
_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_SCALING |= Interpolation.FULL_CHR_H_INP


@dataclass(frozen=True, slots=True)
class ColourTags:
    """FFmpeg's numbers: primaries, transfer, matrix (2 = not said) and range (1 limited, 2 full, 0 not said)."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0

    @classmethod
    def of_frame(cls, frame: VideoFrame) -> ColourTags:
        """The tags that the decoder put on a frame."""
        return cls(int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace), int(frame.color_range))

    @property
    def hdr(self) -> bool:
        """Whether the transfer curve is PQ or HLG."""
        return TRANSFERS.get(self.transfer) in HDR_TRANSFERS

    @property
    def wide_gamut(self) -> bool:
        """Whether the picture is in BT.2020 primaries, said so or implied by its matrix."""
        if self.primaries == UNSPECIFIED or self.primaries not in PRIMARIES:
            return self.matrix in (9, 10) or self.hdr
        return PRIMARIES[self.primaries] == "bt2020"

    def names(self) -> dict[str, str]:
        """The tags as FFmpeg spells them; ``unknown`` where not said."""
        return {
            "primaries": PRIMARIES.get(self.primaries, "unknown"),
            "transfer": TRANSFERS.get(self.transfer, "unknown"),
            "matrix": MATRICES.get(self.matrix, "unknown"),
            "range": RANGES.get(self.range, "unknown"),
        }


BT709_TAGS = ColourTags(1, 1, 1, 1)


def resolve_matrix(matrix: int, width: int, height: int) -> int:
    """The matrix to decode with: the tag where swscale knows it, else BT.709 for HD and BT.601 (6) below."""
    if matrix in _SWS_MATRIX:
        return matrix
    return 1 if height > 576 or width >= 1280 else 6


def resolve_range(colour_range: int, pixel_format: VideoFormat) -> ColorRange:
    """Full for RGB and for the full-range pixel formats, else the tag, else limited."""
    if pixel_format.is_rgb or pixel_format.has_palette or colour_range == 2:
        return ColorRange.JPEG
    if colour_range == 0 and pixel_format.name.startswith(("yuvj", "gray", "ya", "mono")):
        return ColorRange.JPEG
    return ColorRange.MPEG


def output_tags(source: ColourTags | None, source_is_yuv: bool, width: int, height: int) -> ColourTags:
    """The tags of the encoded result: the source's where it is SDR YUV, BT.709 otherwise; always limited range.

    ``width`` and ``height`` are the source's coded size, by which an untagged matrix is guessed.
    """
    if source is None or not source_is_yuv or source.hdr or source.wide_gamut:
        return BT709_TAGS
    matrix = resolve_matrix(source.matrix, width, height)
    if matrix not in (1, 5, 6):
        return BT709_TAGS
    return ColourTags(source.primaries, source.transfer, matrix, 1)


def tags_for(pixel_format: str, tags: ColourTags) -> ColourTags:
    """`tags` as an encoder of this pixel format must carry them: RGB has no matrix (0) and the full range.

    With the matrix of a YUV stream on it, decoders would take its planes for luminance and colour differences.
    """
    if VideoFormat(pixel_format).is_rgb:
        return ColourTags(tags.primaries, tags.transfer, 0, 2)
    return tags


class RgbConverter:
    """Decoded frames -> RGB8 of one size, not turned upright yet. Not thread-safe; keep one per reader.

    Args:
        size: (width, height) of the result, before rotation; None: that of the first frame. Scaling is bicubic
            with a filter as wide as the reduction asks for (antialiased), done in the same pass.
    """

    def __init__(self, size: tuple[int, int] | None = None) -> None:
        self.size = size
        self.saw_transparency = False
        self._reformatter = VideoReformatter()

    def convert(self, frame: VideoFrame) -> Image:
        """Convert one frame of any pixel format and depth to uint8 [H,W,3]; alpha is composited on black."""
        if self.size is None:
            self.size = (frame.width, frame.height)
        tags = ColourTags.of_frame(frame)
        if not frame.format.is_rgb and tags.wide_gamut:
            return to_sdr(self._reformat(frame, "rgb48le", tags, self.size), TRANSFERS.get(tags.transfer, ""))
        if frame.format.has_palette or any(c.is_alpha for c in frame.format.components):
            frame = VideoFrame.from_ndarray(self._over_black(frame, tags), "rgb24")
            tags = ColourTags()
        image: Image = self._reformat(frame, "rgb24", tags, self.size)
        return np.ascontiguousarray(image)

    def _over_black(self, frame: VideoFrame, tags: ColourTags) -> Image:
        rgba: Image = self._reformat(frame, "rgba", tags, (frame.width, frame.height))
        alpha = rgba[..., 3:].astype(np.uint16)
        self.saw_transparency |= bool(alpha.min() < 255)
        return ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8)

    def _reformat(self, frame: VideoFrame, pixel_format: str, tags: ColourTags, size: tuple[int, int]):  # type: ignore[no-untyped-def]
        matrix = _SWS_MATRIX[resolve_matrix(tags.matrix, frame.width, frame.height)]
        return self._reformatter.reformat(
            frame,
            width=size[0],
            height=size[1],
            format=pixel_format,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=resolve_range(tags.range, frame.format),
            dst_color_range=ColorRange.JPEG,
            interpolation=_SCALING,
        ).to_ndarray()


class EncoderConverter:
    """RGB8 -> the encoder's pixel format and size, with the matrix and range of ``tags``. One per writer."""

    def __init__(self, width: int, height: int, pixel_format: str, tags: ColourTags) -> None:
        self._target = (width, height, pixel_format)
        self._matrix = _SWS_MATRIX[tags.matrix or BT709_TAGS.matrix]
        self._range = ColorRange.JPEG if tags.range == 2 else ColorRange.MPEG
        self._reformatter = VideoReformatter()

    def convert(self, image: Image) -> VideoFrame:
        """Convert uint8 [H,W,3] full-range RGB to an encodable frame."""
        width, height, pixel_format = self._target
        return self._reformatter.reformat(
            VideoFrame.from_ndarray(image, "rgb24"),
            width=width,
            height=height,
            format=pixel_format,
            src_colorspace=self._matrix,
            dst_colorspace=self._matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=self._range,
            interpolation=_SCALING,
        )
