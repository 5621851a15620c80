"""A bundle: a folder that holds a model ready for inference. Weights are safetensors; nothing is ever unpickled.

manifest.json     architecture, schedule, networks with their strength and SHA-256, licence
*.safetensors     one file a network, fp16: all of its weights, or the low-rank changes to those of another file
*.int8.xml, .bin  the UNet of a network again, in int8, for CPUs (`stdvid distill quantize`)
*.trial.safetensors    calls and their x_0, to try that one by
MODEL_CARD.md
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stdvid.diffusion.schedule import SCHEDULES, Schedule, grid_time, start_index
from stdvid.errors import ModelError, UsageError
from stdvid.models.embedded import MANIFEST as MANIFEST
from stdvid.models.embedded import bundle_folder
from stdvid.models.embedded import bundle_names as bundle_names
from stdvid.models.lora import apply_lora
from stdvid.models.memory import Work
from stdvid.models.nano_stylizer import BORDER_PX, NanoStylizer, trial_calls
from stdvid.models.network import NetworkEntry, Quantized, nearest
from stdvid.models.openvino_backend import Int8Nano, Int8Unet
from stdvid.models.openvino_trial import Examples, Verdict, read_examples, verdict
from stdvid.models.style_encoder import StyleEncoder

if TYPE_CHECKING:
    from stdvid.models.nano import Nano

Precision = Literal["auto", "fp32", "fp16", "bf16", "int8"]

FORMAT = "stdvid-bundle/1"
CARD = "MODEL_CARD.md"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.float32}


@dataclass(frozen=True)
class Trained:
    """A network to be put in a bundle; `lora` are changes to `model`, as `split_lora` names them, or empty."""

    model: Nano
    strength: float | None
    start: int
    lora: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """A read manifest; the weights stay on disk until `load`. `precision`: that networks are to compute in; auto is
    what torch is fast in (who wants int8 where it works asks `decide`)."""

    folder: Path
    name: str
    architecture: dict[str, Any]
    schedule: str
    flops_per_pixel: float
    licence: str
    networks: tuple[NetworkEntry, ...]
    precision: Precision = "auto"

    def network_for(self, strength: float) -> tuple[NetworkEntry, int, str | None]:
        """The network nearest to `strength`, the time to start from, and a note if that is not what was asked for.

        Raises UsageError if a teacher cannot start that high.
        """
        entry, note = nearest(self.networks, strength, self.name)
        if entry.strength is None:
            start = int(grid_time(start_index(strength)))
            if start > entry.start:
                limit = (entry.start + 1) / SCHEDULES[self.schedule]().train_steps
                raise UsageError(
                    f"strength {strength:g} is above what '{self.name}' was trained for; allowed is at most {limit:g}; "
                    "lower --strength"
                )
            return entry, start, None
        return entry, entry.start, note

    def call_flops(self, width: int, height: int) -> float:
        """Floating-point operations of one call of the network for one frame of this size."""
        return self.flops_per_pixel * (width + 2 * BORDER_PX) * (height + 2 * BORDER_PX)

    def verify(self) -> None:
        """Raise ModelError unless every weight file is there and has the hash that the manifest says."""
        for entry in self.networks:
            self._files(entry)
            self.graph(entry)

    def _files(self, entry: NetworkEntry) -> list[Path]:
        """Verified: the file of a network, or that of its base and its own."""
        wanted = [(entry.base, entry.base_sha256), (entry.file, entry.sha256)]
        return [_verified(self.folder / name, digest) for name, digest in wanted if name is not None and digest]

    def graph(self, entry: NetworkEntry) -> tuple[bytes, bytes] | None:
        """The int8 graph of a network and its weights, verified; None where there is none."""
        if entry.int8 is None:
            return None
        if entry.int8.of != entry.sha256:
            raise ModelError(
                f"'{self.folder / entry.int8.file}' is of other weights than '{entry.file}'; both have to be of one "
                "network; make it again: stdvid distill quantize"
            )
        wanted = [(entry.int8.file, entry.int8.sha256), (entry.int8.weights, entry.int8.weights_sha256)]
        graph, weights = (_read_verified(self.folder / name, digest) for name, digest in wanted)
        return graph, weights

    def load(self, entry: NetworkEntry, device: torch.device, work: Work | None = None) -> NanoStylizer:
        """Load one network, verified, in fp32 and channels-last, ready to run; ModelError if it is damaged.

        It is so small that it does the same whatever the `work`.
        """
        model = self._int8(entry) if self.precision == "int8" else self.network(entry)
        model.to(device).eval().requires_grad_(False)
        return NanoStylizer(model, self.load_schedule(), _DTYPES.get(self.precision))

    def network(self, entry: NetworkEntry) -> Nano:
        """A network as torch has it, verified; ModelError if it is damaged."""
        from stdvid.models.nano import Nano

        weights, *changes = self._files(entry)
        with self._fitting(entry):
            model = Nano(**self.architecture)
            model.load_state_dict(_weights(weights))
            for path in changes:
                apply_lora(model, load_file(path))
        return model

    def _int8(self, entry: NetworkEntry) -> Int8Nano:
        graph = self.graph(entry)
        if graph is None or entry.int8 is None:
            raise ModelError(f"'{self.name}' has no int8 network; stdvid distill quantize makes one; or use fp32")
        unet = Int8Unet(*graph, torch.get_num_threads(), str(self.folder / entry.int8.file))
        if entry.base is not None:  # of low-rank changes, which may be the encoder's too
            return Int8Nano(self.network(entry).style, unet)
        [weights] = self._files(entry)
        with self._fitting(entry):
            encoder = StyleEncoder(self.architecture["token_dim"], self.architecture["vector_dim"])
            tensors = _weights(weights).items()
            encoder.load_state_dict({k.removeprefix("style."): v for k, v in tensors if k.startswith("style.")})
        encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Int8Nano(encoder, unet)

    @contextmanager
    def _fitting(self, entry: NetworkEntry) -> Iterator[None]:
        """Within it what does not fit its manifest is a ModelError."""
        try:
            yield
        except (RuntimeError, TypeError, KeyError, SafetensorError) as exc:
            raise ModelError(
                f"'{self.folder / entry.file}' does not fit its manifest; reinstall stdvid or export the bundle again"
            ) from exc

    def int8_works(self, entry: NetworkEntry) -> Verdict:
        """Whether this machine runs the int8 network of an entry that has one; the first time it is tried out.

        Raises ModelError if a file is damaged.
        """
        if entry.int8 is None:
            return Verdict(False, f"'{self.name}' has no int8 network; stdvid distill quantize makes one")
        self.graph(entry)  # nothing is parsed that is not verified

        def examples() -> Examples:
            if entry.int8 and entry.int8.trial:
                return read_examples(_read_verified(self.folder / entry.int8.trial, entry.int8.trial_sha256))
            return trial_calls(replace(self, precision="fp32").load(entry, torch.device("cpu")), entry.start)

        graph, weights = (self.folder / name for name in (entry.int8.file, entry.int8.weights))
        return verdict((graph, entry.int8.sha256), (weights, entry.int8.weights_sha256), examples)

    def load_schedule(self) -> Schedule:
        """The noise schedule."""
        return SCHEDULES[self.schedule]()


def _weights(path: Path) -> dict[str, Tensor]:
    return {name: value.float() for name, value in load_file(path).items()}


def read_bundle(base: str) -> Bundle:
    """Read the manifest of an embedded bundle by name, or of a bundle folder by path.

    Raises:
        UsageError: no such name or folder.
        ModelError: the folder holds no valid manifest.
    """
    known = bundle_names()
    folder = bundle_folder(base) if base in known else Path(base)
    if not folder.is_dir():
        raise UsageError(f"no model named '{base}'; embedded are {', '.join(known)}; or give a bundle folder")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest.pop("format") != FORMAT or manifest["schedule"] not in SCHEDULES:
            raise ValueError("other format")
        networks = tuple(_entry(**entry) for entry in manifest.pop("networks"))
        bundle = Bundle(folder=folder, networks=networks, **manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelError(f"'{folder}' is not a model bundle; it needs a {MANIFEST} of {FORMAT}; export one") from exc
    graphs = [name for n in networks if n.int8 for name in (n.int8.file, n.int8.weights, n.int8.trial) if name]
    names = [*graphs, *(name for n in networks for name in (n.file, n.base) if name is not None)]
    if not networks or any(Path(name).name != name for name in names):
        raise ModelError(f"'{folder}/{MANIFEST}' names no weight file beside it; export the bundle again")
    return bundle


def _entry(
    file: str,
    sha256: str,
    strength: float | None,
    start: int,
    base: str | None = None,
    base_sha256: str | None = None,
    int8: dict[str, str] | None = None,
) -> NetworkEntry:
    kinds = ((file, str), (sha256, str), (strength, int | float | None), (start, int), (base, str | None))
    if not all(isinstance(value, kind) for value, kind in kinds):
        raise ValueError("a value of another type")
    if not isinstance(base_sha256, str if base is not None else type(None)):
        raise ValueError("a base without its hash")
    quantized = None if int8 is None else Quantized(**int8)
    if quantized and not all(isinstance(value, str) for value in asdict(quantized).values()):
        raise ValueError("a value of another type")
    return NetworkEntry(file, sha256, strength, start, base, base_sha256, quantized)


def write_bundle(
    folder: Path, name: str, architecture: dict[str, Any], networks: Sequence[Trained], card: str
) -> Bundle:
    """Write networks as a bundle, fp16; files already in `folder` are replaced.

    Low-rank changes are written beside the weights that they change; a network of the bundle with just these weights
    serves as their base.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[str, str] = {}  # hash of a file of whole weights -> its name
    entries = []
    for network in sorted(networks, key=lambda n: bool(n.lora)):
        file = "teacher" if network.strength is None else f"student_eta{network.strength:.2f}"
        weights = {k: v.half() for k, v in network.model.state_dict().items()}
        if not network.lora:
            digest = _write_tensors(folder / f"{file}.safetensors", weights)
            known[digest] = f"{file}.safetensors"
            entries.append(NetworkEntry(known[digest], digest, network.strength, network.start))
            continue
        digest = _write_tensors(folder / "base.safetensors", weights)
        if digest in known:
            (folder / "base.safetensors").unlink()
        base = known.setdefault(digest, "base.safetensors")
        changes = _write_tensors(folder / f"{file}_lora.safetensors", {k: v.half() for k, v in network.lora.items()})
        entries.append(NetworkEntry(f"{file}_lora.safetensors", changes, network.strength, network.start, base, digest))
    manifest = {
        "format": FORMAT,
        "name": name,
        "architecture": architecture,
        "schedule": "cosine",
        "flops_per_pixel": flops_per_pixel(networks[0].model),
        "licence": "Apache-2.0",
        "networks": [entry_facts(entry) for entry in entries],
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card, encoding="utf-8")
    return read_bundle(str(folder))


