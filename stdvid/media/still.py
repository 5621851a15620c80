"""Still images: one RGB frame to the bytes of a png, jpg or webp file."""

from __future__ import annotations

import cv2

from stdvid.errors import OutputError
from stdvid.media.frames import Image

_QUALITY = {
    "png": [],
    "jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    "webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
}


def encode_still(image: Image, kind: str) -> bytes:
    """Encode uint8 [H,W,3] RGB as ``png`` (lossless), ``jpg`` or ``webp`` (quality 95).

    Raises:
        OutputError: the format cannot hold a picture of this size.
    """
    try:
        ok, data = cv2.imencode(f".{kind}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _QUALITY[kind])
    except cv2.error:
        ok = False
    if not ok:
        height, width = image.shape[:2]
        raise OutputError(f"{kind} cannot hold {width}x{height} pixels; choose a smaller --size or another format")
    return data.tobytes()
