"""Knows which address of the web means which request to the registry, and what an answer is there; no records.

A client of the broker's socket like any other: it may run beside the instance, or elsewhere on its machine.
"""

from __future__ import annotations

import errno
import hmac
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from time import monotonic
from typing import Any, Final

import msgspec

from brokersim.net.data_pages import CLASSIC_TYPE, to_payload, to_stored, to_text
from brokersim.net.registry_bridge import Bridge, Refused
from brokersim.protocol.decoded import Json
from brokersim.protocol.errnums import RequestError
from brokersim.statsd_server.http import JSON, Handler, Request, Response

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
BODY_MAX: Final = 4 << 20
_STATUS: Final = {
    errno.ENOENT: 404, errno.EEXIST: 409, errno.EINVAL: 400, errno.ESTALE: 412, errno.EPERM: 403, errno.ENOSYS: 503,
    errno.EPROTO: 400, errno.ENOSPC: 507,
}  # fmt: skip
_WRITES: Final = {"PUT": "put", "PATCH": "patch", "DELETE": "delete"}
_TAG: Final = re.compile(r'"?(\d{1,18})"?', re.ASCII)


class RegistryPages:
    """``/v1/...`` for the registry of one instance.

    ``token``: whoever writes must say it (``Authorization: Bearer``); without one nobody writes, unless ``is_trusted``
    (a Unix socket, which has its folder's permissions). ``note`` gets a line for each request.
    """

    def __init__(
        self, bridge: Bridge, token: str | None, is_trusted: bool, note: Callable[[str], object]
    ) -> None:
        self._bridge = bridge
        self._token = token
        self._is_trusted = is_trusted
        self._note = note

    def routes(self) -> dict[str, Handler]:
        return {"/v1/": self._answer, "/metrics": self._answer}

    async def _answer(self, request: Request) -> Response:
        begun = monotonic()
        try:
            response = await self._page(request)
        except Refused as error:
            response = _error(error.status, str(error))
        except RequestError as error:
            response = _error(_STATUS.get(error.errno or 0, 502), error.text)
        size = len(response.body) if isinstance(response.body, bytes) else 0
        took = (monotonic() - begun) * 1000
        self._note(f"{request.method} {request.path}: {response.status}, {size} bytes, {took:.1f} ms")
        return response

    async def _page(self, request: Request) -> Response:
        if request.path == "/metrics":
            return await self._metrics(request.method)
        parts = request.path.removeprefix("/v1/").split("/")
        if request.method in ("GET", "HEAD"):
            return await self._read(parts, request.query)
        if request.method == "POST" and parts == ["query"]:
            return _listed(await self._bridge.ask("registry.list", _body(request)))
        self._check_token(request)
        if request.method == "POST" and parts == ["data"]:
            stored = await self._bridge.ask("registry.store", _right(to_stored, _body(request)))
            return _json(stored["series"], 201)
        if request.method == "POST" and len(parts) == 1:
            return await self._post(parts[0], _body(request))
        if request.method in _WRITES and len(parts) == 2:
            return await self._write(request, *parts)
        raise Refused(405, f"{request.method} {request.path} is not possible")

    async def _read(self, parts: list[str], query: Mapping[str, str]) -> Response:
        match parts:
            case ["schemas"]:
                return _json(await self._schemas())
            case ["schemas", name]:
                schemas = await self._schemas()
                if name not in schemas:
                    raise Refused(404, f"no schema {name!r}; there are {', '.join(schemas)}")
                return _json(schemas[name])
            case ["data"]:
                return _json((await self._bridge.ask("registry.latest", {}))["series"])
            case ["data", series]:
                return _json(await self._bridge.ask("registry.data", _right(to_payload, series, query)))
            case [collection]:
                wish = {"collection": collection, **_wish(query)}
                return _listed(await self._bridge.ask("registry.list", wish))
            case [collection, "watch"]:
                changes = self._bridge.watch({"collection": collection, "filter": _filter(query)})
                return Response(body=_events(changes), content_type="text/event-stream")
            case [collection, ident, "history"] if collection not in ("schemas", "data"):
                wish = {"collection": collection, "id": ident}
                return _json((await self._bridge.ask("registry.history", wish))["records"])
            case [collection, ident]:
                wish = {"collection": collection, "id": ident}
                if "version" in query:
                    wish["version"] = _number("version", query["version"])
                return _one((await self._bridge.ask("registry.get", wish))["record"])
            case _:
                raise Refused(404, f"nothing is at /v1/{'/'.join(parts)}")

    async def _schemas(self) -> Mapping[str, Json]:
        schemas: Mapping[str, Json] = (await self._bridge.ask("registry.schemas", {}))["schemas"]
        return schemas

    async def _metrics(self, method: str) -> Response:
        if method not in ("GET", "HEAD"):
            raise Refused(405, f"{method} /metrics is not possible")
        latest = (await self._bridge.ask("registry.latest", {}))["series"]
        return Response(body=to_text(latest), content_type=CLASSIC_TYPE)

    async def _post(self, collection: str, body: Json) -> Response:
        records = body if isinstance(body, list) else [body]
        made = (await self._bridge.ask("registry.post", {"collection": collection, "records": records}))[
            "records"
        ]
        return _json(made, 201) if isinstance(body, list) else _one(made[0], 201)

    async def _write(self, request: Request, collection: str, ident: str) -> Response:
        payload = {"collection": collection, "id": ident, "if_version": _expected(request)}
        if request.method != "DELETE":
            payload["record"] = _body(request)
        answer = await self._bridge.ask(f"registry.{_WRITES[request.method]}", payload)
        return _one(answer["records"][0])

    def _check_token(self, request: Request) -> None:
        if self._token is None:
            if not self._is_trusted:
                raise Refused(403, "nobody may write here: it was started without --token-file")
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            raise Refused(401, "writing needs the header Authorization: Bearer TOKEN")