def entry_facts(entry: NetworkEntry) -> dict[str, Any]:
    """A network as a manifest says it."""
    return {key: value for key, value in asdict(entry).items() if key == "strength" or value is not None}


@torch.no_grad()
def flops_per_pixel(model: Nano, side_px: int = 128) -> float:
    """Floating-point operations of one network call, per pixel of the frame."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    code = model.style(torch.zeros(1, 3, side_px, side_px, device=device))
    h = side_px // 4
    latents = [torch.zeros(1, c, h, h, device=device) for c in (48, 16)]
    with FlopCounterMode(display=False) as counter:
        model(latents[0], torch.zeros(1, dtype=torch.long, device=device), latents[1], code)
    return float(counter.get_total_flops()) / side_px**2


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path, {"format": "pt"})
    path.chmod(0o644)  # safetensors makes private files; a bundle is to be shared
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_verified(path: Path, sha256: str) -> bytes:
    """The content of a file; read once, so that what is verified is what is parsed."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ModelError(f"weight file '{path}' cannot be read; reinstall stdvid or export the bundle again") from exc
    _check(path, hashlib.sha256(data).hexdigest(), sha256)
    return data


def _verified(path: Path, sha256: str) -> Path:
    try:
        found = sha256_of(path)
    except OSError as exc:
        raise ModelError(f"weight file '{path}' cannot be read; reinstall stdvid or export the bundle again") from exc
    _check(path, found, sha256)
    return path


def _check(path: Path, found: str, sha256: str) -> None:
    if found != sha256:
        raise ModelError(
            f"weight file '{path}' has SHA-256 {found[:12]}..., its manifest says {sha256[:12]}...; "
            "it is damaged: reinstall stdvid or export the bundle again"
        )
