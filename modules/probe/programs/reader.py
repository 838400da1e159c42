"""A program: opens a probe (its argument, as JSON) and prints a reading for each newline of its input."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any


def _package() -> Any:
    """The folder above this one, as a package: it is loaded by path, like the module itself."""
    folder = Path(__file__).parent.parent
    spec = importlib.util.spec_from_file_location(
        "probe_worker", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    package = sys.modules["probe_worker"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def main() -> None:
    """What a probe prints by mistake goes to stderr, or it would be taken for a reading."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    wanted = json.loads(sys.argv[1])
    read = _package().reader(wanted["probe"], wanted["config"], wanted["rank"])
    for _ in sys.stdin:
        try:
            line = json.dumps({"answer": read()})
        except Exception as error:
            line = json.dumps({"error": f"{type(error).__name__}: {error}"})
        out.write(line + "\n")


if __name__ == "__main__":
    main()
