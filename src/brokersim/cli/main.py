"""Knows that a command line goes the short way if there is one, or else to the whole surface; and how it ends."""

from __future__ import annotations

import os
import sys

from brokersim.cli.quick import Aside, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from brokersim.cli.quick import Peer

_FAILED = 1
_INTERRUPTED = 130


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command line; the exit code. Failures are told on stderr, never raised."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        return _run(words)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BaseExceptionGroup as group:  # ^C in nurseries
        if group.split(KeyboardInterrupt)[1] is None:
            return _INTERRUPTED
        raise
    except BrokenPipeError:
        return _reader_gone()


def _run(words: list[str]) -> int:
    peer: Peer | None = None
    failure: OSError | None = None
    try:
        return run(words)
    except Aside as aside:
        peer = aside.peer
    except BrokenPipeError:
        raise
    except OSError as error:
        failure = error
    # Not at the top: it brings click and msgspec, half of what a short command takes.
    from brokersim.cli.session import Session
    from brokersim.cli.surface import fail, run_whole

    return run_whole(words, peer) if failure is None else fail(failure, words, Session())


def _reader_gone() -> int:
    """``brokersim ... | head`` closed our stdout: say nothing, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _FAILED


if __name__ == "__main__":
    sys.exit(main())
