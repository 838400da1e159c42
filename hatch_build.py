"""Compiles the C twins of src/brokersim/native: into a wheel, or beside their sources for an editable install.

Never a reason to fail: what cannot be compiled, for want of a compiler or of Python's headers, is left out, and its
Python twin does the work. BROKERSIM_PURE=1 leaves all of it out. Needs nothing but the compiler that Python was built
with (sysconfig; CC and CFLAGS are heeded).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TWINS = Path("src", "brokersim", "native")
#: Seconds one file may take; the largest takes three.
PATIENCE = 300


def command(source: Path, out: Path) -> list[str]:
    """How one file becomes an extension. Raises LookupError where this Python cannot say."""
    told = [sysconfig.get_config_var(name) for name in ("CC", "CFLAGS", "CCSHARED", "LDSHARED")]
    if sys.platform == "win32" or None in (told[0], told[3]):
        raise LookupError("this Python doesn't say how it was compiled")
    compiler = shlex.split(os.environ.get("CC") or told[0])
    flags = shlex.split(" ".join(filter(None, (told[1], told[2], os.environ.get("CFLAGS")))))
    link = shlex.split(told[3])[1:]  # the first word is the compiler again
    headers = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    return [
        *compiler, *flags, "-std=c11", "-fvisibility=hidden", *(f"-I{folder}" for folder in sorted(headers)),
        str(source), *link, "-o", str(out),
    ]  # fmt: skip


def compiled(source: Path, folder: Path) -> Path:
    """Compile one file into ``folder``. Raises OSError, LookupError or a SubprocessError, and leaves nothing then."""
    out = folder / f"{source.stem}{sysconfig.get_config_var('EXT_SUFFIX')}"
    # Beside the target, and moved onto it: a process that has the old one in its memory keeps it.
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        made = Path(aside) / out.name
        subprocess.run(
            command(source, made),
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )
        made.replace(out)
    return out


class CustomBuildHook(BuildHookInterface[Any]):
    """What hatchling asks before it gathers files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """``version`` is "standard", or "editable": then the files stay where the checkout has its sources."""
        sources = sorted((Path(self.root) / TWINS).glob("*.c"))
        is_editable = version == "editable"
        folder = Path(self.root) / TWINS
        if not is_editable:
            self._aside = tempfile.TemporaryDirectory()
            folder = Path(self._aside.name)
        for source in sources:
            if os.environ.get("BROKERSIM_PURE"):
                break
            try:
                made = compiled(source, folder)
            except (OSError, LookupError, subprocess.SubprocessError) as error:
                why = (getattr(error, "stderr", None) or str(error)).strip()
                self.app.display_warning(f"{source.name} is not compiled, Python will do its work: {why}")
                continue
            if not is_editable:
                build_data["force_include"][str(made)] = f"brokersim/native/{made.name}"
                build_data["pure_python"] = False
                build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel has been written."""
        if hasattr(self, "_aside"):
            self._aside.cleanup()
