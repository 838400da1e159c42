"""The real Flux that tests are held against, where there is one; they are skipped loudly elsewhere."""

from __future__ import annotations

import shutil
import warnings

import pytest

FLUX = shutil.which("flux")
_SKIPPED = (
    "NOT TESTED IN A REAL FLUX: no `flux` on PATH; its modules are not hooked, nothing is measured there"
)


def needs_flux() -> str:
    """The command; skips the test without it."""
    if FLUX is None:
        warnings.warn(_SKIPPED, stacklevel=2)
        pytest.skip(_SKIPPED)
    return FLUX
