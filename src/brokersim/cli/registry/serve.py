"""Knows the command that serves the registry over HTTP; what is answered is in net/registry_pages."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import CommandError, usage_error
from brokersim.cli.registry.token import read_token
from brokersim.cli.session import Session
from brokersim.net.discovery import find_uri

DEFAULT: Final = "127.0.0.1:8128"


@click.command(
    "serve",
    cls=Command,
    **examples(
        ("brokersim registry serve --token-file t", "on 127.0.0.1:8128; who has the token writes"),
        ("brokersim registry serve -l unix:/tmp/registry.sock", "who may open it writes"),
    ),
)
@click.option("-l", "--listen", default=DEFAULT, metavar="HOST:PORT|unix:PATH", help=f"[{DEFAULT}]")
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="what writers must say")
@click.option(
    "--allow-host", "allow_hosts", multiple=True, metavar="NAME", help="a name it may be asked for by"
)
@pass_session
def serve(session: Session, /, listen: str, token_file: Path | None, allow_hosts: tuple[str, ...]) -> None:
    """Serve the registry over HTTP until ^C: reading for all, writing with If-Match and a token."""
    token = None if token_file is None else read_token(token_file)
    session.rpc("registry.list", {"collection": "nodes", "limit": 0}, rank=0, explain=_explain)
    is_unix = listen.startswith("unix:")
    sock = _unix(Path(listen.removeprefix("unix:"))) if is_unix else _tcp(listen)
    # Late: this brings in trio.
    import trio

    from brokersim.net.registry_bridge import Bridge
    from brokersim.net.registry_pages import BODY_MAX, METHODS, RegistryPages
    from brokersim.statsd_server.http import HttpServer

    pages = RegistryPages(
        Bridge(find_uri(session.uri)), token, is_unix, session.say if session.verbose else len
    )
    server = HttpServer(pages.routes(), session.say, allow_hosts, methods=METHODS, body_max=BODY_MAX)
    where = listen if is_unix else "http://{}:{}/v1/".format(*sock.getsockname()[:2])
    session.say(f"registry on {where}{'' if token or is_unix else ', for reading: no --token-file'}")
    try:
        trio.run(server.serve, sock)
    finally:
        sock.close()
        if is_unix:
            with suppress(OSError):
                os.unlink(listen.removeprefix("unix:"))


def _explain(error: OSError) -> CommandError | None:
    from brokersim.cli.registry.records import explain

    return explain(error)  # type: ignore[arg-type]


def _tcp(text: str) -> socket.socket:
    from brokersim.statsd_server.settings import ServeError, parse_host_port

    try:
        host, port = parse_host_port(text, "--listen")
    except ServeError as error:
        raise usage_error(str(error)) from None
    try:
        return socket.create_server((host or "", port))
    except OSError as error:
        raise CommandError(f"--listen {text}: {error.strerror}") from None


def _unix(path: Path) -> socket.socket:
    """Only who starts it may open it."""
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        if path.is_socket():
            path.unlink()
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise CommandError(f"--listen unix:{path}: {error.strerror or error}") from None
    finally:
        os.umask(before)
    sock.listen()
    return sock
