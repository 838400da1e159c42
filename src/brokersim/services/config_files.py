"""Knows the files of a configuration object, as flux-config(5) has them; not what their keys mean."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from brokersim import files
from brokersim.protocol.decoded import JsonObject


def read_path(path: Path) -> JsonObject:
    """The configuration in a file (TOML, or JSON if it is called so) or in a folder's ``*.toml``, merged.

    Raises ValueError that names the file and what is wrong.
    """
    try:
        paths = files.files_of(path, ".toml") if path.is_dir() else [path]
    except OSError as error:
        raise ValueError(f"configuration {path}: {error.strerror}") from None
    merged: JsonObject = {}
    for file in paths:
        try:
            text = files.read_text(file)
            found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        except OSError as error:
            raise ValueError(f"configuration {file}: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"configuration {file}: {error}") from None
        if not isinstance(found, dict):
            raise ValueError(f"configuration {file}: not an object, but {type(found).__name__}")
        merged = _merged(merged, found)
    return merged


def _merged(one: JsonObject, other: JsonObject) -> JsonObject:
    """Tables of both; where both have a value the later file's stands."""
    both = dict(one)
    for key, value in other.items():
        before = both.get(key)
        both[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both
