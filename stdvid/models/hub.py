"""Models of the Hugging Face hub: found in its cache without any network, pulled into it, verified.

Files lie in huggingface_hub's own cache, so that diffusers finds the same ones:

    models--OWNER--NAME/refs/REVISION        the commit; written last, when all that is needed is there and verified
    models--OWNER--NAME/snapshots/COMMIT/    links by name to
    models--OWNER--NAME/blobs/HASH           SHA-256 of large files, git's SHA-1 of small ones
"""

from __future__ import annotations

import errno
import inspect
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stdvid.errors import HubError, ModelError, OutputError, StdvidError
from stdvid.models.integrity import HASH, fault_of, link_digest
from stdvid.models.sources import ANY_VARIANT, PLAIN, Source, choose, is_inside, source_of, sources

__all__ = ["Checked", "OnProgress", "Pulled", "Source", "here", "locate", "pull", "source_of", "sources", "verify"]

OnProgress = Callable[[int, int, str], None]
"""Bytes fetched, bytes to fetch, and the name of the file that is being fetched."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Checked:
    """What of a source is here: its snapshot folder, how many files, how large they are."""

    folder: Path
    files: int
    size: int


@dataclass(frozen=True)
class Pulled(Checked):
    """What a pull left here; `fetched` counts the bytes of files that were not here before."""

    fetched: int


@dataclass(frozen=True)
class _Remote:
    """What the hub says of a file: bytes, and the SHA-256, or git's SHA-1, of its content."""

    size: int
    digest: str


def here(source: Source, name: str | None = None) -> Checked:
    """What of a source is here, unread; no network.

    `name`: what `stdvid models pull` takes to get it, if that is not the source itself.

    Raises:
        ModelError: it is not here, or not all of it.
    """
    folder, needed = _located(source, name)
    return _counted(folder, needed)


def locate(source: Source, name: str | None = None) -> Path:
    """The snapshot folder that holds all that is needed of a repository; arguments and errors as for `here`."""
    return here(source, name).folder


def verify(source: Source, name: str | None = None) -> Checked:
    """Check what is here of a source against its hashes, and that every .safetensors file can be opened; no network.

    Where the cache holds copies and no links there is no hash to check by; then headers and lengths are checked alone.

    Raises:
        ModelError: it is not here, or a file is damaged.
    """
    folder, needed = _located(source, name)
    # Of a folder that other programs filled too, what they need is checked as well.
    files = needed if source.kind == "file" else _names(folder / source.path, source.path)
    for file in files:
        fault = fault_of(folder / file, link_digest(folder / file))
        if fault:
            raise ModelError(
                f"'{folder / file}' is damaged ({fault}); nothing may be painted with it; "
                f"run: stdvid models pull {name or source}, which gets it anew"
            )
    return _counted(folder, files)


