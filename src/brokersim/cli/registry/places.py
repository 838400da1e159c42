"""Knows where a document that is edited comes from and goes to: a record, here or over HTTP, a file; not its edits."""

from __future__ import annotations

import errno
import socket
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

import msgspec

from brokersim import files
from brokersim.cli.errors import CommandError, usage_error
from brokersim.cli.registry.desk import Wrong, shown
from brokersim.cli.registry.records import explain
from brokersim.cli.session import Session
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError

#: Seconds that a registry may take to answer.
PATIENCE: Final = 10.0
#: Keys that the registry writes, and a configuration has none of.
_SERVER = ("id", "version", "ts", "hash", "state")


class Place(Protocol):
    """Where a document comes from and goes to."""

    #: Whether an instance can be asked beside it.
    has_instance: bool = True

    def read(self) -> JsonObject: ...

    def write(self, document: JsonObject) -> JsonObject:
        """What stands there now. Raises Wrong if somebody else has written meanwhile."""


class File(Place):
    """A file of JSON; written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = b""

    def read(self) -> JsonObject:
        try:
            self._read = files.read_bytes(self._path)
            document = msgspec.json.decode(self._read)
        except OSError as error:
            raise CommandError(f"{self._path}: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise CommandError(f"{self._path}: not JSON: {error}") from None
        if not isinstance(document, dict):
            raise CommandError(f"{self._path}: an object is needed")
        return document

    def write(self, document: JsonObject) -> JsonObject:
        try:
            if files.read_bytes(self._path) != self._read:
                raise Wrong(f"{self._path} was changed by somebody else meanwhile; diff, then begin anew")
            data = shown(document).encode() + b"\n"
            files.write_file(self._path, data)
        except OSError as error:
            raise Wrong(f"{self._path}: {error.strerror}") from None
        self._read = data
        return document


class Record(Place):
    """A record of the registry, over the broker's socket."""

    def __init__(self, session: Session, collection: str, ident: str) -> None:
        self._session = session
        self._where = {"collection": collection, "id": ident}
        self._version = 0

    def read(self) -> JsonObject:
        return self._kept(
            self._session.rpc(
                "registry.get",
                self._where,
                rank=0,
                explain=partial(explain, collection=self._where["collection"]),
            )["record"]
        )

    def write(self, document: JsonObject) -> JsonObject:
        payload = {**self._where, "record": document, "if_version": self._version}
        try:
            [record] = self._session.client.rpc("registry.put", payload, 0)["records"]
        except RequestError as error:
            if error.errno == errno.ESTALE:
                raise Wrong(f"{error.text}: somebody else has written it; show --there has that") from None
            raise Wrong(error.text) from None
        return self._kept(record)

    def _kept(self, record: JsonObject) -> JsonObject:
        self._version = record["version"]
        return {key: value for key, value in record.items() if key not in _SERVER}


class Web(Place):
    """A record over HTTP, as ``registry serve`` has it: written only at the version that was read."""

    has_instance = False

    def __init__(self, url: str, token: str | None, collection: str, ident: str) -> None:
        self._url = url
        self._path = f"/v1/{quote(collection, safe='')}/{quote(ident, safe='')}"
        self._token = token
        self._tag = ""

    def read(self) -> JsonObject:
        try:
            return self._kept(self._asked("GET"))
        except Wrong as error:
            raise CommandError(str(error)) from None

    def write(self, document: JsonObject) -> JsonObject:
        return self._kept(self._asked("PUT", document))

    def _asked(self, method: str, document: JsonObject | None = None) -> JsonObject:
        headers = {"Content-Type": "application/json", "If-Match": self._tag} if document is not None else {}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = _connection(self._url)
        try:
            body = None if document is None else msgspec.json.encode(document)
            connection.request(method, self._path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            raise Wrong(f"{self._url}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        return self._judged(response, answer)

    def _judged(self, response: HTTPResponse, answer: bytes) -> JsonObject:
        try:
            found = msgspec.json.decode(answer)
        except msgspec.DecodeError:
            found = None
        if not isinstance(found, dict):
            raise Wrong(f"{self._url}{self._path}: status {response.status}, and no record")
        if response.status == HTTPStatus.PRECONDITION_FAILED:
            raise Wrong(f"{found.get('error')}: somebody else has written it; show --there has that")
        if response.status != HTTPStatus.OK:
            raise Wrong(str(found.get("error", response.reason)))
        return found

    def _kept(self, record: JsonObject) -> JsonObject:
        self._tag = f'"{record.get("version")}"'
        return {key: value for key, value in record.items() if key not in _SERVER}


class _Unix(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._at = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._at)


def _connection(url: str) -> HTTPConnection:
    """To who answers there. Raises CommandError for what is no address."""
    if url.startswith("unix:"):
        return _Unix(url.removeprefix("unix:"), PATIENCE)
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.path.strip("/"):
        raise usage_error(f"--url {url!r:.60} is no address", attempt="--url http://127.0.0.1:8128")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(parts.hostname, port, timeout=PATIENCE)
