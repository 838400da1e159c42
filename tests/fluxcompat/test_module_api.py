"""Module files written for Flux, run here: entry points, handlers, watchers, futures, KVS helpers. Virtual time."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import brokersim
from brokersim.instance import Instance
from brokersim.protocol import treeobj
from brokersim.protocol.errnums import (
    ECONNRESET,
    EEXIST,
    EHOSTUNREACH,
    EINVAL,
    ENOENT,
    ENOSYS,
    EPERM,
    ETIMEDOUT,
    RequestError,
)
from brokersim.protocol.message import ROLE_USER

STORAGE = ("content-cache", "content-sqlite", "kvs")
HEAD = "from flux.brokermod import BrokerModule, event_handler, request_handler\n"


def live(body: Callable[[Instance], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        async with brokersim.open_instance(modules=STORAGE, **settings) as instance:
            await body(instance)

    brokersim.run(main)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    """Writes a module file; returns its path."""

    def write(text: str, name: str = "mod") -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(dedent(text))
        return str(path)

    return write


def with_class(body: str) -> str:
    return (
        HEAD
        + "\nclass M(BrokerModule):\n"
        + "\n".join(f"    {line}" for line in dedent(body).splitlines())
        + "\n"
    )


async def errnum(awaitable: Awaitable[Any]) -> int | None:
    with pytest.raises(RequestError) as caught:
        await awaitable
    return caught.value.errno


def log_of(instance: Instance) -> str:
    return "\n".join(instance.broker(0).log.lines())


# -- imports


def test_flux_is_importable_while_a_module_is_loaded_and_only_then(
    file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = type(sys)("flux")
    monkeypatch.setitem(sys.modules, "flux", real)

    async def body(instance: Instance) -> None:
        await instance.load(
            file("import flux, flux.constants\nfrom flux.kvs import get\n" + with_class("pass"))
        )
        assert sys.modules["flux"] is real
        assert not [name for name in sys.modules if name.startswith("flux.")]

    live(body)
    monkeypatch.delitem(sys.modules, "flux")
    with pytest.raises(ImportError):
        __import__("flux.brokermod")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("from _flux._core import ffi", "C library"),
        ("import flux.core.inner", "C library"),
        ("import flux.uri", "flux.uri is not supported"),
        ("from flux.brokermod import nosuch", "nosuch"),
        (HEAD, "no mod_main() or BrokerModule subclass found"),
        (
            with_class("pass") + "class N(BrokerModule):\n    pass\n",
            "multiple BrokerModule subclasses found (M, N)",
        ),
    ],
)
def test_a_file_that_cannot_run_here_is_refused_with_the_reason(file: Any, text: str, part: str) -> None:
    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError) as caught:
            await instance.load(file(text))
        assert (caught.value.errno, part in caught.value.text) == (EINVAL, True), caught.value.text

    live(body)


# -- life


def test_a_fresh_module_stands_where_flux_has_it(file: Any) -> None:
    """Two event handlers and one log line: tx request 5, rx request 1, rx response 3 (flux-core 0.88)."""
    text = with_class(
        """
        def __init__(self, h, *args):
            super().__init__(h, *args)
            self.log.info("hello")
        @event_handler("a")
        def a(self, msg): pass
        @event_handler("b.c", prefix=False)
        def b(self, msg): pass
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load(file(text))
        await instance.sleep(1)
        assert instance.broker(0).module("mod").counts == [5, 1, 0, 3, 0, 0, 0, 0]

    live(body)


MAIN = """
    from flux.constants import FLUX_MSGTYPE_REQUEST
    def mod_main(h, *args):
        def info(handle, watcher, msg, arg):
            handle.respond(msg, {"args": list(args), "arg": arg, "topic": msg.topic, "type": msg.type})
        h.msg_watcher_create(info, FLUX_MSGTYPE_REQUEST, "mod.in*", args=7).start()
        h.log(6, f"before {h.rpc('attr.get', {'name': 'size'}).get()['value']}")
        code = h.reactor_run()
        h.log(6, f"after {code} {h.rpc('attr.get', {'name': 'rank'}).get()['value']}")
"""


