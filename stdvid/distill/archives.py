"""WebDataset shards: tar files in which a picture and its caption share a name, 000123.jpg and 000123.txt."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from stdvid.errors import InputError

ARCHIVE_SUFFIX = ".tar"


def read_archive(path: Path, suffixes: frozenset[str]) -> Iterator[tuple[str, bytes, str]]:
    """Name, encoded picture and caption of each sample that has a picture with one of these suffixes, in order.

    Nothing is unpacked to disk. Raises InputError for a damaged archive.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members = {member.name: member for member in archive if member.isfile()}
            for name, member in members.items():
                if PurePosixPath(name).suffix.lower() in suffixes:
                    picture = archive.extractfile(member)
                    words = members.get(str(PurePosixPath(name).with_suffix(".txt")))
                    caption = archive.extractfile(words) if words else None
                    if picture is not None:
                        text = caption.read().decode("utf-8", "replace").strip() if caption is not None else ""
                        yield f"{path.name}/{name}", picture.read(), text
    except (tarfile.TarError, OSError, EOFError) as exc:
        raise InputError(f"'{path}' is damaged or no tar archive; whole WebDataset shards are needed; {exc}") from exc