def pull(source: Source, on_progress: OnProgress | None = None, variant: str | None = None) -> Pulled:
    """Get what is needed of a repository, and check all of it; what is here and whole is not fetched again.

    `variant`: take weights of this variant ("fp16") where there are any.

    Raises:
        ModelError: no such repository, revision or file; not allowed to read it; pickles alone; another content than
            the hub says.
        HubError: the hub is not reached, or HF_HUB_OFFLINE is set.
        OutputError: the cache cannot be written, or the disk is too small.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise HubError(f"HF_HUB_OFFLINE is set, and {source} is to be pulled; unset it, and TRANSFORMERS_OFFLINE")
    with _quiet():
        commit, listing = _listing(source)
        needed = choose(source, listing, [*([re.escape(variant)] if variant else []), PLAIN])
        folder = _storage(source) / "snapshots" / commit
        faults = {name: fault_of(folder / name, listing[name].digest) for name in needed}
        missing = {name: listing[name].size for name, fault in faults.items() if fault}
        total = sum(missing.values())
        _check_space(source, total)
        fetched = told = 0
        for name, size in missing.items():

            def report(now: int, begun: int = fetched, size: int = size, name: str = name) -> None:
                nonlocal told
                now = begun + min(now, size)
                if now > told and on_progress is not None:
                    on_progress(now, total, name)
                told = max(now, told)

            _get(source, commit, name, listing[name].digest, report)
            report(size)
            fetched += size
        lacking = _lacks_parts(folder, source, needed)
        if lacking:
            raise ModelError(
                f"{source.repo} names a part '{lacking}' and has none; a whole one is needed; name another"
            )
        _write_ref(source, commit)
    return Pulled(folder, len(needed), sum(listing[name].size for name in needed), fetched)


# --- the cache ------------------------------------------------------------------------------------------------------


def _storage(source: Source) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{source.repo.replace('/', '--')}"


def _located(source: Source, name: str | None) -> tuple[Path, list[str]]:
    """The snapshot folder, and the names of what is needed in it."""
    storage = _storage(source)
    commit = source.revision
    if not _COMMIT.fullmatch(commit):
        ref = storage / "refs" / source.revision
        commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else ""
    folder = storage / "snapshots" / commit
    remedy = f"run: stdvid models pull {name or source}"
    if not _COMMIT.fullmatch(commit) or not folder.is_dir():
        raise ModelError(f"{source} is not here; models of the hub are pulled before they are used; {remedy}")
    there = _names(folder)
    try:
        needed = choose(source, there, (PLAIN, ANY_VARIANT))
        unfinished = _lacks_parts(folder, source, there)
    except ModelError as exc:
        found = str(exc).partition(";")[0]
        raise ModelError(
            f"{source} is not all here ({found}); models are pulled before they are used; {remedy}"
        ) from exc
    if unfinished:
        raise ModelError(
            f"{source} is not all here (no {unfinished}); models are pulled before they are used; {remedy}"
        )
    return folder, needed


def _names(folder: Path, prefix: str = "") -> list[str]:
    """Names of the files in a snapshot, or in its folder `prefix`; links to nothing are none."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted("/".join(filter(None, [prefix, path.relative_to(folder).as_posix()])) for path in found)


def _counted(folder: Path, files: list[str]) -> Checked:
    return Checked(folder, len(files), sum((folder / file).stat().st_size for file in files))


def _lacks_parts(folder: Path, source: Source, names: list[str]) -> str | None:
    """A part that the pipeline's own list names and that is missing, if any."""
    import json

    from stdvid.models.sources import PARTS, PIPELINE

    if PIPELINE not in names or source.kind in ("model", "file"):
        return None
    try:
        listed = json.loads((folder / PIPELINE).read_text(encoding="utf-8"))
        wanted = [part for part in PARTS if any(listed.get(part) or ())]
    except (ValueError, TypeError, AttributeError):
        return f"readable {PIPELINE}"
    there = {name.partition("/")[0] for name in names}
    return next((part for part in wanted if part not in there), None)


def _discard(source: Source, path: Path) -> None:
    """Remove a file of a snapshot, and what it links to, if they are there."""
    try:
        for _ in range(3):  # a name, its blob, and perhaps one that repositories share
            target = path.parent / os.readlink(path) if path.is_symlink() else None
            path.unlink(missing_ok=True)
            if target is None:
                break
            path = target
    except OSError as exc:
        raise _explained(source, exc) from exc


def _write_ref(source: Source, commit: str) -> None:
    """Say in the cache which commit the revision is, whole or not at all."""
    ref = _storage(source) / "refs" / source.revision
    if source.revision == commit or (ref.is_file() and ref.read_text(encoding="utf-8") == commit):
        return
    try:
        ref.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=ref.parent, delete=False, encoding="utf-8") as file:
            file.write(commit)
        Path(file.name).chmod(0o644)
        os.replace(file.name, ref)
    except OSError as exc:
        raise _explained(source, exc) from exc


def _check_space(source: Source, size: int) -> None:
    """Raises OutputError if what is to be fetched does not fit on the disk of the cache."""
    place = _storage(source)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if size > free:
        raise OutputError(
            f"{source} needs {size / 2**20:.0f} MiB, '{place}' has {free / 2**20:.0f} MiB free; "
            "make room, or set HF_HOME to a folder on another disk"
        )


# --- the hub --------------------------------------------------------------------------------------------------------


