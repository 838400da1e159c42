"""Knows how what JSON decodes to is called in annotations; not how it is decoded (`message.py`, `lean.py`).

A recursive type of what JSON can hold would be exact, and would have each reader prove again what the handler's Struct
or the RFC it was written from says of a field. So a type checker does not look inside these; the names say that what
is inside came from outside, and that whoever reads it answers for its shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

#: Null, a bool, a number, a string, an array or an object, whichever the peer sent.
Json: TypeAlias = Any
#: An object, to be filled in or changed.
JsonObject: TypeAlias = dict[str, Any]
#: An object that is only read.
JsonView: TypeAlias = Mapping[str, Any]
