"""Knows how to look at a page in Debian's Chromium without a screen; not what should be on it.

The DevTools protocol over two pipes: JSON documents, each with a NUL behind it. Nothing is ever downloaded.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WHY_NOT = "SKIPPING: no chromium, so nobody looks at the pages (make peers installs it on Debian)"
PATIENCE_S = 40.0
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--hide-scrollbars", "--mute-audio",
    "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip

_DRAWN = """
[...document.querySelectorAll('figure.chart')]
  .filter(one => one.offsetParent !== null && one.getBoundingClientRect().top < innerHeight)
  .every(one => one.querySelector(".panel")
    && [...one.querySelectorAll('.panel')].every(each => each.querySelector('svg text')))
"""


class Browser:
    """One page: ``open`` a file or URL, ``run`` a script in it, ``point`` and ``drag`` a mouse, ``picture`` it.

    ``errors`` are what the console said as an error and exceptions nobody caught, ``fetched`` every address asked for.
    """

    def __init__(self, folder: Path) -> None:
        assert PROGRAM is not None
        read_ours, write_ours = os.pipe()
        read_theirs, write_theirs = os.pipe()

        # A pipe end may itself be 3 or 4: copies above both first.
        script = f'exec 3<&{read_ours} 4>&{write_theirs}; exec "$@"'
        command = ["bash", "-c", script, "bash", PROGRAM, *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(read_ours, write_theirs), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(read_ours)
        os.close(write_theirs)
        self._to, self._from = write_ours, read_theirs
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        self.errors: list[str] = []
        self.fetched: list[str] = []
        self._loaded = False
        # A page of our own: the first one may not be there yet.
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        os.close(self._to)
        os.close(self._from)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    # --- the page

    def open(self, page: Path | str, width: int, height: int = 900) -> None:
        """Show a file, or a URL, in a window of this size; returns when it is loaded and drawn."""
        self.errors.clear()
        self.fetched.clear()
        self._loaded = False
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                   mobile=width < 600)  # fmt: skip
        self._call("Emulation.setTouchEmulationEnabled", enabled=width < 600)
        self._call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while not self._loaded:
            self._take(None)
        # Charts are drawn when an observer sees them, which on a busy machine may take more than two frames.
        deadline = time.monotonic() + PATIENCE_S
        self.settle()
        while not self.run(_DRAWN):
            assert time.monotonic() < deadline, f"what is in sight is not drawn after {PATIENCE_S} s"
            self.settle()

    def settle(self) -> None:
        """Two frames: observers have run and what they changed is drawn."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, pressed: bool = False) -> None:
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left" if pressed else "none",
                   buttons=int(pressed and kind != "mouseReleased"), clickCount=int(pressed))  # fmt: skip

    def drag(self, x: float, y: float, to_x: float) -> None:
        self.mouse("mousePressed", x, y, True)
        self.mouse("mouseMoved", (x + to_x) / 2, y, True)
        self.mouse("mouseMoved", to_x, y, True)
        self.mouse("mouseReleased", to_x, y, True)
        self.settle()

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """``touchStart``, ``touchMove``, ``touchEnd`` with that many fingers."""
        fingers = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        self._call("Input.dispatchTouchEvent", type=kind, touchPoints=fingers)

    def picture(self, path: Path, whole: bool = True) -> Path:
        """What it looks like, as PNG."""
        self.run("window.dispatchEvent(new Event('beforeprint'))")
        self.settle()
        shot = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    # --- the protocol

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        request: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            request["sessionId"] = self._session
        os.write(self._to, json.dumps(request).encode() + b"\0")
        while (answer := self._take(self._number)) is None:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _take(self, number: int | None) -> dict[str, Any] | None:
        """The next message, if it answers that request; an event is noted."""
        deadline = time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"chromium says nothing for {PATIENCE_S} s"
            read = os.read(self._from, 1 << 16)
            assert read, "chromium has ended"
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if message.get("id") == number and number is not None:
            return message
        self._note(message.get("method", ""), message.get("params", {}))
        return None

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.errors.append(
                json.dumps(params["exceptionDetails"].get("exception", params["exceptionDetails"]))
            )
        elif event == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(params["args"]))
        elif event == "Network.requestWillBeSent":
            self.fetched.append(params["request"]["url"])
        elif event == "Page.loadEventFired":
            self._loaded = True
