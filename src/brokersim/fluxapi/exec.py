"""Knows how a module file is run as a process of its own: ``python -m brokersim.fluxapi.exec FILE``.

The broker starts it with ``FLUX_MODULE_URI=fd://N`` (docs/modules.md). Not the loop, not the protocol.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from brokersim.host.far import FarBroker, FarModule
from brokersim.host.flux_import import flux_importable
from brokersim.host.loader import Loader
from brokersim.host.process_loop import ModuleWire
from brokersim.protocol.errnums import RequestError
from brokersim.routing.sink import Sink
from brokersim.statsd_server.udp import UdpSink

_USAGE = (
    "a module's process is started by the broker, with FLUX_MODULE_URI=fd://N and the file: "
    "brokersim module load --exec FILE"
)


def main(arguments: list[str] | None = None) -> int:
    """Run the file until the broker or the module ends it. Returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    uri = os.environ.pop("FLUX_MODULE_URI", "")
    number = uri.removeprefix("fd://")
    if len(arguments) != 1 or not number.isdecimal():
        print(_USAGE, file=sys.stderr)
        return 2
    try:
        with socket.socket(fileno=int(number)) as connection:
            connection.set_inheritable(False)
            _run(connection, Path(arguments[0]))
    except ConnectionError as error:
        print(f"connection to the broker lost: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{uri}: {error.strerror}; {_USAGE}", file=sys.stderr)
        return 2
    return 0


def _run(connection: socket.socket, path: Path) -> None:
    wire = ModuleWire(connection, float(os.environ.get("BROKERSIM_CLOCK_SPEED", "1")))
    welcome = wire.welcome().payload
    broker = FarBroker(wire, welcome, _sink())
    # For good, not only while the file is loaded: whatever runs here belongs to it, and may import late.
    with flux_importable():
        try:
            code = Loader().load(path)
        except RequestError as error:
            FarModule.refuse(broker, welcome["name"], path, error)
        else:
            FarModule(broker, welcome["name"], code, tuple(welcome.get("args", ()))).begin()
        wire.run()


def _sink() -> Sink | None:
    """Where the module's own statistics go, if anywhere."""
    try:
        return UdpSink.from_environment()
    except ValueError as error:
        print(error, file=sys.stderr)
        return None


if __name__ == "__main__":
    sys.exit(main())
