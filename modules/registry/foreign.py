"""Knows other people's schemas: JSON Schema files that records must satisfy besides our own; never fetches any."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from brokersim.brokermod import files

from .schemas import COLLECTIONS

#: Faults told of one record: a schema may find any number in a large one.
_FAULTS_MAX: Final = 20
_TEXT_MAX: Final = 160


class Foreign:
    """Schemas by the names of their files. One named as a collection is for all its records, another for those that
    say ``"$schema": NAME``; schemas may refer to each other by their names or ids.

    Raises ValueError for what is none, or where the extra ``schemas`` is not installed.
    """

    def __init__(self, path: Path | None) -> None:
        self._schemas = {} if path is None else _read(path)
        self._checks = _validators(self._schemas) if self._schemas else {}

    def shown(self) -> dict[str, Any]:
        """By name, those that are not named as a collection, whose own schema stands; those as ``NAME.json``."""
        return {f"{name}.json" if name in COLLECTIONS else name: one for name, one in self._schemas.items()}

    def faults(self, collection: str, record: Mapping[str, Any], pointer: str) -> Iterator[str]:
        """What they find wrong, each with its JSON pointer."""
        named = record.get("$schema")
        if named is not None and (named not in self._checks or named in COLLECTIONS):
            known = ", ".join(name for name in self._checks if name not in COLLECTIONS) or "none"
            yield f"{pointer}/$schema: no schema {named!r:.60}; there are {known}"
            return
        told = (self._told(name, record, pointer) for name in (collection, named) if name in self._checks)
        yield from itertools.islice(itertools.chain.from_iterable(told), _FAULTS_MAX)

    def _told(self, name: str, record: Mapping[str, Any], pointer: str) -> Iterator[str]:
        referencing = _library("referencing")
        document = {key: value for key, value in record.items() if key != "$schema"}
        try:
            for error in self._checks[name].iter_errors(document):
                steps = (str(step).replace("~", "~0").replace("/", "~1") for step in error.absolute_path)
                where = "/".join([pointer, *steps]) or "/"
                yield f"{where}: {error.message.replace('; ', ', ')[:_TEXT_MAX]} (schema {name})"
        except (referencing.exceptions.Unresolvable, re.error, RecursionError) as error:
            yield f"{pointer or '/'} cannot be checked by schema {name}: {error}"


def _read(path: Path) -> dict[str, Any]:
    try:
        paths = files.files_of(path, ".json") if path.is_dir() else [path]
        found = {file.stem: _document(file) for file in paths}
    except OSError as error:
        raise ValueError(f"schemas={path}: {error.strerror}") from None
    if not found:
        raise ValueError(f"schemas={path}: no file *.json in it")
    return found


def _document(file: Path) -> Any:
    try:
        found = msgspec.json.decode(files.read_bytes(file))
    except msgspec.DecodeError as error:
        raise ValueError(f"schemas: {file} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"schemas: {file} is no JSON Schema, which is an object: {found!r:.40}")
    return found


def _library(name: str) -> Any:
    """It and its types are only there where the extra is installed."""
    try:
        return import_module(name)
    except ImportError:
        raise ValueError("schemas=PATH needs jsonschema: pip install 'brokersim[schemas]'") from None


def _validators(schemas: Mapping[str, Any]) -> dict[str, Any]:
    jsonschema, referencing = _library("jsonschema"), _library("referencing")
    newest = _library("referencing.jsonschema").DRAFT202012
    for name, schema in schemas.items():
        _check(jsonschema, name, schema)
    made = {name: referencing.Resource.from_contents(one, newest) for name, one in schemas.items()}
    pairs = [*made.items(), *((one.id(), one) for one in made.values() if one.id())]
    # A registry of its own: the library's would fetch what it does not know from the web.
    registry = referencing.Registry().with_resources(pairs)
    return {name: _kind(jsonschema, one)(one, registry=registry) for name, one in schemas.items()}


def _kind(jsonschema: Any, schema: Any) -> Any:
    return jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)


def _check(jsonschema: Any, name: str, schema: Any) -> None:
    try:
        _kind(jsonschema, schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        where = "/".join(["", *map(str, error.absolute_path)])
        raise ValueError(
            f"schemas: {name}.json is no JSON Schema at {where or '/'}: {error.message:.160}"
        ) from None
