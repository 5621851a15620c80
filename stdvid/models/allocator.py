"""The C library's allocator, told to keep what is freed.

Every layer of a network frees tensors of megabytes and asks for as much again. glibc gives such memory back to the
system at once and takes it page by page, zeroed, when it is written to: on a CPU that costs more than the layers.
"""

from __future__ import annotations

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Names of mallopt(3)."""

_STEP_BYTES = 64 << 20
"""The heap grows by so much at once."""


@functools.cache
def keep_freed_memory() -> bool:
    """From now on this process reuses freed memory, of any size, rather than giving it back; False where the C library
    is not glibc and nothing was done.

    The process keeps what it needed at its peak until it ends.
    """
    if sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    # large blocks in the one heap, which never shrinks: heaps of threads could not hold them
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _STEP_BYTES), (_ARENA_MAX, 1))
    done = [library.mallopt(name, value) for name, value in settings]
    return all(done)
