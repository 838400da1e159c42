"""Keys of the strict dialect: names and tags whole, told apart whatever an output must change of them.

Knows nothing of values. A key is the name as it came and `;tag=value` for each tag, sorted. What people and outputs see
is made from it: where that is less than came, two keys may look alike, and then the later one is refused.
"""

from __future__ import annotations

import re

from brokersim.statsd.names import MAX_KEY, clean
from brokersim.statsd.sample import BadLineError

# Stands in a key for what would be taken for a separator there; no line may hold it.
_HELD = b"\x1f"
_PLAIN = re.compile(rb"[A-Za-z0-9_.=\-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_BRACKET = re.compile(rb"[\[\]]")
_BLANKS = re.compile(r"\s+")
# ASCII that statsd drops. What other alphabets have is kept: carbon and Prometheus' labels can hold it.
_DROPPED = re.compile(r"[\x00-\x7f](?<![A-Za-z0-9_.=\-])")
# carbon refuses a tag whose name has one of these, and a value that begins with `~`.
_NOT_IN_TAG = re.compile(r"[;!^=\s\x00-\x1f\x7f]")
_NOT_IN_VALUE = re.compile(r"[;\x00-\x1f\x7f]|^~")
_NOT_IN_PATH = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


def strict_key(name: bytes, tags: bytes, reserved: bytes) -> bytes:
    """The key of a line's name and of its `|#` section without the mark. Raises BadLineError.

    A tag without a value, or with an empty one, is `tag=true`. `name,tag=value`, `name#tag=value` and
    `na[tag=value]me` are read like `name;tag=value`.
    `reserved` is what no shown name may begin with.
    """
    if not tags and _PLAIN.fullmatch(name):
        key = name
    else:
        key = _tagged(name, tags)
        if reserved and shown_key(key).encode("utf-8").startswith(reserved):
            raise BadLineError("reserved_name")
    if len(key) > MAX_KEY:
        raise BadLineError("name_too_long")
    if reserved and key.startswith(reserved):
        raise BadLineError("reserved_name")
    return key


def _tagged(name: bytes, section: bytes) -> bytes:
    if _CONTROL.search(name) or _CONTROL.search(section):
        raise BadLineError("bad_name")
    name = _tags_last(name)
    base, *own = name.replace(b",", b";").split(b";")
    if b"," in name and not all(b"=" in tag for tag in own):
        raise BadLineError("bad_name")
    tags = [_tag(*tag.partition(b"=")) for tag in own if tag]
    # Datadog's PHP client begins each tag with a mark.
    section_tags = [tag.removeprefix(b"#") for tag in section.split(b",")]
    tags += [_tag(*tag.partition(b":")) for tag in section_tags if tag]
    key = b";".join([base, *sorted(set(tags))])
    try:
        shown = _shown_name(base.decode("utf-8"))
        key.decode("utf-8")
    except UnicodeDecodeError:
        raise BadLineError("bad_name") from None
    if not shown:
        raise BadLineError("no_name")
    return key


def _tags_last(name: bytes) -> bytes:
    """`name,a=b` for Librato's `name#a=b` and SignalFx' `na[a=b]me`; a name that has no tags there as it came."""
    before, _, rest = name.partition(b"[")
    inside, end, behind = rest.partition(b"]")
    if end and not _BRACKET.search(inside + behind) and (not inside or _are_tags(inside)):
        return before + behind + (b"," + inside if inside else b"")
    before, mark, inside = name.partition(b"#")
    return before + b"," + inside if mark and _are_tags(inside) else name


def _are_tags(text: bytes) -> bool:
    return all(b"=" in tag for tag in text.split(b","))


def _tag(name: bytes, _: bytes, value: bytes) -> bytes:
    if not name:
        raise BadLineError("bad_tag")
    return b"%b=%b" % (
        name.replace(b";", _HELD).replace(b"=", _HELD),
        value.replace(b";", _HELD) or b"true",
    )


def _shown_name(name: str) -> str:
    """statsd's cleaning, but for letters of other alphabets."""
    if name.isascii():
        return clean(name.encode("ascii")).decode("ascii").replace(";", "")
    return _DROPPED.sub("", _BLANKS.sub("_", name).replace("/", "-"))


def shown_key(key: bytes) -> str:
    """What people and outputs get for a key; of what is shown, the same. Values of tags are whole but for `;`."""
    if _PLAIN.fullmatch(key):
        return key.decode("ascii")
    name, *tags = key.decode("utf-8", "backslashreplace").split(";")
    shown = [_shown_name(name)]
    for tag in tags:
        tag_name, equals, value = tag.partition("=")
        shown.append(f"{_NOT_IN_TAG.sub('_', tag_name)}{equals}{_NOT_IN_VALUE.sub('_', value)}")
    return ";".join(shown)


def graphite_path(name: str) -> str:
    """A shown name as one word of a line. Most are already."""
    return name if name.isascii() and name.isprintable() and " " not in name else _NOT_IN_PATH.sub("_", name)


def stored_key(key: bytes) -> bytes:
    """The coarsest form any output has of a key: two that are equal here would be one series somewhere."""
    if _PLAIN.fullmatch(key):
        return key
    return graphite_path(shown_key(key)).encode("utf-8")
