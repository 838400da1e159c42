"""Knows the configuration file (TOML): which one counts, and its keys; not what the settings do."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import attrs

from brokersim import files
from brokersim.cli.errors import nearest, usage_error
from brokersim.cli.trusted import check_found
from brokersim.protocol.decoded import JsonObject, JsonView

NAME: Final = "brokersim.toml"
VARIABLE: Final = "BROKERSIM_CONFIG"

#: Keys of the table [start] and what each must be.
START_KEYS: Final[dict[str, tuple[type, ...]]] = {
    "size": (int,), "fanout": (int,), "clock": (str,), "seed": (int,), "hook": (str,), "stats": (str,),
    "modules": (list,), "module_path": (list,), "resources": (str,), "jobs": (str,),
    "state_dir": (str,), "attrs": (dict,),
}  # fmt: skip
_WORDS: Final = {int: "a number", str: "text", list: "a list of text", dict: "a table"}


@attrs.frozen(kw_only=True)
class Config:
    """What the file sets: ``start`` (defaults of the options of start) and ``conf`` (the instance's own)."""

    start: JsonObject = attrs.field(factory=dict)
    conf: JsonObject = attrs.field(factory=dict)


def load_for(explicit: str | None, environ: Mapping[str, str] = os.environ) -> tuple[Config, Path | None]:
    """The settings that count, and the file if a person named it.

    Raises CommandError as `load` does, and for a file that was found and that others could have written, or with it
    what it names.
    """
    path = find(explicit, environ)
    config = load(path)
    if path is None or explicit or environ.get(VARIABLE):
        return config, path
    check_found(path, config.start)
    return config, None


def find(explicit: str | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file that counts: the one named, else ./brokersim.toml, else the user's. None if there is none."""
    named = explicit or environ.get(VARIABLE)
    if named:
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    candidates = (Path(NAME), Path(home) / "brokersim" / NAME)
    return next((path for path in candidates if path.is_file()), None)


def load(path: Path | None) -> Config:
    """The file's settings, checked; nothing for None. Raises CommandError with file, line and key."""
    if path is None:
        return Config()
    try:
        text = files.read_text(path)
        document = tomllib.loads(text)
    except OSError as error:
        raise usage_error(f"{path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise usage_error(f"{path}: not TOML: {error}") from None
    source = _Source(path, text)
    _check_known(source, "", document, ("start", "conf"))
    for table in ("start", "conf"):
        _check_type(source, table, document.get(table, {}), (dict,))
    start = document.get("start", {})
    _check_known(source, "start", start, START_KEYS)
    for key, value in start.items():
        _check_type(source, f"start.{key}", value, START_KEYS[key])
    return Config(start=start, conf=document.get("conf", {}))


class _Source(NamedTuple):
    """What was read, and where: a pipe gives it once."""

    path: Path
    text: str


def _check_known(source: _Source, table: str, found: JsonView, known: Any) -> None:
    for key in found:
        if key not in known:
            where = f"{source.path}:{_line(source.text, key)}"
            near = nearest(key, known)
            hint = f"a similar one is: {near}" if near else f"known: {', '.join(known)}"
            raise usage_error(f"{where}: unknown key {f'{table}.{key}' if table else key!s}", hint=hint)


def _check_type(source: _Source, key: str, value: object, kinds: tuple[type, ...]) -> None:
    right = isinstance(value, kinds) and not isinstance(value, bool)
    if right and isinstance(value, list):
        right = all(isinstance(one, str) for one in value)
    if not right:
        line = _line(source.text, key.rpartition(".")[2])
        words = " or ".join(_WORDS[kind] for kind in kinds)
        raise usage_error(f"{source.path}:{line}: {key} must be {words}, not {value!r:.60}")


def _line(text: str, key: str) -> int:
    """The first line that sets a key; tomllib keeps no places."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip().lstrip("[\"'").startswith(key):
            return number
    return 1
