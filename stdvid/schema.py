"""The generic loader of settings: frozen dataclasses as the schema of TOML tables.

Any frozen dataclass of scalars, tuples, lists, dicts, Optional, Union, Literal and other dataclasses is a
configuration; its annotations are the schema and `Annotated[float, Range(...)]` its limits:

    from_toml(StylizeConfig, Path("mine.toml"))        TOML file or text -> dataclass
    merge(config, {"sampling": {"steps": 2}})          the same with some values replaced
    to_toml(config)                                    dataclass -> TOML that reads back equal

TOML has no null: an optional value that is absent is written ``"none"``. Every mistake is a `UsageError` of one line
that names the key, the value found, what is allowed, and the nearest known name.
"""

from __future__ import annotations

import difflib
import math
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from stdvid.errors import UsageError
from stdvid.tables import read_table

T = TypeVar("T")
Names = Mapping[str, str]

_TOML_NAMES = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


@dataclass(frozen=True)
class Range:
    """Limits of a number, for ``Annotated[float, Range(above=0, to=1)]``: above < x, start <= x <= to."""

    start: float | None = None
    to: float | None = None
    above: float | None = None

    def admits(self, value: float) -> bool:
        """True if `value` lies inside."""
        return (
            (self.above is None or value > self.above)
            and (self.start is None or value >= self.start)
            and (self.to is None or value <= self.to)
        )

    def __str__(self) -> str:
        low = f"above {self.above:g}" if self.above is not None else ""
        low = low or (f"{self.start:g} or more" if self.start is not None else "")
        if self.to is None:
            return low
        if self.above is None and self.start is not None:
            return f"{self.start:g} to {self.to:g}"
        return f"{low} and at most {self.to:g}" if low else f"at most {self.to:g}"


def from_toml(cls: type[T], source: Path | str, overrides: Mapping[str, Any] | None = None) -> T:
    """Read `cls` from a TOML file (`Path`) or TOML text (`str`); `overrides` win over it.

    A file may begin with `extends = "other.toml"`, a file beside it, and then holds only what differs.

    Raises:
        UsageError: no such file, not TOML, unknown key, wrong type, value out of range.
    """
    origin = f" (in {source})" if isinstance(source, Path) else ""
    table = read_table(source)
    try:
        config = build(cls, table)
    except UsageError as exc:
        raise UsageError(f"{exc}{origin}") from exc
    return merge(config, overrides) if overrides else config


def build(cls: type[T], table: Mapping[str, Any], names: Names | None = None, prefix: str = "") -> T:
    """Make a `cls` of a nested mapping, strictly; keys that are missing keep their defaults.

    Args:
        names: what to call a key ("sampling.steps") in messages, for example {"sampling.steps": "--steps"}.
        prefix: where in the whole the mapping stands ("sampling.").

    Raises:
        UsageError: unknown or missing key, wrong type, value out of range.
    """
    hints = _hints(cls)
    for key in table:
        if key not in hints:
            raise _unknown_key(cls, key, prefix)
    values = {key: _convert(value, hints[key], prefix + key, names or {}) for key, value in table.items()}
    for spec in fields(cast(Any, cls)):
        if spec.name not in values and spec.default is MISSING and spec.default_factory is MISSING:
            raise UsageError(f"{prefix}{spec.name} is missing; it has no default; add it")
    return cls(**values)


def merge(config: T, overrides: Mapping[str, Any], names: Names | None = None, prefix: str = "") -> T:
    """`config` with the values of a nested mapping put in; tables (dicts too) are merged, all else is replaced.

    A value of None means "not given" and changes nothing. `names` and errors: as for `build`.
    """
    hints = _hints(type(config))
    changes: dict[str, Any] = {}
    for key, value in overrides.items():
        if key not in hints:
            raise _unknown_key(type(config), key, prefix)
        old = getattr(config, key)
        if value is None:
            continue
        if is_dataclass(old) and isinstance(value, Mapping):
            changes[key] = merge(old, value, names, f"{prefix}{key}.")
        elif isinstance(old, dict) and isinstance(value, Mapping):
            changes[key] = _convert({**old, **value}, hints[key], prefix + key, names or {})
        else:
            changes[key] = _convert(value, hints[key], prefix + key, names or {})
    return cast(T, replace(cast(Any, config), **changes))


def validate(config: object) -> None:
    """Check every field of a dataclass against its annotation; call it in `__post_init__`.

    Raises:
        UsageError: wrong type or value out of range.
    """
    for key, hint in _hints(type(config)).items():
        _convert(getattr(config, key), hint, key, {})


