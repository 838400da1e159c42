"""Knows how a topic string splits and matches; not who serves it."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from typing import Final

from brokersim.protocol.quoting import quoted

#: Characters of a glob. What it costs to read one grows with the square: 20,000 times ``[a`` are ten seconds.
GLOB_MAX: Final = 500


def service_of(topic: str) -> str:
    """The service a request goes to: what stands before the FIRST dot, or the whole topic (RFC 3).

    ``job-info.eventlog-watch`` goes to ``job-info``, ``a.b.c`` to ``a``.
    """
    return topic.partition(".")[0]


def method_of(topic: str) -> str:
    """What a service is asked to do: all that follows the first dot, ``""`` if nothing does."""
    return topic.partition(".")[2]


def disconnect_service(topic: str) -> str:
    """What a disconnect is remembered by: the text before the LAST dot, or the whole topic.

    The other end of the topic than :func:`service_of`, as upstream has it; they differ from two dots on.
    """
    return topic.rpartition(".")[0] or topic


def check_glob(glob: str) -> str:
    """The glob, which somebody else gave. Raises ValueError for one so long that it would hold who reads it."""
    if len(glob) > GLOB_MAX:
        raise ValueError(f"a glob has at most {GLOB_MAX} characters, not {len(glob)}: {quoted(glob)}")
    return glob


def topic_matcher(glob: str) -> Callable[[str], bool]:
    """A test whether a topic matches a shell glob (``*``, ``?``, ``[a-z]``); a dot is nothing special.

    Compiled once, because module.trace asks for every message. Raises ValueError as :func:`check_glob`.
    """
    if glob in ("*", ""):  # an empty glob sets no condition (RFC 3 match rules)
        return _everything
    match = re.compile(translate(check_glob(glob))).match
    return lambda topic: match(topic) is not None


def _everything(topic: str) -> bool:
    return True
