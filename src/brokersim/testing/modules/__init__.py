"""Paths of modules that misbehave, to be loaded beside one's own: ``await broker.load(modules.SILENT)``.

Each answers ``<name>.ask`` in its own bad way; the files beside this one say how.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
#: Never answers.
SILENT: Final = str(_HERE / "silent.py")
#: Answers after ``seconds=N`` of the instance's time (1).
SLOW: Final = str(_HERE / "slow.py")
#: Ends with an exception.
CRASHING: Final = str(_HERE / "crashing.py")
#: Its handler never returns: the watchdog has to end it (``handler_timeout`` of the marker).
HANGING: Final = str(_HERE / "hanging.py")
#: Sends ``number=N`` requests and as many events for each one it gets (1000).
FLOODING: Final = str(_HERE / "flooding.py")
#: Answers twice.
DOUBLING: Final = str(_HERE / "doubling.py")
#: Opens a stream for each request and never ends it.
LEAKING: Final = str(_HERE / "leaking.py")

ALL: Final = (SILENT, SLOW, CRASHING, HANGING, FLOODING, DOUBLING, LEAKING)
