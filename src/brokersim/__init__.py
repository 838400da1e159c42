"""brokersim: run broker modules, count their messages, test the counts. The door for programs."""

from __future__ import annotations

__all__ = ["__version__", "open_instance", "run"]


def __getattr__(name: str) -> object:
    # The command line imports this package and must not pay for trio (0.1 s) before it needs it.
    if name == "__version__":
        from brokersim.version import VERSION

        return VERSION
    if name in ("open_instance", "run"):
        from brokersim import program

        return getattr(program, name)
    raise AttributeError(f"module 'brokersim' has no attribute {name!r}")
