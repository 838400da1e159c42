"""Knows the KVS tree objects of RFC 11: how to build, check, store and read them; not where they are stored.

A tree object is a plain dict ``{"ver":1,"type":T,"data":D}``: it goes into payloads as it is, and whoever
gets one may keep it, so nobody changes it after building it. Its stored form is compact JSON with sorted keys
and no NUL, which is what makes equal directories hash alike.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from brokersim.protocol.blobref import blobref, is_blobref
from brokersim.protocol.decoded import Json, JsonObject, JsonView
from brokersim.protocol.errnums import EINVAL, EPROTO, RequestError
from brokersim.protocol.quoting import quoted

TreeObj: TypeAlias = JsonObject

VERSION: Final = 1
#: Deepest nesting of inlined directories that :func:`check` accepts. A stored directory holds dirrefs, so
#: depth only comes from a peer; the bound keeps later recursive walks safe.
MAX_DEPTH: Final = 128

_KEYS: Final = ("ver", "type", "data")
#: Base64 text of values made here of late, and what it stands for. In one process the text itself comes back, to be
#: checked by the kvs or read by job-info, where decoding takes ten times as long as making it did.
_made: dict[str, bytes] = {}
#: So many at most, none of them longer: a megabyte in all. A serial job whose logs are followed makes some seventy.
_MADE_MAX: Final = 256
_MADE_SIZE_MAX: Final = 2048
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_decode_json = msgspec.json.Decoder().decode


def val(data: bytes) -> TreeObj:
    """A value held in the object itself, as base64."""
    text = b2a_base64(data, newline=False).decode()
    if len(text) <= _MADE_SIZE_MAX:
        if len(_made) >= _MADE_MAX:
            _made.clear()
        _made[text] = bytes(data)
    return {"ver": VERSION, "type": "val", "data": text}


def valref(refs: Iterable[str]) -> TreeObj:
    """A value that is the concatenation of one or more blobs. Raises ValueError for anything but blobrefs."""
    held = list(refs)
    _require(bool(held) and all(map(is_blobref, held)), "a valref needs one blobref or more", held)
    return {"ver": VERSION, "type": "valref", "data": held}


def directory(entries: Mapping[str, TreeObj] | None = None) -> TreeObj:
    """A directory of named tree objects (type ``dir``), in a dict of its own; the entries are not checked."""
    return {"ver": VERSION, "type": "dir", "data": dict(entries or {})}


def dirref(ref: str) -> TreeObj:
    """A directory stored as the blob of that name. Raises ValueError if it is no blobref."""
    _require(is_blobref(ref), "a dirref needs a blobref", ref)
    return known_dirref(ref)


def known_dirref(ref: str) -> TreeObj:
    """The same for a blobref of our own making, which needs no look: the kvs makes five a commit."""
    return {"ver": VERSION, "type": "dirref", "data": [ref]}


def symlink(target: str, namespace: str | None = None) -> TreeObj:
    """A pointer to another key, in the same namespace unless one is given. Raises ValueError if empty."""
    _require(bool(target), "a symlink needs a target key", target)
    _require(namespace != "", "the namespace of a symlink must have a name", namespace)
    data = {"target": target} if namespace is None else {"target": target, "namespace": namespace}
    return {"ver": VERSION, "type": "symlink", "data": data}


def _require(condition: bool, rule: str, got: object) -> None:
    if not condition:
        raise ValueError(f"{rule}, not {quoted(got)}")


def val_bytes(obj: TreeObj) -> bytes:
    """The bytes a ``val`` holds. Raises RequestError(EPROTO) for broken base64, EINVAL for another type."""
    if obj["type"] != "val":
        raise RequestError(EINVAL, f"a {obj['type']} holds no value of its own; only a val does")
    data = obj["data"]
    held = _made.get(data) if type(data) is str else None
    return _base64(data, "") if held is None else held


def encode(obj: TreeObj) -> bytes:
    """The stored form: equal objects, equal bytes. Raises RequestError(EPROTO) if JSON cannot carry it."""
    try:
        return _encode_sorted(obj)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.EncodeError) as error:
        raise RequestError(EPROTO, f"treeobj cannot be stored as JSON: {error}") from None


def decode(data: bytes) -> TreeObj:
    """The object in its stored form, checked. Raises RequestError(EPROTO) that names what is wrong."""
    try:
        obj = _decode_json(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError(EPROTO, f"treeobj: {len(data)} bytes that are not JSON") from None
    return check(obj)


def check(obj: Json) -> TreeObj:
    """The same object, if it is well-formed through and through; for whatever comes from a peer.

    Raises RequestError(EPROTO) whose text names the entry and the fault:
    ``treeobj 'a.b': data of a val must be base64 text``.
    """
    if _sound_val(obj) is None:  # as few are that are committed
        _check_all(obj)
    checked: TreeObj = obj
    return checked


def check_held(obj: Json) -> bytes | None:
    """The same check; what the object holds if it is a val, which had to be decoded for it."""
    held = _sound_val(obj)
    if held is None:
        _check_all(obj)
        if obj["type"] == "val":
            return val_bytes(obj)
    return held


def _check_all(obj: Json) -> None:
    first = _check_one("", obj)
    todo = [(name, entry, 1) for name, entry in first.items()] if first else ()
    while todo:  # a list, not recursion: the depth is the peer's choice
        at, item, depth = todo.pop()
        entries = _check_one(at, item)
        if entries and depth >= MAX_DEPTH:
            raise _malformed(at, f"directories are nested deeper than {MAX_DEPTH}")
        for name, entry in entries.items():
            todo.append((f"{at}.{name}" if at else name, entry, depth + 1))


def _sound_val(obj: Json) -> bytes | None:
    """What a usual val holds; None if it is something else, or `_check_one` has words for what is wrong with it."""
    if type(obj) is not dict or len(obj) != len(_KEYS) or obj.get("type") != "val":
        return None
    data = obj.get("data")
    if type(data) is not str or type(obj.get("ver")) is not int or obj["ver"] != VERSION:
        return None
    held = _made.get(data)
    if held is not None:
        return held
    try:
        return a2b_base64(data, strict_mode=True)
    except ValueError:
        return None


def _check_one(at: str, obj: object) -> JsonView:
    """Checks one level; the entries still to be checked."""
    if not isinstance(obj, dict):
        raise _malformed(at, f"must be a JSON object, not {_kind(obj)}")
    try:
        ver, kind, data = obj["ver"], obj["type"], obj["data"]
    except KeyError:
        raise _malformed(at, f"lacks {', '.join(key for key in _KEYS if key not in obj)}") from None
    if type(ver) is not int or ver != VERSION:  # True == 1 in Python, not in JSON
        raise _malformed(at, f"ver must be {VERSION}, not {quoted(ver)}")
    check_data = _CHECKS.get(kind) if isinstance(kind, str) else None
    if check_data is None:
        raise _malformed(at, f"type must be one of {', '.join(_CHECKS)}, not {quoted(kind)}")
    if len(obj) > len(_KEYS):
        _check_extra(at, obj)
    return check_data(at, data)


def _check_extra(at: str, obj: TreeObj) -> None:
    """RFC 11 knows one optional name; any other would change the object's hash unseen."""
    for key, value in obj.items():
        if key == "size" and obj["type"] in ("val", "valref"):
            if type(value) is not int or value < 0:
                raise _malformed(at, f"size must be a count of bytes, not {quoted(value)}")
        elif key not in _KEYS:
            raise _malformed(at, f"a {obj['type']} has no {quoted(key)}")


