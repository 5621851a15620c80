"""What of the hub a model needs: from settings to repositories, from a list of file names to the files. No network.

A source is written `owner/name`, `owner/name/folder` or `owner/name/folder/file.safetensors`; `@revision` may follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from stdvid.config import IPAdapterConfig, LoraConfig, ModelConfig
from stdvid.errors import ModelError, UsageError
from stdvid.models.embedded import bundle_names

PIPELINE = "model_index.json"
PLAIN, ANY_VARIANT = "", r"\w+"
"""Forms of weight files: name.safetensors, name.VARIANT.safetensors; a form is a pattern of VARIANT."""

_WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
_NEEDED = ("unet", "vae")
_WORDS = ("tokenizer", "tokenizer_2", "scheduler", "feature_extractor")
PARTS = (*_WEIGHTS, *_WORDS)
_TEXTS = (".json", ".txt", ".model")
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_LORA = "pytorch_lora_weights.safetensors"  # what diffusers calls it
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)

Kind = Literal["any", "pipeline", "description", "model", "file"]


@dataclass(frozen=True)
class Source:
    """What is needed of one repository of the hub, at one revision.

    `kind`: a pipeline folder of diffusers, its description without weights, one model (its config and weights, in the
    folder `path` or at the top), one file (`path`), or whichever of these the repository turns out to be.

    Raises:
        UsageError: no id of a repository, no revision, or a path that leads out of it.
    """

    repo: str
    revision: str = "main"
    kind: Kind = "any"
    path: str = ""

    def __post_init__(self) -> None:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

        try:
            validate_repo_id(self.repo)
            named = "/" in self.repo and not (self.path and self.kind in ("pipeline", "description"))
        except HFValidationError:
            named = False
        if not named:
            raise UsageError(
                f"'{self}' is no id of the hub, and nothing here has that path; "
                "allowed: OWNER/NAME or OWNER/NAME@REVISION; correct it"
            )
        if not _REVISION.fullmatch(self.revision) or ".." in self.revision:
            raise UsageError(
                f"'{self.revision}' is no revision; allowed: a branch, a tag or a commit; see the hub's page"
            )
        if self.path and not is_inside(self.path):
            raise UsageError(
                f"'{self.path}' leads out of {self.repo}; allowed: a path within it; write it without '..'"
            )
        if self.kind == "file" and self.path.endswith(PICKLES):
            raise _pickled(str(self), self.path)

    def __str__(self) -> str:
        at = "" if self.revision == "main" else f"@{self.revision}"
        return "/".join(filter(None, [self.repo, self.path])) + at


def source_of(text: str, kind: Kind = "any", path: str = "") -> Source:
    """The source that `text` writes out; `path` and `kind` say more about a repository.

    Raises:
        UsageError: as for Source.
    """
    name, at, revision = text.partition("@")
    owner, repo, *inside = name.split("/") if "/" in name else [name, ""]
    path = "/".join([*inside, *filter(None, [path])])
    if kind == "any" and path:
        kind = "file" if path.endswith((".safetensors", *PICKLES)) else "model"
    return Source(f"{owner}/{repo}".strip("/"), revision if at else "main", kind, path)


def sources(model: ModelConfig) -> list[Source]:
    """What a model needs from the hub; nothing where all of it is embedded, or given by local paths.

    An image encoder of an IP adapter is a folder beside the adapter, or, with a slash, `FOLDER/image_encoder` from the
    top of the adapter's repository, or any other id of the hub.

    Raises:
        UsageError: a value is neither a local path nor an id of the hub.
    """
    control = model.controlnet.path if model.controlnet else None
    found = [
        hub_source(model.base, "pipeline"),
        hub_source(model.config, "description"),
        *(hub_source(value, "model") for value in (model.vae, model.motion_adapter, control)),
        *map(lora_source, model.lora),
        *(adapter_sources(model.ip_adapter) if model.ip_adapter else ()),
    ]
    return list(dict.fromkeys(source for source in found if source is not None))


def hub_source(value: str | None, kind: Kind, path: str = "") -> Source | None:
    """What a value of the settings needs of the hub, if anything; UsageError if it is neither local nor an id."""
    return None if value is None or is_local(value) else source_of(value, kind, path)


def lora_source(lora: LoraConfig) -> Source | None:
    """The same of a LoRA."""
    return hub_source(lora.path, "file", lora.weight_name or _LORA)


def adapter_sources(adapter: IPAdapterConfig) -> tuple[Source | None, Source | None]:
    """The same of an IP-Adapter's weights, and of its image encoder."""
    beside, encoder = adapter.subfolder or "", adapter.image_encoder
    weights = hub_source(adapter.path, "file", str(PurePosixPath(beside, adapter.weight_name)))
    if "/" not in encoder:
        return weights, hub_source(adapter.path, "model", str(PurePosixPath(beside, encoder)))
    if PurePosixPath(encoder).name == "image_encoder" and not Path(encoder).exists():
        return weights, hub_source(adapter.path, "model", encoder)
    return weights, hub_source(encoder, "model")


def is_hub_id(value: str) -> bool:
    """Whether a value may be OWNER/NAME of the hub."""
    return value.count("/") == 1 and not is_local(value)


def is_local(value: str) -> bool:
    """Whether a value of the settings is an embedded bundle or a path, there or not, and so nothing of the hub."""
    path = Path(value)
    return (
        value in bundle_names()
        or path.exists()
        or path.is_absolute()
        or value.startswith((".", "~"))
        or path.suffix in (".safetensors", *PICKLES)
    )