def _right(make: Callable[..., dict[str, Any]], *given: Any) -> dict[str, Any]:
    """A request made of what was given. Raises Refused where that is wrong."""
    try:
        return make(*given)
    except ValueError as error:
        raise Refused(400, str(error)) from None


def _expected(request: Request) -> int | None:
    """The version that was read, None for any. Raises Refused: nobody overwrites what he has not seen."""
    if request.headers.get("if-none-match", "").strip() == "*":
        return 0
    given = request.headers.get("if-match")
    if given is None:
        raise Refused(
            428, 'say which version was read: If-Match: "3", or * for any; If-None-Match: * for a new one'
        )
    if given.strip() == "*":
        return None
    match = _TAG.fullmatch(given.strip())
    if match is None:
        raise Refused(400, f'If-Match is a version such as "3", not {given!r:.40}')
    return int(match[1])


def _body(request: Request) -> Json:
    try:
        return msgspec.json.decode(request.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(400, f"/ the body is not JSON: {error}") from None


def _wish(query: Mapping[str, str]) -> dict[str, Any]:
    for key in query:
        if key not in ("filter", "sort", "fields", "limit", "skip"):
            raise Refused(400, f"no parameter {key!r:.40}; there are filter, sort, fields, limit, skip")
    wish: dict[str, Any] = {key: query[key] for key in ("sort", "fields") if key in query}
    wish |= {key: _number(key, query[key]) for key in ("limit", "skip") if key in query}
    return wish | {"filter": _filter(query)}


def _filter(query: Mapping[str, str]) -> Json:
    try:
        return msgspec.json.decode(query.get("filter", "{}"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(400, f"filter is not JSON: {error}") from None


def _number(key: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,15}", text, re.ASCII):
        raise Refused(400, f"{key} must be a whole number, 0 or more, not {text!r:.40}")
    return int(text)


def _json(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(
        body=msgspec.json.encode(value) + b"\n", status=status, content_type=JSON, headers=headers
    )


def _listed(answer: Mapping[str, Any]) -> Response:
    return _json(answer["records"], headers=(("X-Total-Count", str(answer["total"])),))


def _one(record: Mapping[str, Any], status: int = 200) -> Response:
    return _json(record, status, (("ETag", f'"{record["version"]}"'),))


def _error(status: int, text: str) -> Response:
    faults = {"faults": text.split("; ")} if status == 400 and text.startswith("/") else {}
    headers = (("WWW-Authenticate", "Bearer"),) if status == 401 else ()
    return _json({"error": text, **faults}, status, headers)


async def _events(changes: AsyncGenerator[Any]) -> AsyncGenerator[bytes]:
    """Server-sent events; a comment where nothing has happened."""
    yield b": from now on\n\n"
    async for change in changes:
        if change is None:
            yield b":\n\n"
        else:
            yield b"event: changed\ndata: " + msgspec.json.encode(change) + b"\n\n"
