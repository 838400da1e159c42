"""Knows the options that tools on recorded streams share, and how a wrong value is told; no tool itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click

from brokersim.cli.errors import usage_error
from brokersim.cli.session import Session
from brokersim.cli.stats.recording import Recording
from brokersim.cli.types import DURATION, Parsed
from brokersim.protocol.plurals import counted

F = TypeVar("F", bound=Callable[..., Any])


def check_dialect(text: str) -> str:
    """The dialect's own name. Raises ValueError that lists them."""
    from brokersim.statsd.dialects import dialect_name

    return dialect_name(text)


#: Every name there is, other names of a dialect behind it.
DIALECT_NAMES: Final = "strict (dogstatsd, prom), etsy (statsd), brubeck, collectd"
DIALECT: Final = Parsed("dialect", check_dialect)


def dialect_option(command: F) -> F:
    return click.option(
        "--dialect",
        type=DIALECT,
        default="strict",
        metavar="NAME",
        help="strict, etsy, brubeck, collectd  [strict]",
    )(command)


def flush_option(command: F) -> F:
    return click.option("--flush", type=DURATION, default="1s", metavar="FSD", help="flush interval  [1s]")(
        command
    )


@contextmanager
def wrong_use() -> Iterator[None]:
    """A ValueError inside, which says what would be right, is told as a usage error."""
    try:
        yield
    except ValueError as error:
        raise usage_error(str(error)) from None


def warn_if_cut(session: Session, recording: Recording) -> None:
    if recording.is_cut:
        session.say(
            f"warning: {recording.name}: its gzip data breaks off behind {counted(len(recording.records), 'packet')}"
        )
