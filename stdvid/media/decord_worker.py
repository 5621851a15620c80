"""The process in which decord runs: it can hang for ever holding the GIL, so that only a process can be stopped.

Protocol, all integers little-endian int64: the parent writes a count and that many frame numbers on stdin; the
worker answers on stdout with T, H, W and T*H*W*3 bytes. At the start it answers once with the number of frames.
A count of 0 ends it. Errors go to stderr as one line and end it with exit status 1.
"""

from __future__ import annotations

import struct
import sys
from typing import BinaryIO


def serve(path: str, width: int, height: int, inbox: BinaryIO, outbox: BinaryIO) -> None:
    """Answer requests until told to stop. Width and height: size to decode to, -1 for the file's."""
    import decord

    reader = decord.VideoReader(path, ctx=decord.cpu(0), width=width, height=height, num_threads=1)
    outbox.write(struct.pack("<q", len(reader)))
    outbox.flush()
    while header := inbox.read(8):
        (count,) = struct.unpack("<q", header)
        if count == 0:
            return
        indices = list(struct.unpack(f"<{count}q", inbox.read(8 * count)))
        batch = reader.get_batch(indices).asnumpy()
        outbox.write(struct.pack("<3q", *batch.shape[:3]))
        outbox.write(batch.tobytes())
        outbox.flush()


if __name__ == "__main__":
    try:
        serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin.buffer, sys.stdout.buffer)
    except Exception as exc:
        sys.exit(str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__)