def is_inside(name: str) -> bool:
    """Whether a file name of a repository stays in the folder that it is put in."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and "\0" not in name


def choose(source: Source, names: Iterable[str], forms: Sequence[str] = (PLAIN,)) -> list[str]:
    """Those of the files `names` of a repository that are needed; of weights the first of `forms` that is there.

    Raises:
        ModelError: something that is needed is missing, or is there as a pickle alone.
    """
    by_folder: dict[str, set[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        by_folder.setdefault(folder, set()).add(file)
    kind, path = source.kind, source.path
    if kind == "any":
        kind, path = _kind(source, by_folder.get("", set()))
    if kind == "model":
        return sorted(_model(source, path, by_folder, forms))
    if kind in ("pipeline", "description"):
        return sorted(_pipeline(source, by_folder, forms, weights=kind == "pipeline"))
    folder, _, file = path.rpartition("/")
    if file not in by_folder.get(folder, ()):
        there = sorted(f for f in by_folder.get(folder, ()) if f.endswith(".safetensors"))
        raise ModelError(
            f"{source.repo} has no {path}; beside it are {', '.join(there[:8]) or 'no safetensors'}; correct the name"
        )
    return [path]


def _kind(source: Source, top: set[str]) -> tuple[Kind, str]:
    """What a repository with these files at its top is, and the path of what is needed."""
    if PIPELINE in top:
        return "pipeline", ""
    if "config.json" in top:
        return "model", ""
    if _LORA in top:
        return "file", _LORA
    single = sorted(file for file in top if file.endswith(".safetensors"))
    say = f"for example {source.repo}/{single[0]}" if single else "or another repository"
    raise ModelError(
        f"{source.repo} has neither {PIPELINE} nor config.json nor {_LORA}; what is needed of it is not known; "
        f"name a folder or a file of it, {say}"
    )


def _pipeline(source: Source, by_folder: dict[str, set[str]], forms: Sequence[str], *, weights: bool) -> Iterator[str]:
    if PIPELINE not in by_folder.get("", ()):
        raise ModelError(f"{source.repo} has no {PIPELINE}; a pipeline folder of diffusers is needed; name another")
    yield PIPELINE
    for part in PARTS:
        if part not in by_folder:
            if part in _NEEDED:
                raise ModelError(f"{source.repo} has no folder {part}; needed are {', '.join(_NEEDED)}; name another")
        elif part in _WEIGHTS and weights:
            yield from _model(source, part, by_folder, forms)
        else:
            yield from (f"{part}/{file}" for file in by_folder[part] if _is_text(file))


def _model(source: Source, folder: str, by_folder: dict[str, set[str]], forms: Sequence[str]) -> Iterator[str]:
    """The texts and weights of one folder."""
    files = by_folder.get(folder, set())
    where = f"{source.repo}/{folder}".rstrip("/")
    if "config.json" not in files:
        raise ModelError(f"{where} has no config.json; a folder of one model is needed; correct the name")
    stems = [_WEIGHTS[folder]] if folder in _WEIGHTS else sorted(set(_WEIGHTS.values()))
    chosen = next((found for form in forms for stem in stems if (found := _weights(files, stem, form))), None)
    if chosen is None:
        raise _no_weights(where, files, stems)
    for file in (*chosen, *filter(_is_text, files)):
        yield f"{folder}/{file}".lstrip("/")


def _weights(files: set[str], stem: str, form: str) -> list[str]:
    """The files of whole weights: one, or all shards with their index; none if a shard is missing."""
    variant = rf"\.(?:{form})" if form else ""
    single = [file for file in sorted(files) if re.fullmatch(rf"{stem}{variant}\.safetensors", file)]
    if single:
        return single[:1]
    shard = r"-(\d+)-of-(\d+)"
    names = rf"{stem}(?:{variant}{shard}|{shard}{variant})\.safetensors"
    shards = {file: match for file in sorted(files) if (match := re.fullmatch(names, file))}
    counts = {int(number) for match in shards.values() for number in match.groups()[1::2] if number}
    index_names = rf"{stem}(?:{variant}\.safetensors\.index|\.safetensors\.index{variant})\.json"
    index = [file for file in sorted(files) if re.fullmatch(index_names, file)]
    return [*shards, *index[:1]] if counts == {len(shards)} and index else []


def _is_text(file: str) -> bool:
    return file.endswith(_TEXTS) and ".index." not in file


def _no_weights(where: str, files: set[str], stems: Sequence[str]) -> ModelError:
    for stem in stems:
        for file in sorted(files):
            variant = re.fullmatch(rf"{stem}\.(\w+)(-\d+-of-\d+)?\.safetensors", file)
            if variant:
                return ModelError(
                    f"{where} has its weights only as the variant {variant[1]}; add --variant {variant[1]}"
                )
    pickles = [file for file in sorted(files) if file.endswith(PICKLES)]
    if pickles:
        return _pickled(where, pickles[0])
    return ModelError(f"{where} has no whole weights; allowed: {stems[0]}.safetensors or its shards; name another")


def _pickled(where: str, file: str) -> ModelError:
    return ModelError(
        f"{where} has its weights as {PurePosixPath(file).name}, a pickle, and unpickling runs code that is in it; "
        "allowed: safetensors; name a repository that has them"
    )
