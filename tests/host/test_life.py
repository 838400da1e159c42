"""The life of a module: I R F X, load, remove, reload while running, two names, and files that are no modules."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
import trio

import brokersim
from brokersim.instance import Instance
from brokersim.protocol.errnums import (
    ECONNRESET,
    EEXIST,
    EHOSTUNREACH,
    EINVAL,
    ENOENT,
    ENOSYS,
    ETIMEDOUT,
    RequestError,
)
from tests.host.live import FIXTURES, live, refused, write

KINDS = str(FIXTURES / "kinds.py")


def states(instance: Instance, rank: int = 0) -> dict[str, str]:
    return {module.name: "IRFX"[module.status] for module in instance.modules(rank)}


# -- load and remove


def test_a_module_is_loaded_used_and_removed_while_the_instance_runs():
    async def body(instance: Instance) -> None:
        client = instance.client()
        with refused(ENOSYS, "No service matching kinds.sync is registered"):
            await client.call("kinds.sync")
        await client.call("module.load", {"path": KINDS, "args": ["a", "b"]})
        assert states(instance) == {"kinds": "R"}
        assert instance.broker(0).module("kinds").body.args == ("a", "b")
        assert (await client.call("kinds.sync"))["kind"] == "sync"
        module = instance.module(0, "kinds")
        owner = module.handle.body
        await client.call("module.remove", {"name": "kinds"})
        assert (states(instance), module.status, owner.torn_down) == ({}, 3, True)
        with refused(ENOSYS, "No service matching kinds.sync is registered"):
            await client.call("kinds.sync")

    live(body)


def test_a_module_passes_init_running_finalizing_exited(tmp_path):
    path = write(
        tmp_path,
        "slow",
        """
        async def ready(self):
            await self.handle.sleep(1.0)

        async def teardown(self):
            await self.handle.sleep(2.0)

        @request_handler("ask")
        def ask(self, msg):
            self.handle.respond(msg)
        """,
    )

    async def body(instance: Instance) -> None:
        seen: list[tuple[float, str]] = []
        client = instance.client()
        start = client.now()

        def look() -> None:
            module = modules[0] if modules else None
            letter = "-" if module is None else "IRFX"[module.status]
            if not seen or seen[-1][1] != letter:
                seen.append((round(client.now() - start, 3), letter))
            client.call_later(0.25, look)

        modules: list[Any] = []
        look()
        answers: list[tuple[str, float, int]] = []

        def note(response: Any, what: str) -> None:
            answers.append((what, round(client.now() - start, 3), response.errnum))

        client.call_later(0.1, client.request, "module.load", {"path": path, "args": []}, note, "load")
        client.call_later(0.15, lambda: modules.append(instance.module(0, "slow")))
        client.call_later(2.0, client.request, "module.remove", {"name": "slow"}, note, "remove")
        client.call_later(2.5, client.request, "slow.ask", None, note, "ask while finalizing")
        await instance.sleep(6.0)
        assert seen == [(0.0, "-"), (0.25, "I"), (1.25, "R"), (2.25, "F"), (4.25, "X")]
        assert answers == [("load", 1.1, 0), ("ask while finalizing", 2.5, ENOSYS), ("remove", 4.0, 0)]

    live(body)


def test_a_module_can_be_loaded_twice_under_two_names_that_share_nothing():
    async def body(instance: Instance) -> None:
        await instance.load(KINDS, "x", name="left")
        await instance.load(KINDS, "y", name="right")
        client = instance.client()
        client.request("left.note", {"from": 1})
        assert (await client.call("right.step"))["inner"] == "sync"
        left, right = (instance.broker(0).module(name).body for name in ("left", "right"))
        assert (left.name, left.args, left.heard) == ("left", ("x",), [("note", 1)])
        assert (right.name, right.args, right.heard) == ("right", ("y",), [])
        await instance.remove("left")
        assert (await client.call("right.sync"))["kind"] == "sync"

    live(body)


def test_a_name_in_use_is_refused_also_while_its_module_ends():
    async def body(instance: Instance) -> None:
        with refused(EEXIST, "module 'kinds' is already loaded on rank 0; give it another name"):
            await instance.load(KINDS)
        with refused(EEXIST, "service 'attr' is already registered"):
            await instance.load(KINDS, name="attr")
        assert states(instance) == {"kinds": "R"}
        for name in ("a.b", "a/b", "x\0y"):
            with refused(EINVAL):
                await instance.load(KINDS, name=name)
        assert (await instance.client().call("kinds.sync"))["rank"] == 0

    live(body, "kinds")


@pytest.mark.parametrize("package", [False, True], ids=["file", "package"])
def test_a_reload_takes_the_changed_file_however_soon_it_changed(tmp_path, monkeypatch, package):
    # Of one size and one second, as a script's edits are, and Python may keep what it compiled.
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    version = (
        '@request_handler("version")\ndef version(self, msg):\n    self.handle.respond(msg, {"is": %d})\n'
    )
    folder = tmp_path / "versioned" if package else tmp_path
    folder.mkdir(exist_ok=True)
    if package:
        (folder / "__init__.py").write_text("from .inner import M\n")

    async def body(instance: Instance) -> None:
        client = instance.client()
        for number in (1, 2):
            path = write(folder, "inner" if package else "versioned", version % number)
            os.utime(path, ns=(number, number))
            for other in folder.glob("__init__.py"):
                os.utime(other, ns=(number, number))
            await instance.load(str(folder) if package else path)
            assert await client.call("versioned.version") == {"is": number}
            await instance.remove("versioned")

    live(body)


def test_removing_a_module_that_is_not_there_names_those_that_are():
    async def body(instance: Instance) -> None:
        with refused(ENOENT, "no module 'nosuch' on rank 0; loaded: kinds"):
            await instance.client().call("module.remove", {"name": "nosuch"})

    live(body, "kinds")


def test_a_request_sent_in_the_instant_of_the_load_is_handled():
    async def body(instance: Instance) -> None:
        client = instance.client()
        got: list[Any] = []

        def load_and_ask() -> None:
            instance.loaded.load(0, KINDS, (), None, lambda error: got.append(error))
            for topic in ("kinds.sync", "kinds.ping", "kinds.nosuch"):
                client.request(topic, {}, lambda response, topic: got.append((topic, response.errnum)), topic)

        client.call_later(0.0, load_and_ask)
        await instance.sleep(1.0)
        assert got.pop(0) is None
        assert got == [("kinds.sync", 0), ("kinds.ping", 0), ("kinds.nosuch", ENOSYS)]

    live(body)


def test_requests_waiting_for_a_module_that_goes_are_answered():
    async def body(instance: Instance) -> None:
        client = instance.client(1)
        got: list[tuple[str, int]] = []

        def note(response: Any, topic: str) -> None:
            got.append((topic, response.errnum))

        client.stream("kinds.hold", None, note, "stream", nodeid=0)
        for topic in ("kinds.hold", "kinds.task", "kinds.step"):
            client.request(topic, None, note, topic, nodeid=0)
        await instance.sleep(0.1)
        await instance.remove("kinds", rank=0)
        await instance.sleep(0.1)
        assert got == [(name, EHOSTUNREACH) for name in ("stream", "kinds.hold", "kinds.task", "kinds.step")]
        assert client.pending == {}
        assert client.stray == 0

    live(body, "kinds", size=2)


# -- unload throws out what waits


def test_unloading_ends_coroutines_tasks_and_timers_of_the_module(tmp_path):
    path = write(
        tmp_path,
        "busy",
        """
        def __init__(self, h, *args):
            super().__init__(h, *args)
            self.ended = []
            h.spawn(self.coroutine())
            h.start_task(self.task)
            h.call_later(5.0, self.ended.append, "timer")
            self.watcher = h.timer_watcher_create(5.0, lambda *_: self.ended.append("watcher"), repeat=1.0)
            self.watcher.start()

        async def coroutine(self):
            try:
                await self.handle.sleep(5.0)
            except Exception:
                self.ended.append("caught as an Exception")
            finally:
                self.ended.append("coroutine")

        async def task(self):
            try:
                await trio.sleep(5.0)
            finally:
                self.ended.append("task")

        @request_handler("ask")
        async def ask(self, msg):
            await self.handle.sleep(5.0)
            self.ended.append("handler")
        """,
    )

    async def body(instance: Instance) -> None:
        await instance.load(path)
        owner = instance.broker(0).module("busy").body
        client = instance.client()
        client.request("busy.ask", None, lambda response, _: owner.ended.append(response.errnum))
        await instance.sleep(1.0)
        await instance.remove("busy")
        await instance.sleep(10.0)
        assert sorted(owner.ended, key=str) == [EHOSTUNREACH, "coroutine", "task"]

    live(body)


def test_a_module_may_unload_itself_from_any_of_its_handlers(tmp_path):
    path = write(
        tmp_path,
        "leaving",
        """
        @request_handler("sync")
        def sync(self, msg):
            self.stop()
            self.handle.respond(msg)

        @request_handler("step")
        async def step(self, msg):
            await self.handle.sleep(0.1)
            self.stop()
            self.handle.respond(msg)
            await self.handle.sleep(10.0)

        @request_handler("task")
        @trio_task
        async def task(self, msg):
            await trio.sleep(0.1)
            self.stop()
            self.handle.respond(msg)
            await trio.sleep(10.0)
        """,
    )

    async def body(instance: Instance) -> None:
        for kind in ("sync", "step", "task"):
            await instance.load(path)
            await instance.client().call(f"leaving.{kind}")
            await instance.sleep(0.1)
            assert states(instance) == {}, kind

    live(body)


def test_a_module_that_goes_tells_the_services_it_called(tmp_path):
    path = write(
        tmp_path,
        "caller",
        """
        def __init__(self, h, *args):
            super().__init__(h, *args)
            h.request("kinds.hold", None, lambda *_: None)
            h.request("kinds.hold", None, lambda *_: None)
            h.request("kinds.note", {"from": 0})

        @request_handler("ask")
        def ask(self, msg):
            pass
        """,
    )

    async def body(instance: Instance) -> None:
        await instance.load(path)
        uuid = instance.broker(0).module("caller").uuid
        await instance.remove("caller")
        await instance.sleep(0.1)
        assert instance.broker(0).module("kinds").body.heard == [("note", 0), ("disconnect", uuid)]

    live(body, "kinds")


def test_a_client_that_closes_sends_one_disconnect_a_service_and_nodeid():
    async def body(instance: Instance) -> None:
        client = instance.client(1)
        for _ in range(3):
            await client.call("kinds.sync")
            await client.call("kinds.sync", nodeid=0)
            await client.call("kinds.ping")
        client.close()
        await instance.sleep(0.1)
        for rank in range(2):
            assert instance.broker(rank).module("kinds").body.heard == [("disconnect", client.uuid)]

    live(body, "kinds", size=2)


def test_a_client_that_asked_first_without_and_then_with_answer_still_says_goodbye():
    async def body(instance: Instance) -> None:
        client = instance.client()
        client.request("kinds.sync")
        await instance.sleep(0.1)
        await client.call("kinds.sync")
        client.close()
        await instance.sleep(0.1)
        assert instance.broker(0).module("kinds").body.heard == [("disconnect", client.uuid)]

    live(body, "kinds")


def test_a_client_that_only_sent_requests_without_answer_says_no_goodbye():
    async def body(instance: Instance) -> None:
        client = instance.client()
        client.request("kinds.sync")
        client.close()
        await instance.sleep(0.1)
        assert instance.broker(0).module("kinds").body.heard == []

    live(body, "kinds")


# -- those that do not start, do not stop, are none


BAD_FILES = {
    "no handlers": ("class M(BrokerModule): pass", "defines no handlers; decorate a method of M"),
    "no class": ("x = 1", "must define exactly one subclass of BrokerModule, not none"),
    "two classes": ("class A(BrokerModule): pass\nclass B(BrokerModule): pass", "not A, B"),
    "syntax": ("def (", "raises at import: SyntaxError"),
    "import": ("import nosuchthing", "raises at import: ModuleNotFoundError: No module named 'nosuchthing'"),
    "raises": ("1/0", "raises at import: ZeroDivisionError"),
    "exits": ("raise SystemExit(3)", "raises at import: SystemExit: 3"),
    "nul": ("\0", "raises at import: "),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_file_that_is_no_module_is_refused_with_its_name_and_reason(tmp_path, what):
    source, text = BAD_FILES[what]
    path = tmp_path / "bad.py"
    path.write_text(f"from brokersim.brokermod import BrokerModule\n{source}\n")

    async def body(instance: Instance) -> None:
        client = instance.client()
        with refused(EINVAL, text) as caught:
            await client.call("module.load", {"path": str(path), "args": []})
        assert str(path) in caught.value.text
        assert states(instance) == {"kinds": "R"}
        assert (await client.call("kinds.sync"))["rank"] == 0

    live(body, "kinds")


@pytest.mark.parametrize(
    "path", ["/nosuch/x.py", "./nosuch.py", "~nobodyhere/x.py", "/" + "x" * 5000, "a\0/b", "/"]
)
def test_a_path_without_a_file_is_an_error_that_names_it(path):
    async def body(instance: Instance) -> None:
        with refused(ENOENT, "no such file"):
            await instance.client().call("module.load", {"path": path, "args": []})

    live(body)


def test_an_unknown_name_says_where_was_looked():
    async def body(instance: Instance) -> None:
        with refused(ENOENT, f"looked in {FIXTURES}, "):
            await instance.client().call("module.load", {"path": "nosuch", "args": []})

    live(body)


def test_a_module_whose_object_cannot_be_made_is_not_loaded(tmp_path):
    refusing = """
        def __init__(self, h, *args):
            super().__init__(h, *args)
            raise {what}

        @request_handler("ask")
        def ask(self, msg): pass
        """

    async def body(instance: Instance) -> None:
        for what, errnum, text in (
            ("RequestError(errnums.EEXIST, 'taken')", EEXIST, "taken"),
            ("ValueError('no such option')", EINVAL, "raises at start: ValueError: no such option (bad.py:"),
            ("KeyError('x')", ECONNRESET, "raises at start: KeyError"),
            ("OSError(28, 'disk full')", 28, "disk full"),
            ("SystemExit(1)", ECONNRESET, "raises at start: SystemExit"),
        ):
            path = write(tmp_path, "bad", refusing.format(what=what))
            with refused(errnum, text):
                await instance.load(path, name="bad")
            assert states(instance) == {}
            with refused(ENOSYS):
                await instance.client().call("bad.ask")

    live(body)


def test_a_module_that_never_becomes_ready_is_given_up_in_time(tmp_path):
    path = write(
        tmp_path,
        "never",
        """
        async def ready(self):
            await self.handle.sleep(1e6)

        @request_handler("ask")
        def ask(self, msg): pass
        """,
    )

    async def body(instance: Instance) -> None:
        before = trio.current_time()
        with refused(ETIMEDOUT, "module 'never' did not become ready in time"):
            await instance.load(path)
        assert trio.current_time() - before == 5.0
        assert states(instance) == {}

    live(body, attrs={"broker.module-load-timeout": "5s"})


def test_a_load_timeout_without_end_is_no_error(tmp_path):
    async def body(instance: Instance) -> None:
        await instance.load(KINDS)

    live(body, attrs={"broker.module-load-timeout": "infinity", "broker.module-stop-timeout": "infinity"})


def test_a_module_removed_before_it_is_ready_answers_its_loader(tmp_path):
    path = write(
        tmp_path,
        "slow",
        """
        async def ready(self):
            await self.handle.sleep(10.0)

        @request_handler("ask")
        def ask(self, msg): pass
        """,
    )

    async def body(instance: Instance) -> None:
        client = instance.client()
        got: list[int] = []
        client.request("module.load", {"path": path, "args": []}, lambda r, _: got.append(r.errnum))
        await instance.sleep(1.0)
        await client.call("module.remove", {"name": "slow"})
        await instance.sleep(0.1)
        assert got == [ECONNRESET]

    live(body)


@pytest.mark.parametrize(
    "teardown",
    ["async def teardown(self):\n    await self.handle.sleep(1e6)", "def teardown(self):\n    1/0"],
)
def test_a_module_that_refuses_to_stop_or_fails_at_it_is_ended_and_logged(tmp_path, teardown):
    path = write(
        tmp_path, "stubborn", teardown + '\n\n@request_handler("ask")\ndef ask(self, msg):\n    pass\n'
    )

    async def body(instance: Instance) -> None:
        await instance.load(path)
        before = trio.current_time()
        await instance.remove("stubborn")
        assert trio.current_time() - before == (3.0 if "sleep" in teardown else 0.0)
        assert states(instance) == {}
        (line,) = instance.broker(0).log.lines()
        expected = (
            "refuses to stop and is ended" if "sleep" in teardown else "teardown raises ZeroDivisionError"
        )
        assert expected in line

    live(body, attrs={"broker.module-stop-timeout": "3s"})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_module_that_is_cancelled_is_not_waited_for(tmp_path):
    path = write(
        tmp_path,
        "slow",
        """
        @request_handler("x")
        def x(self, msg): pass

        async def teardown(self):
            await self.handle.sleep(5)
        """,
    )

    async def body(instance: Instance) -> None:
        client = instance.client()
        await instance.load(path)
        await client.call("module.remove", {"name": "slow", "cancel": True})
        assert (client.now(), instance.modules(0), instance.broker(0).log.lines()) == (0, [], [])
        await instance.load(path)
        await client.call("module.remove", {"name": "slow", "cancel": False})
        assert client.now() == 5

    live(body)


def test_a_coroutine_that_swallows_its_end_does_not_keep_the_module(tmp_path):
    path = write(
        tmp_path,
        "stubborn",
        """
        @request_handler("ask")
        async def ask(self, msg):
            while True:
                try:
                    await self.handle.sleep(1.0)
                except BaseException:
                    pass
        """,
    )

    async def body(instance: Instance) -> None:
        await instance.load(path)
        client = instance.client()
        got: list[int] = []
        client.request("stubborn.ask", None, lambda response, _: got.append(response.errnum))
        await instance.sleep(0.5)
        await instance.remove("stubborn")
        await instance.sleep(5.0)
        assert (got, states(instance)) == ([EHOSTUNREACH], {})
        assert instance.broker(0).log.lines() == []

    live(body)


# -- the whole instance


def test_a_module_that_does_not_load_keeps_the_instance_from_opening_and_is_named():
    async def main() -> None:
        with refused(ENOENT, "module 'nosuch' on rank 0: no module 'nosuch'"):
            async with brokersim.open_instance(modules=["heartbeat", "nosuch"]):
                pytest.fail("opened")

    brokersim.run(main)


def test_the_body_of_an_instance_that_raises_is_heard_as_it_is():
    async def main() -> None:
        with pytest.raises(LookupError, match="mine"):
            async with brokersim.open_instance(modules=["heartbeat"]):
                raise LookupError("mine")

    brokersim.run(main)


def test_cancelling_an_instance_from_outside_unloads_its_modules_in_good_order():
    async def main() -> None:
        owners = []
        with trio.move_on_after(3.0) as scope:
            async with brokersim.open_instance(modules=["kinds"], module_path=[FIXTURES]) as instance:
                owners.append(instance.broker(0).module("kinds").body)
                await trio.sleep_forever()
        assert (scope.cancelled_caught, trio.current_time(), owners[0].torn_down) == (True, 3.0, True)

    brokersim.run(main)


def test_a_programs_callback_that_raises_ends_the_instance_and_hangs_nobody():
    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012
            async with brokersim.open_instance(modules=["kinds"], module_path=[FIXTURES]) as instance:
                instance.client().request("kinds.sync", None, lambda *_: 1 / 0)
                await instance.sleep(1.0)
        assert caught.value.subgroup(ZeroDivisionError) is not None

    brokersim.run(main)


def test_a_second_virtual_instance_in_one_run_is_refused_and_the_first_goes_on():
    async def main() -> None:
        async with brokersim.open_instance(modules=[]) as instance:
            with pytest.raises(RuntimeError, match="a virtual instance runs here already"):
                async with brokersim.open_instance(modules=[]):
                    pytest.fail("opened")
            await instance.sleep(1.0)
        async with brokersim.open_instance(modules=[]) as another:
            await another.sleep(1.0)

    brokersim.run(main)


def test_two_real_instances_in_one_run_do_not_disturb_each_other():
    async def main() -> None:
        async with (
            brokersim.open_instance(clock="real", modules=["kinds"], module_path=[FIXTURES]) as one,
            brokersim.open_instance(clock="real", modules=[]) as other,
        ):
            assert (await one.client().call("kinds.sync"))["rank"] == 0
            with pytest.raises(RequestError):
                await other.client().call("kinds.sync")

    brokersim.run(main, clock="real")


def test_an_instance_on_the_wrong_clock_says_how_to_get_the_right_one():
    async def virtual_on_real() -> None:
        async with brokersim.open_instance(modules=[]):
            pytest.fail("opened")

    async def real_on_virtual() -> None:
        async with brokersim.open_instance(modules=[], clock="real"):
            pytest.fail("opened")

    with pytest.raises(RuntimeError, match=r"use brokersim\.run"):
        brokersim.run(virtual_on_real, clock="real")
    with pytest.raises(RuntimeError, match="trio runs on a VirtualClock here"):
        brokersim.run(real_on_virtual)


def test_a_module_that_was_taken_out_of_sys_modules_is_imported_again(tmp_path):
    """As pytester does after a run of pytest inside pytest; annotations are resolved in the module when first used."""
    (tmp_path / "late.py").write_text(
        "from __future__ import annotations\nimport msgspec\n"
        "from brokersim.brokermod import BrokerModule, request_handler\n"
        "class Inner(msgspec.Struct):\n    a: int\nclass Ask(msgspec.Struct):\n    inner: Inner\n"
        "class Late(BrokerModule):\n    @request_handler('ask')\n    def ask(self, msg):\n"
        "        self.handle.respond(msg, {'a': msg.unpack(Ask).inner.a})\n"
    )

    async def load_only(instance: Instance) -> None:
        await instance.load(str(tmp_path / "late.py"))

    async def ask(instance: Instance) -> None:
        await instance.load(str(tmp_path / "late.py"))
        assert await instance.client().call("late.ask", {"inner": {"a": 1}}) == {"a": 1}

    live(load_only)
    for name in [name for name in sys.modules if "_late" in name and name.startswith("_brokersim_module_")]:
        del sys.modules[name]
    live(ask)


def test_requests_of_a_deferred_module_wait_and_are_answered_in_order_later():
    async def body(instance: Instance) -> None:
        client = instance.client()
        handle = instance.broker(0).module("kinds")
        before = handle.counts[1]
        answers: list[int] = []
        await client.call("module.debug", {"name": "kinds", "defer": True})
        await client.call("module.debug", {"name": "kinds", "defer": True})
        for number in range(3):
            client.request("kinds.ping", {"n": number}, lambda answer, _: answers.append(answer.payload["n"]))
        await instance.sleep(1)
        assert (answers, handle.counts[1]) == ([], before)
        await client.call("module.debug", {"name": "kinds", "defer": False})
        await instance.sleep(1)
        assert (answers, handle.counts[1]) == ([0, 1, 2], before + 3)
        await client.call("module.debug", {"name": "kinds", "defer": True})
        client.request("kinds.sync", None, lambda answer, _: answers.append(answer.errnum))
        await client.call("module.remove", {"name": "kinds"})
        await instance.sleep(1)
        assert answers == [0, 1, 2, 38]  # as any that still waits when its module goes
        with refused(ENOENT, "no module 'kinds'"):
            await client.call("module.debug", {"name": "kinds", "defer": True})

    live(body, "kinds")


def test_a_module_is_removed_by_the_path_of_its_file():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await client.call("module.load", {"path": KINDS, "name": "other"})
        await client.call("module.remove", {"name": KINDS})
        assert states(instance) == {}

    live(body)
