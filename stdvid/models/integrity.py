"""Whether a file in the cache of the hub is what its hash says, and can be opened; without torch."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""What the hub knows files by: git's SHA-1 of small ones, the SHA-256 of large ones."""

_CHUNK = 1 << 20


def link_digest(path: Path) -> str | None:
    """The hash that the cache has for a file: the name of what it links to, which may itself be a link."""
    target = Path(os.readlink(path)).name if path.is_symlink() else ""
    return target if HASH.fullmatch(target) else None


def fault_of(path: Path, digest: str | None) -> str | None:
    """What is wrong with a file, in a few words, or None. `digest`: SHA-256, or git's SHA-1, or unknown."""
    if not path.is_file():
        return "not here"
    size = path.stat().st_size
    if digest is not None:
        is_git = len(digest) == 40
        hasher = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if is_git else hashlib.sha256()
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    hasher.update(chunk)
        except OSError as exc:
            return f"cannot be read: {exc.strerror}"
        if hasher.hexdigest() != digest:
            algorithm = "SHA-1" if is_git else "SHA-256"
            return f"{algorithm} {hasher.hexdigest()[:12]}... in place of {digest[:12]}..."
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as exc:
            return f"no whole safetensors file: {exc}"
    return None
