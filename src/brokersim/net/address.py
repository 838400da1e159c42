"""Knows how an instance is addressed, and which address the environment gives; not which instances there are.

Apart from `discovery.py`, which looks for them in folders: what is given an address starts without all that takes.
"""

from __future__ import annotations

import os

SCHEME = "local://"
#: Longest path of a Unix socket in bytes: sun_path is 108 with its NUL.
MAX_PATH = 107
ENVIRONMENT = ("BROKERSIM_URI", "FLUX_URI")


def socket_path(uri: str) -> str:
    """The path in ``local:///path``. Raises ValueError for another scheme, a relative or a too long path."""
    path = uri.removeprefix(SCHEME)
    if path == uri or not path.startswith("/"):
        raise ValueError(
            f"not a socket address: {uri!r}; give local:///absolute/path/local-0, a path or a name"
        )
    size = len(os.fsencode(path))
    if size > MAX_PATH:
        raise ValueError(f"socket path of {size} bytes, a Unix socket allows {MAX_PATH}: {path}")
    return path
