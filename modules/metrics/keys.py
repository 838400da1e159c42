"""Knows keys: what one may be, its canonical text (which is its order), and how a stat changes it before counting."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

import msgspec

from brokersim.brokermod import check_glob, quoted

#: A key as callers give it: an object of plain values, or a text that stands for ``{"str": text}``.
Key = str | Mapping[str, Any]
#: Bytes of a key's canonical text.
KEY_MAX = 1000
#: Where keys go for which a table has no room left.
OVERFLOW = '{"overflow":true}'
#: Canonical texts of keys that are texts. Those of one epoch mostly come again in the next, and on other ranks of this
#: process too: so there is one for all. Whoever finds the text of a key that it takes as it is puts it here.
TEXTS: dict[str, str] = {}
_TEXTS_MAX = 1 << 18
#: Characters of a key whose text is kept: all that are make 120 MB at most, and few are longer.
_KEPT_MAX = 128
_encode = msgspec.json.Encoder(order="sorted").encode
_PLAIN = (str, int, float, bool, type(None))


class BadKey(ValueError):
    """A key that is none, or that a stat's normaliser cannot take."""


def canonical(key: Key) -> str:
    """The text that a key is known by: JSON, fields sorted, no blanks. Raises BadKey."""
    if isinstance(key, str):
        key = {"str": key}
    if not isinstance(key, Mapping) or not all(isinstance(value, _PLAIN) for value in key.values()):
        raise BadKey(f"a key is a text or an object of plain values, not {quoted(key)}")
    try:
        encoded = _encode(dict(key))
    except (TypeError, ValueError, OverflowError) as error:
        raise BadKey(f"key {quoted(key)}: {error}") from None
    if len(encoded) > KEY_MAX:
        raise BadKey(f"a key of {len(encoded)} bytes; {KEY_MAX} are the most")
    return encoded.decode()


def known(key: str) -> str:
    """``canonical`` of a text, which is looked up first."""
    text = TEXTS.get(key)
    if text is None:
        text = canonical(key)
        if len(key) <= _KEPT_MAX:
            if len(TEXTS) >= _TEXTS_MAX:
                TEXTS.clear()
            TEXTS[key] = text
    return text


def parsed(text: str) -> dict[str, Any]:
    """The object behind a canonical text."""
    key: dict[str, Any] = msgspec.json.decode(text)
    return key


Normalise = Callable[[dict[str, Any]], "dict[str, Any] | None"]
Predicate = Callable[[Mapping[str, Any], Any], object]


def masked(bits: int) -> Normalise:
    """``host`` becomes the ``network`` of so many leading bits that it is in. Raises BadKey for a host that is none."""

    def normalise(key: dict[str, Any]) -> dict[str, Any]:
        host = _host(key)
        if host is not None:
            width = min(bits, host.max_prefixlen)
            del key["host"]
            key["network"] = str(ipaddress.ip_network((host, width), strict=False))
        return key

    return normalise


def tabled(networks: list[str]) -> Normalise:
    """``host`` becomes the longest of these networks it is in; in none, this stat does not count it."""
    known = sorted(map(ipaddress.ip_network, networks), key=lambda one: -one.prefixlen)

    def normalise(key: dict[str, Any]) -> dict[str, Any] | None:
        host = _host(key)
        if host is None:
            return key
        found = next((one for one in known if one.version == host.version and host in one), None)
        if found is None:
            return None
        del key["host"]
        key["network"] = str(found)
        return key

    return normalise


def _host(key: Mapping[str, Any]) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if "host" not in key:
        return None
    try:
        return ipaddress.ip_address(key["host"])
    except ValueError as error:
        raise BadKey(f"key {quoted(dict(key))}: {error}") from None


def dropped(fields: list[str]) -> Normalise:
    """Without these fields."""
    return lambda key: {name: value for name, value in key.items() if name not in fields}


def kept(fields: list[str]) -> Normalise:
    """Only these fields, null where there is none."""
    return lambda key: {name: key.get(name) for name in fields}


def projected(text: str, fields: list[str]) -> str:
    """The canonical text of a key with only these fields."""
    key = parsed(text)
    return canonical({name: key.get(name) for name in fields})


def where(wanted: Mapping[str, str]) -> Predicate:
    """Keys whose fields match these globs. Raises ValueError for one that is too long."""
    for glob in wanted.values():
        check_glob(glob)

    def holds(key: Mapping[str, Any], _value: Any) -> bool:
        return all(name in key and fnmatchcase(str(key[name]), glob) for name, glob in wanted.items())

    return holds


_NAMED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def named(text: str) -> Callable[..., Any]:
    """The function behind ``module:function``. Raises ValueError that says what is wrong with it."""
    if not _NAMED.fullmatch(text):
        raise ValueError(f"not module:function: {quoted(text)}")
    module, _, name = text.partition(":")
    try:
        found: Callable[..., Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{quoted(text)}: {error}") from None
    return found
