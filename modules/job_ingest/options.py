"""Knows the arguments of job-ingest (flux-core's names); not what they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

#: A generator's number has 14 bits in an id.
GENERATOR_MAX: Final = (1 << 14) - 1
_KNOWN: Final = (
    "batch-count",
    "disable-frobnicator",
    "disable-validator",
    "max-fluid-generator-id",
    "validator-args",
    "validator-plugins",
)


@attrs.frozen(kw_only=True)
class Options:
    """``batch_count`` jobs are handed on at once, not after 10 ms (0: never for their number). None: not given."""

    batch_count: int | None = None
    #: On ranks above it the module ends as soon as it is loaded.
    generator_max: int = GENERATOR_MAX
    #: Names and arguments of the checks, in place of the configuration's.
    plugins: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    #: Jobspecs need only be sound.
    disables: bool = False
    #: Jobspecs get the defaults and constraints of the configuration.
    completes: bool = True


def to_options(args: Sequence[str]) -> Options:
    """Raises ValueError that names the argument which is none, or what it may be."""
    options = Options()
    for arg in args:
        name, _, value = arg.partition("=")
        if name == "batch-count":
            options = attrs.evolve(options, batch_count=_number(arg, value, 1_000_000))
        elif name == "max-fluid-generator-id":
            options = attrs.evolve(options, generator_max=_number(arg, value, GENERATOR_MAX))
        elif name == "validator-args" and value:
            options = attrs.evolve(options, args=tuple(value.split(",")))
        elif name == "validator-plugins" and value:
            options = attrs.evolve(options, plugins=tuple(value.split(",")))
        elif arg == "disable-frobnicator":
            options = attrs.evolve(options, completes=False)
        elif arg == "disable-validator":
            options = attrs.evolve(options, disables=True)
        else:
            raise ValueError(f"unknown argument {arg!r}; there are {', '.join(_KNOWN)}")
    return options


def _number(arg: str, text: str, most: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > most:
        raise ValueError(f"argument {arg!r}: give a number from 0 to {most}")
    return int(text)