def test_mod_main_runs_to_its_end_and_may_wait_before_and_behind_the_reactor(file: Any) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(file(MAIN), "a", "b=1")
        client = instance.client()
        expected = {"args": ["a", "b=1"], "arg": 7, "topic": "mod.info", "type": 1}
        assert await client.call("mod.info") == expected
        await instance.remove("mod")
        assert await errnum(client.call("mod.info")) == ENOSYS
        assert "before 1" in log_of(instance) and "after 0 0" in log_of(instance)

    live(body)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("raise ValueError('no')", EINVAL),
        ("raise OSError(17, 'taken')", EEXIST),
        ("raise KeyError('x')", ECONNRESET),
        ("import sys; sys.exit(1)", ECONNRESET),
    ],
)
def test_exit_errnums_are_fluxs(file: Any, text: str, number: int) -> None:
    async def body(instance: Instance) -> None:
        assert await errnum(instance.load(file(f"def mod_main(h, *args):\n    {text}\n"))) == number

    live(body)


def test_stop_and_stop_error_end_run_as_in_flux(file: Any) -> None:
    text = with_class(
        """
        @request_handler("stop")
        def a(self, msg):
            self.handle.respond(msg)
            self.stop()
        @request_handler("fail")
        def b(self, msg):
            self.stop_error()
        def run(self):
            try:
                super().run()
                self.log.info("ran")
            except OSError as error:
                self.log.info(f"failed: {error}")
                raise
        """
    )

    async def body(instance: Instance) -> None:
        client = instance.client()
        await instance.load(file(text))
        await client.call("mod.stop")
        await instance.sleep(1)
        assert await errnum(client.call("mod.stop")) == ENOSYS
        await instance.load(file(text))
        assert await errnum(client.call("mod.fail")) == EHOSTUNREACH
        assert "ran" in log_of(instance) and "failed: reactor exited with error" in log_of(instance)

    live(body)


@pytest.mark.parametrize("error", ["KeyError('x')", "OSError(22, 'x')"])
def test_an_exception_in_a_handler_ends_the_module_whatever_it_is(file: Any, error: str) -> None:
    """A native handler's RequestError is an answer; in Flux an OSError is an exception like any other."""

    async def body(instance: Instance) -> None:
        await instance.load(file(with_class(f"@request_handler('x')\ndef x(self, msg): raise {error}")))
        with pytest.raises(RequestError) as caught:
            await instance.client().call("mod.x")
        assert (caught.value.errno, caught.value.text) == (EHOSTUNREACH, "module disconnect")
        assert "ended by" in log_of(instance)
        assert (await instance.client().call("kvs.ping", {"seq": 1}))["seq"] == 1

    live(body)


# -- the handle

HANDLE = """
    import errno
    from flux.constants import *
    from flux.message import Message
    from flux.kvs import KVSTxn
    import flux.kvs as kvs
    from flux.job import JobID
"""


