"""Knows the file with the word that whoever writes to a registry over HTTP must say."""

from __future__ import annotations

import stat
from pathlib import Path

from brokersim import files
from brokersim.cli.errors import usage_error


def read_token(path: Path) -> str:
    """The word in a file that only its owner may read. Raises CommandError."""
    try:
        text = files.read_text(path).strip()
        mode = path.stat().st_mode
    except OSError as error:
        raise usage_error(f"--token-file {path}: {error.strerror}") from None
    if not text or any(character.isspace() for character in text):
        raise usage_error(f"--token-file {path}: one word is needed, which is what writers say")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise usage_error(f"--token-file {path}: others may read it", attempt=f"chmod 600 {path}")
    return text