def _listing(source: Source) -> tuple[str, dict[str, _Remote]]:
    """The commit that the revision is at, and all files of the repository."""
    from huggingface_hub import HfApi, constants

    try:
        api = HfApi(library_name="stdvid")
        info = api.model_info(source.repo, revision=source.revision, files_metadata=True, timeout=_TIMEOUT_S)
    except Exception as exc:  # of the library, of its HTTP client, of the system
        raise _explained(source, exc) from exc
    listing = {}
    for file in info.siblings or []:
        digest = file.lfs.sha256 if file.lfs else file.blob_id
        if not is_inside(file.rfilename):
            raise ModelError(
                f"{source.repo} lists '{file.rfilename}', which leads out of it; do not trust it; name another"
            )
        if digest and HASH.fullmatch(digest) and file.size is not None:
            listing[file.rfilename] = _Remote(file.size, digest)
    if not info.sha or not _COMMIT.fullmatch(info.sha):
        raise HubError(
            f"{constants.ENDPOINT} names no commit of {source}; is it a hub? set HF_ENDPOINT to one or unset it"
        )
    return info.sha, listing


def _get(source: Source, commit: str, name: str, digest: str, report: Callable[[int], None]) -> None:
    """Get one file and check it; twice if it is not what it should be, for a damaged blob may have been in the way."""
    path = _storage(source) / "snapshots" / commit / name
    for _ in range(2):
        _discard(source, path)  # damaged, or a link to nothing
        _fetch(source, commit, name, report)
        fault = fault_of(path, digest)
        if not fault:
            return
    _discard(source, path)
    raise ModelError(
        f"{source.repo} sent another {name} than it lists ({fault}); it was not kept; "
        "try again, and if it happens again, tell its owner"
    )


def _fetch(source: Source, commit: str, name: str, report: Callable[[int], None]) -> None:
    """Get one file into the cache; of a transfer that breaks off the rest is asked for."""
    from huggingface_hub import hf_hub_download

    takes_bar = "tqdm_class" in inspect.signature(hf_hub_download).parameters  # not in old versions
    options: dict[str, Any] = {"tqdm_class": _bar(report)} if takes_bar else {}
    try:
        hf_hub_download(source.repo, name, revision=commit, library_name="stdvid", **options)
    except Exception as exc:  # as above
        raise _explained(source, exc) from exc


def _bar(report: Callable[[int], None]) -> type:
    """A progress bar of the kind that huggingface_hub asks for, which draws nothing and reports the bytes so far."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            self.so_far = options.get("initial") or 0

        def update(self, n: float | None = 1) -> None:
            self.so_far += int(n or 0)
            report(self.so_far)

    return Bar


@contextmanager
def _quiet() -> Iterator[None]:
    """huggingface_hub says nothing within the block: what matters becomes an error, and the rest is retried."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _explained(source: Source, exc: Exception) -> StdvidError:
    """Our error for one of huggingface_hub, of its HTTP client, or of the system, which have no common base."""
    from huggingface_hub import constants, errors

    if isinstance(exc, errors.LocalEntryNotFoundError) and isinstance(exc.__cause__, Exception):
        return _explained(source, exc.__cause__)  # it looked in the cache because of another error
    if isinstance(exc, errors.GatedRepoError):
        return ModelError(
            f"{source.repo} is gated: its owner wants terms accepted; "
            f"accept them on {constants.ENDPOINT}/{source.repo}, then log in with `hf auth login` or set HF_TOKEN"
        )
    if isinstance(exc, errors.RepositoryNotFoundError):
        return ModelError(
            f"no model '{source.repo}' on {constants.ENDPOINT}, or it is private; correct the name, "
            "or log in with `hf auth login` or set HF_TOKEN"
        )
    if isinstance(exc, errors.RevisionNotFoundError):
        return ModelError(
            f"{source.repo} has no revision '{source.revision}'; allowed: a branch, tag or commit; correct it"
        )
    if isinstance(exc, errors.EntryNotFoundError):
        return ModelError(f"{source.repo} lists a file that it does not have; try again, or give another --revision")
    if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"no room for {source} in '{_storage(source)}'; make some, or set HF_HOME to another disk")
    if isinstance(exc, OSError) and exc.filename is not None:
        return OutputError(
            f"'{exc.filename}' cannot be written ({exc.strerror}); mend that, or set HF_HOME to another folder"
        )
    said = " ".join(str(exc).split())[:200] or type(exc).__name__
    return HubError(
        f"{constants.ENDPOINT} gave no {source}: {type(exc).__name__}: {said}; check the network; "
        "the same command goes on where it was"
    )
