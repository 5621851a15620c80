"""What the options of a stylization ask for, the same for one clip and for many: a configuration, a Job for a clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stdvid.errors import UsageError

if TYPE_CHECKING:
    from stdvid.config import EncodeConfig, ModelConfig
    from stdvid.stylize import Job

_SAMPLING = (
    "strength",
    "steps",
    "steps_between",
    "guidance",
    "style_scale",
    "style_guidance",
    "color",
    "prompt",
    "negative_prompt",
    "seed",
)
_MODEL = ("precision",)
_VIDEO = ("size", "window", "overlap", "consistency")
_OPTION_NAMES = {
    **{f"sampling.{name}": f"--{name.replace('_', '-')}" for name in _SAMPLING},
    **{f"model.{name}": f"--{name}" for name in _MODEL},
    **{f"video.{name}": f"--{name}" for name in _VIDEO},
    "encode.crf": "--crf",
}


class Asked:
    """The options by the names of the parameters of `stylize`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Raises UsageError for options that contradict one another or are out of range, and as `check_pulled`."""
        from stdvid.config import load_preset
        from stdvid.media.limits import Limits

        from .names import key_values

        if options["yes"] and options["no"]:
            raise UsageError("both -y and -n; allowed: one of them; drop the other")
        if options["quiet"] and options["verbose"]:
            raise UsageError("both -q and -v; allowed: one of them; drop the other")
        overrides = {
            "sampling": {name: options[name] for name in _SAMPLING},
            "model": {name: options[name] for name in _MODEL},
            "video": {name: options[name] for name in _VIDEO},
            "encode": {"crf": options["crf"], "enc": key_values("--enc", options["enc"] or [])},
        }
        self.options = options
        self.config = load_preset(options["preset"], overrides, _OPTION_NAMES)
        check_pulled(options["preset"], self.config.model)
        self._limits = Limits.of(key_values("--limit", options["limit"] or []))
        self._points = {name: _time(f"--{name}", options[name]) for name in ("start", "end")}

    def job(self, source: Path, styles: tuple[Path, ...], target: Path) -> tuple[Job, list[str]]:
        """The job for one clip, and notes on it."""
        from stdvid.media.pipes import is_pipe
        from stdvid.stylize import Job

        asked = self.options
        container = asked.get("format")
        if container is not None and not is_pipe(target):
            raise UsageError("--format is for -o -; an output file's name says what it is; name it so, or use -o -")
        if asked["verify"] and (is_pipe(target) or is_pipe(source)):
            raise UsageError("--verify with a pipe; a file as input and as output is needed; leave it out")
        keep_crf = asked["crf"] is not None
        encode, notes = _encoder(self.config.encode, target, container, asked["codec"], keep_crf)
        yes, no, dry_run = asked["yes"], asked["no"], asked["dry_run"]
        job = Job(
            source=source,
            styles=styles,
            output=target,
            config=dataclasses.replace(self.config, encode=encode),
            container=container,
            audio=not asked["no_audio"],
            subtitles=not asked["no_subtitles"],
            fps_mode=asked["fps_mode"],
            device=asked["device"],
            threads=asked["threads"],
            overwrite=True if yes or dry_run else False if no else None,  # a dry run writes nothing
            resume=asked["resume"],
            verify=asked["verify"],
            limits=self._limits,
            **self._points,
        )
        return job, notes


def check_pulled(preset: str, model: ModelConfig) -> None:
    """Raise ModelError, with the command that gets it all, if something that a preset needs of the hub is not here."""
    from stdvid.models.catalogue import is_bundle
    from stdvid.models.hub import here, sources

    if not is_bundle(model.base):
        for source in sources(model):
            here(source, preset)


def _encoder(
    encode: EncodeConfig, target: Path, container: str | None, asked: str | None, keep_crf: bool
) -> tuple[EncodeConfig, list[str]]:
    """The encoder asked for, or the preset's; if that is only the default, one that the output can hold, and a note.

    The preset's rate factor is meant for the preset's encoder and goes with it.
    """
    from stdvid.config import EncodeConfig
    from stdvid.media.output import default_codec, output_format
    from stdvid.media.pipes import is_pipe

    if target.is_dir():  # no output at all; the plan refuses it
        return encode, []
    usual = default_codec(target, container)
    if is_pipe(target) and (asked or usual) == "libx264":  # each picture at once
        encode = dataclasses.replace(encode, enc={"tune": "zerolatency", **encode.enc})
    codec = asked or (usual if encode.codec == EncodeConfig.codec else encode.codec)
    if codec == encode.codec:
        return encode, []
    note = f"encoding with {codec}: {target.suffix} cannot hold {encode.codec}"
    notes = [] if is_pipe(target) or asked is not None or output_format(target).still else [note]
    return dataclasses.replace(encode, codec=codec, crf=encode.crf if keep_crf else None), notes


def _time(option: str, text: str | None) -> Any:
    if text is None:
        return None
    from stdvid.media.timebase import parse_time_point

    try:
        return parse_time_point(text)
    except UsageError as exc:
        raise UsageError(f"{option}: {exc}") from exc