def to_toml(config: object, inline: bool = False) -> str:
    """`config` as TOML text that `from_toml` reads back equal.

    Plain values come first, then one table a section; if `inline`, sections are values too.
    """
    own: list[str] = []
    tables: list[str] = []
    for spec in fields(cast(Any, config)):
        value = getattr(config, spec.name)
        if is_dataclass(value) and not inline:
            tables.append(f"[{_toml_key(spec.name)}]\n{to_toml(value, inline=True)}")
        else:
            own.append(f"{_toml_key(spec.name)} = {_toml_value(value)}\n")
    return "\n".join(["".join(own)] * bool(own) + tables)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most likely meant, or None."""
    by_lower = {k.lower().replace("_", "-"): k for k in known}
    found = difflib.get_close_matches(name.lower().replace("_", "-"), list(by_lower), n=1, cutoff=0.55)
    return by_lower[found[0]] if found else None


def unknown_name(kind: str, name: str, known: Iterable[str], remedy: str) -> UsageError:
    """The error for a name that is not in a list: what was found, the near match, the list, what to do."""
    names = sorted(known)
    near = nearest(name, names)
    guess = f" (did you mean '{near}'?)" if near else ""
    return UsageError(f"no {kind} named '{name}'{guess}; known: {', '.join(names) or 'none'}; {remedy}")


def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {spec.name: hints[spec.name] for spec in fields(cast(Any, cls))}


def _unknown_key(cls: type, key: str, prefix: str) -> UsageError:
    hints = _hints(cls)
    near = nearest(key, hints)
    nested = {f"{name}.{k}" for name, hint in hints.items() if is_dataclass(hint) for k in _hints(cast(type, hint))}
    at_home = [path for path in sorted(nested) if path.endswith(f".{key}")]
    if at_home:
        guess = f"it belongs to a table: {at_home[0]}"
    else:
        guess = f"did you mean '{prefix}{near}'?" if near else f"known keys: {', '.join(sorted(hints))}"
    return UsageError(f"unknown key '{prefix}{key}'; {guess}")


def _convert(value: Any, hint: Any, path: str, names: Names) -> Any:
    """`value` as the type that `hint` asks for: lists become tuples and integers numbers, nothing else is bent."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        result = _convert(value, args[0], path, names)
        for limit in args[1:]:
            if isinstance(limit, Range) and result is not None and not limit.admits(result):
                raise _bad_value(value, str(limit), path, names)
        return result
    if origin in (Union, types.UnionType):
        if type(None) in args and (value is None or value == "none"):
            return None
        for option in args:
            if is_dataclass(option) and isinstance(value, Mapping):  # a mistake in a table is said where it is
                return build(cast(type, option), value, names, f"{path}.")
            try:
                return _convert(value, option, path, names)
            except UsageError:
                continue
        raise _bad_value(value, _describe(hint), path, names)
    if is_dataclass(hint):
        if isinstance(value, cast(type, hint)):
            return value
        if isinstance(value, Mapping):
            return build(cast(type, hint), value, names, f"{path}.")
    elif origin is Literal:
        if any(value == a and type(value) is type(a) for a in args):
            return value
    elif origin in (list, tuple):
        if isinstance(value, list | tuple):
            kinds = args if origin is tuple and args[1:] != (Ellipsis,) else (args[0],) * len(value)
            if len(kinds) == len(value):
                pairs = enumerate(zip(value, kinds, strict=True))
                return origin(_convert(v, k, f"{path}[{i}]", names) for i, (v, k) in pairs)
    elif origin is dict:
        if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
            return {k: _convert(v, args[1], f"{path}.{k}", names) for k, v in value.items()}
    elif hint in (Any, object):
        return value
    elif hint is Path:
        if isinstance(value, str | Path):
            return Path(value)
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif isinstance(value, hint) and not (isinstance(value, bool) and hint is not bool):
        return value
    raise _bad_value(value, _describe(hint), path, names)


def _bad_value(value: Any, allowed: str, path: str, names: Names) -> UsageError:
    kind = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list", dict: "a table"}
    shown = f"{value!r}, {kind[type(value)]}" if type(value) in kind else repr(value)
    return UsageError(f"{names.get(path, path)} is {shown}; allowed: {allowed}")


def _describe(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = [str(a) for a in args[1:] if isinstance(a, Range)]
        return " ".join([_describe(args[0]), *limits])
    if origin is Literal:
        return ", ".join(repr(a) for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join('"none"' if a is type(None) else _describe(a) for a in args)
    if origin in (list, tuple):
        many = origin is list or args[1:] == (Ellipsis,)
        return f"a list of {_describe(args[0])}" if many else f"[{', '.join(_describe(a) for a in args)}]"
    if origin is dict or is_dataclass(hint):
        return "a table" if is_dataclass(hint) else f"a table of {_describe(args[1])}"
    return _TOML_NAMES.get(hint, "a path" if hint is Path else str(getattr(hint, "__name__", hint)))


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        plain = str(value).replace("\\", "\\\\").replace('"', '\\"')
        return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04x}", plain) + '"'
    if is_dataclass(value):
        return _toml_value({spec.name: getattr(value, spec.name) for spec in fields(cast(Any, value))})
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(_toml_value(v) for v in value) + "]"