def _check_val(at: str, data: object) -> JsonView:
    _base64(data, at)
    return {}


def _check_valref(at: str, data: object) -> JsonView:
    if not isinstance(data, list) or not data or not all(map(is_blobref, data)):
        raise _malformed(at, "data of a valref must be a list of one blobref or more")
    return {}


def _check_dirref(at: str, data: object) -> JsonView:
    if not isinstance(data, list) or len(data) != 1 or not is_blobref(data[0]):
        raise _malformed(at, "data of a dirref must be a list of exactly one blobref")
    return {}


def _check_dir(at: str, data: object) -> JsonView:
    if not isinstance(data, dict):
        raise _malformed(at, f"data of a dir must be an object of entries, not {_kind(data)}")
    for name in data:
        if not name or "." in name:  # no key could reach it: a dot separates the parts of a key
            raise _malformed(at, f"{quoted(name)} cannot be the name of an entry: it is empty or has a dot")
    return data


def _check_symlink(at: str, data: object) -> JsonView:
    if not isinstance(data, dict) or not data.keys() <= {"target", "namespace"}:
        raise _malformed(at, "data of a symlink must be an object with a target and perhaps a namespace")
    for key in ("target", *data):
        if not isinstance(data.get(key), str) or not data[key]:
            raise _malformed(at, f"{key} of a symlink must be text, not {quoted(data.get(key))}")
    return {}


_CHECKS: Final[dict[str, Callable[[str, Any], JsonView]]] = {
    "val": _check_val,
    "valref": _check_valref,
    "dir": _check_dir,
    "dirref": _check_dirref,
    "symlink": _check_symlink,
}


def _base64(data: object, at: str) -> bytes:
    try:
        return a2b_base64(data, strict_mode=True) if isinstance(data, str) else _not_text()
    except ValueError:
        raise _malformed(at, "data of a val must be base64 text") from None


def _not_text() -> bytes:
    raise ValueError


def _malformed(at: str, fault: str) -> RequestError:
    return RequestError(EPROTO, f"treeobj {at!r}: {fault}" if at else f"treeobj: {fault}")


def _kind(value: object) -> str:
    return _JSON_KINDS.get(type(value), type(value).__name__)


_JSON_KINDS: Final[dict[type, str]] = {
    dict: "an object", list: "a list", str: "text", int: "a number", float: "a number", bool: "a boolean",
    type(None): "null",
}  # fmt: skip


#: The blobref of the empty directory: rootref of a fresh namespace.
EMPTY_DIR_REF: Final = blobref(encode(directory()))