def test_requests_are_answered_refused_and_guarded_by_role(file: Any) -> None:
    text = dedent(HANDLE) + with_class(
        """
        @request_handler("echo", allow_guest=True)
        def echo(self, msg):
            payload = msg.payload
            payload["changed"] = True  # its own copy
            self.handle.respond(msg, payload)
        @request_handler("own")
        def own(self, msg): self.handle.respond(msg, "text")
        @request_handler("bad")
        def bad(self, msg): self.handle.respond_error(msg, errno.EINVAL, "no good")
        @request_handler("none")
        def none(self, msg):
            try:
                msg.payload
            except TypeError:
                self.handle.respond(msg, {"payload_str": msg.payload_str, "decoded": list(msg.decode())})
        @request_handler("other.topic", prefix=False)
        def other(self, msg): self.handle.respond(msg, {"userid": msg.userid, "rolemask": msg.rolemask})
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load(file(text))
        client, guest = instance.client(), instance.client()
        guest.userid, guest.rolemask = 4242, ROLE_USER
        sent = {"a": 1}
        assert await client.call("mod.echo", sent) == {"a": 1, "changed": True}
        assert sent == {"a": 1}
        assert await guest.call("mod.echo", {"b": 2}) == {"b": 2, "changed": True}
        assert await errnum(guest.call("mod.own")) == EPERM
        assert await client.call("mod.own") == "text"
        with pytest.raises(RequestError) as caught:
            await client.call("mod.bad")
        assert (caught.value.errno, caught.value.text) == (EINVAL, "no good")
        assert await client.call("mod.none") == {"payload_str": None, "decoded": [1, "mod.none", None]}
        assert await errnum(client.call("mod.nosuch")) == ENOSYS
        assert (await client.call("mod.ping", {"seq": 1}))["seq"] == 1
        assert await client.call("mod.debug", {"op": "setbit", "flags": 4096}) == {"flags": 4096}

    live(body)


def test_events_timers_hooks_and_futures(file: Any) -> None:
    text = dedent(HANDLE) + with_class(
        """
        def __init__(self, h, *args):
            super().__init__(h, *args)
            self.seen, self.prepares, self.checks = [], 0, 0
            self.timer = h.timer_watcher_create(1.0, self.tick, repeat=2.0, args="t").start()
            h.prepare_watcher_create(self.prepare).start()
            h.check_watcher_create(self.check).start()
            h.rpc("attr.get", {"name": "size"}).then(self.got, "arg", key="word")
            h.rpc("nosuch.x").then(self.got, "arg", key="word")
        def prepare(self, h, w, revents, args): self.prepares += 1
        def check(self, h, w, revents, args): self.checks += 1
        def got(self, future, arg, key):
            try:
                self.seen.append([future.get(), arg, key])
            except OSError as error:
                self.seen.append([error.errno, future.error_string(), future.is_ready()])
        def tick(self, h, w, revents, args):
            h.event_send("ticks.one", {"args": args})
            if len(self.seen) > 4: w.stop()
        @event_handler("ticks.*", prefix=False)
        def event(self, msg): self.seen.append([msg.topic, msg.payload, msg.type_str])
        @request_handler("seen")
        def report(self, msg):
            self.handle.respond(msg, {"seen": self.seen, "hooks": self.prepares > 5 and self.checks > 5})
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load(file(text))
        await instance.sleep(20)
        ticks = [["ticks.one", {"args": "t"}, "event"]] * 4
        text38 = "No service matching nosuch.x is registered"
        expected = [[ENOSYS, text38, True], [{"value": "1", "flags": 1}, "arg", "word"], *ticks]
        assert await instance.client().call("mod.seen") == {"seen": expected, "hooks": True}

    live(body)


def test_a_continuation_is_one_function_and_may_give_up_at_once(file: Any) -> None:
    text = dedent(HANDLE) + with_class(
        """
        @request_handler("go")
        def go(self, msg):
            h = self.handle
            found = []
            good = h.rpc("attr.get", {"name": "size"})
            good.get()
            found.append(good.error_string())
            try:
                good.then(None)
            except ValueError as error:
                found.append(str(error))
            def late(future):
                try:
                    future.get()
                except OSError as error:
                    found.append(error.errno)
                h.respond(msg, {"found": found})
            h.rpc("mod.never").then(late, timeout=0)
            for name in ("flux_nosuch", "nosuch", "flux__aux"):
                found.append(hasattr(h, name))
            found.append(h.flux_get_rank() == h.get_rank())
        @request_handler("never")
        def never(self, msg): pass
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load(file(text))
        found = [None, "Callback cannot be None", False, False, False, True, ETIMEDOUT]
        assert await instance.client().call("mod.go") == {"found": found}

    live(body)


def test_streams_come_one_answer_at_a_time_and_end_with_61(file: Any) -> None:
    text = dedent(HANDLE) + with_class(
        """
        @request_handler("log")
        def log_lines(self, msg):
            for n in range(3): self.handle.log(6, f"line {n}")
            future = self.handle.rpc("log.dmesg", {"follow": False}, flags=FLUX_RPC_STREAMING)
            lines = []
            while True:
                try:
                    lines.append(future.get_str())
                except OSError as error:
                    self.handle.respond(msg, {"lines": lines[-3:], "end": error.errno})
                    return
                future.reset()
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load(file(text))
        answer = await instance.client().call("mod.log")
        assert ([line[-6:] for line in answer["lines"]], answer["end"]) == (
            ["line 0", "line 1", "line 2"],
            61,
        )

    live(body)


def test_attributes_configuration_services_and_the_rest_of_the_handle(file: Any) -> None:
    text = dedent(HANDLE) + with_class(
        """
        @request_handler("all")
        def all(self, msg):
            h = self.handle
            h.attr_set("test.mine", "1")
            found = [h.get_rank(), h.attr_get("test.mine"), h.conf_get("a.b"), h.conf_get("no", default=3)]
            found.append(h.flux_get_size())
            h.attr_remove("test.mine")
            try:
                h.attr_get("test.mine")
            except OSError as error:
                found.append(error.errno)
            h.service_register("extra").get()
            try:
                h.service_register("kvs").get()
            except OSError as error:
                found.append(error.errno)
            try:
                h.nosuch
            except AttributeError as error:
                found.append("docs/flux-compat.md" in str(error))
            found.append(h.rpc("nosuch.x", flags=FLUX_RPC_NORESPONSE).is_ready())
            h.respond(msg, {"found": found})
        @request_handler("extra.method", prefix=False)
        def extra(self, msg): self.handle.respond(msg)
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load(file(text))
        client = instance.client()
        expected = [0, "1", 5, 3, 1, ENOENT, EEXIST, True, False]
        assert await client.call("mod.all") == {"found": expected}
        assert await client.call("extra.method") is None

    live(body, conf={"a": {"b": 5}})


def test_the_kvs_helpers_read_and_write(file: Any) -> None:
    text = dedent(HANDLE) + with_class(
        """
        @request_handler("go")
        def go(self, msg):
            h = self.handle
            kvs.put(h, "a.b", {"x": [1, 2]}); kvs.put(h, "a.raw", b"\\xff\\x00"); kvs.put(h, "s", "text")
            kvs.put_mkdir(h, "empty"); kvs.put_symlink(h, "link", "a.b")
            kvs.commit(h)
            with KVSTxn(h, "a") as txn:
                txn.put("more", 5)
            with kvs.get_dir(h, "a") as folder:
                names = sorted(folder)
                folder["new"] = 1.5
            kvs.put_unlink(h, "s"); kvs.commit(h)
            found = [kvs.get(h, "a.b"), kvs.get(h, "link"), list(kvs.get(h, "a.raw")), kvs.get(h, "a.new"), names,
                     kvs.exists(h, "s"), kvs.exists(h, "a"), kvs.isdir(h, "empty"), len(kvs.get(h, "empty")),
                     kvs.namespace_list(h)]
            try:
                kvs.get(h, "nosuch")
            except OSError as error:
                found.append(error.errno)
            try:
                kvs.get_dir(h)["nosuch"]
            except KeyError:
                found.append("KeyError")
            h.respond(msg, {"found": found})
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load(file(text))
        client = instance.client()
        expected = [
            {"x": [1, 2]}, {"x": [1, 2]}, [255, 0], 1.5, ["b", "more", "raw"], False, True, True, 0, ["primary"],
            ENOENT, "KeyError",
        ]  # fmt: skip
        assert await client.call("mod.go") == {"found": expected}
        stored = await client.call("kvs.lookup", {"key": "a.more", "namespace": "primary", "flags": 0})
        assert stored["val"] == treeobj.val(b"5")

    live(body)


def test_the_kvs_is_walked_as_a_file_system_is(file: Any) -> None:
    text = dedent(HANDLE) + with_class(
        """
        @request_handler("go")
        def go(self, msg):
            h = self.handle
            for key in ("d.b.c", "d.b.e", "d.f", "d.g.h.i"):
                kvs.put(h, key, 1)
            kvs.commit(h)
            def listed(walk):
                return [[path, sorted(dirs), sorted(files)] for path, dirs, files in walk]
            found = [listed(kvs.walk("d", topdown=True, flux_handle=h)), listed(kvs.walk(kvs.get_dir(h, "d.g")))]
            try:
                kvs.walk("d")
            except ValueError as error:
                found.append(str(error))
            h.respond(msg, {"found": found})
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load(file(text))
        down, up, refusal = (await instance.client().call("mod.go"))["found"]
        assert down == [["", ["b", "g"], ["f"]], ["b", [], ["c", "e"]], ["g", ["h"], []], ["g.h", [], ["i"]]]
        assert up == [["h", [], ["i"]], ["", ["h"], []]]
        assert refusal == "If directory is a key, flux_handle must be specified"

    live(body)


def test_a_key_is_watched_by_a_future_until_it_is_cancelled(file: Any) -> None:
    text = dedent(HANDLE) + with_class(
        """
        def __init__(self, h, *args):
            super().__init__(h, *args)
            self.seen = []
            self.watch = kvs.kvs_watch_async(h, "w", waitcreate=True, uniq=True)
            self.watch.then(self.changed, "arg")
        def changed(self, future, arg):
            self.seen.append([future.get(), arg])
        @request_handler("next")
        def next_value(self, msg):
            now = kvs.kvs_watch_async(self.handle, "w")
            self.handle.respond(msg, {"value": now.get()})
            now.cancel(stop=True)
        @request_handler("end")
        def end(self, msg):
            self.watch.cancel()
            self.handle.respond(msg)
        @request_handler("seen")
        def report(self, msg):
            self.handle.respond(msg, {"seen": self.seen, "cancel": self.watch.needs_cancel})
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load("kvs-watch")
        await instance.load(file(text))
        client = instance.client()
        for value in (b"1", b'{"a": 2}', b'{"a": 2}', b"text"):
            op = {"key": "w", "flags": 0, "dirent": treeobj.val(value)}
            await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [op]})
        assert await client.call("mod.next") == {"value": "text"}
        await client.call("mod.end")
        await instance.sleep(1)
        seen = [[1, "arg"], [{"a": 2}, "arg"], ["text", "arg"], [None, "arg"]]
        assert await client.call("mod.seen") == {"seen": seen, "cancel": False}
        assert (await client.call("kvs-watch.stats-get"))["watchers"] == 0

    live(body)


def test_c_functions_that_cost_nothing_are_reached_from_the_handle(file: Any) -> None:
    text = dedent(HANDLE) + with_class(
        """
        @request_handler("go")
        def go(self, msg):
            h = self.handle
            h.event_subscribe("c.event")
            published = h.flux_event_publish("c.event", 0, '{"a": 1}')
            published.get()
            event = h.event_recv("c.event")
            before = h.flux_get_msgcounters()
            h.rpc("attr.get", {"name": "rank"}).get()
            after = h.flux_get_msgcounters()
            found = [event.payload, after.request_tx - before.request_tx, after.response_rx > before.response_rx]
            h.flux_clr_msgcounters()
            found.append(h.flux_get_msgcounters().request_rx)
            h.flux_aux_set("mine", 5)
            found += [h.flux_aux_get("mine"), h.flux_aux_get("nosuch")]
            found += [h.flux_get_hostbyrank(1), h.flux_get_hostbyrank(7)]
            found.append(h.flux_reactor_time() >= h.flux_get_instance_starttime() > 1e9)
            h.respond(msg, {"found": found})
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load(file(text))
        expected = [{"a": 1}, 1, True, 0, 5, None, "sim1", "(null)", True]
        assert await instance.client().call("mod.go") == {"found": expected}

    live(body, size=2)


def test_a_signal_is_watched_in_real_time(file: Any) -> None:
    text = (
        "import os, signal\n"
        + dedent(HANDLE)
        + with_class(
            """
        @request_handler("go")
        def go(self, msg):
            self.waiting = msg
            self.watcher = self.handle.signal_watcher_create(signal.SIGUSR1, self.caught, args="arg").start()
            self.handle.timer_watcher_create(0.01, self.send).start()
        def send(self, h, w, revents, args): os.kill(os.getpid(), signal.SIGUSR1)
        def caught(self, h, w, signum, args):
            w.stop()
            h.respond(self.waiting, {"signal": signum, "args": args})
        """
        )
    )

    async def main() -> None:
        async with brokersim.open_instance(modules=(), clock="real") as instance:
            await instance.load(file(text))
            assert await instance.client().call("mod.go") == {"signal": 10, "args": "arg"}

    brokersim.run(main, clock="real")


def test_messages_are_received_by_hand(file: Any) -> None:
    text = dedent(HANDLE) + with_class(
        """
        @request_handler("wait")
        def wait(self, msg):
            self.handle.event_subscribe("by.hand")
            event = self.handle.event_recv("by.*")
            request = self.handle.recv(FLUX_MSGTYPE_REQUEST, topic_glob="mod.second")
            self.handle.respond(request, {"for": "second"})
            self.handle.respond(msg, {"event": event.payload})
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load(file(text))
        client = instance.client()
        answers: list[Any] = []
        client.request("mod.wait", None, lambda response, _: answers.append(response.data))
        await instance.sleep(1)
        client.publish("by.hand", {"n": 1})
        await instance.sleep(1)
        assert await client.call("mod.second") == {"for": "second"}
        await instance.sleep(1)
        assert answers == [{"event": {"n": 1}}]

    live(body)


def test_the_answer_to_what_is_sent_by_hand_comes_to_who_watches_answers(file: Any) -> None:
    text = dedent(HANDLE) + with_class(
        """
        @request_handler("go")
        def go(self, msg):
            def came(h, w, response, args):
                w.stop()
                h.respond(msg, {"topic": response.topic, "value": response.payload["value"]})
            self.handle.msg_watcher_create(came, FLUX_MSGTYPE_RESPONSE, "attr.*").start()
            request = Message()
            request.topic, request.payload = "attr.get", {"name": "size"}
            self.handle.send(request)
        """
    )

    async def body(instance: Instance) -> None:
        await instance.load(file(text))
        assert await instance.client().call("mod.go") == {"topic": "attr.get", "value": "2"}

    live(body, size=2)


def test_a_file_descriptor_is_watched_in_real_time(file: Any) -> None:
    text = (
        "import os\n"
        + dedent(HANDLE)
        + with_class(
            """
        def __init__(self, h, *args):
            super().__init__(h, *args)
            self.r, self.w = os.pipe()
            self.data, self.waiting = b"", None
            self.watcher = h.fd_watcher_create(self.r, self.ready, FLUX_POLLIN).start()
        def ready(self, h, w, fd, revents, args):
            self.data += os.read(fd, 1)
            if len(self.data) == 3:
                w.stop()
                self.handle.respond(self.waiting, {"data": self.data.decode(), "revents": revents})
        @request_handler("go")
        def go(self, msg):
            self.waiting = msg
            os.write(self.w, b"abc")
        """
        )
    )

    async def main() -> None:
        async with brokersim.open_instance(modules=(), clock="real") as instance:
            await instance.load(file(text))
            assert await instance.client().call("mod.go") == {"data": "abc", "revents": 1}

    brokersim.run(main, clock="real")


def test_job_ids_have_fluxs_spellings() -> None:
    from brokersim.fluxapi.job import JobID

    job = JobID("ƒ3PVFXvJb")
    assert (int(job), str(job), job.f58plain, job.dec) == (
        5272022024192,
        "ƒ3PVFXvJb",
        "f3PVFXvJb",
        "5272022024192",
    )
    assert (job.dothex, job.kvs) == ("0000.04cb.7d00.0000", "job.0000.04cb.7d00.0000")
    assert (job.hex, job.orig, repr(job)) == ("0x4cb7d000000", "ƒ3PVFXvJb", "JobID(5272022024192)")
    assert JobID(job.dothex) == JobID(5272022024192) == JobID(job)
    with pytest.raises(ValueError, match="is not a valid Flux jobid"):
        JobID("no such")
    for spelling in ("words", "emoji"):
        with pytest.raises(OSError, match="not supported") as caught:
            job.encode(spelling)
        assert caught.value.errno == 71
