"""Knows what is asked of rank 0, on any rank: stats that come and go, epochs that end, rows, keys, records."""

from __future__ import annotations

from functools import partial
from typing import Any

from msgspec import to_builtins

from brokersim.brokermod import BrokerModule, Message, RequestError, errnums, pass_on, ranks, request_handler

from . import keys, stat, store
from .answers import Reply
from .member import Member
from .messages import Create, Follow, Gather, Named, Outcomes, ShowKey
from .outlets import Outlets
from .root import Course, Root
from .stat import Row
from .wire import Tally


class Asked(BrokerModule):
    """Requests that rank 0 answers; the other ranks hand them on."""

    _member: Member
    _outlets: Outlets
    #: On rank 0, once it is ready.
    _root: Root | None = None

    def _add(self, definition: Any) -> None:
        """Count for a stat, and begin its epochs."""
        raise NotImplementedError

    # -- stats

    @request_handler("definitions")
    def definitions(self, msg: Message) -> None:
        """For a rank that has just come: all stats, and how many epochs each has had."""
        stats = [
            {"definition": to_builtins(one.stat.definition), "epoch": one.epoch} for one in self._courses()
        ]
        self.handle.respond(msg, {"stats": stats})

    @request_handler("outcomes")
    def outcomes(self, msg: Message) -> None:
        """For a rank that keeps what it sent, and has not heard what became of it."""
        wish = msg.unpack(Outcomes)
        records = [record for one in self._courses() if one.stat.name == wish.name for record in one.records]
        names = ("name", "uid", "ok", "truncated")
        ended = [{name: record[name] for name in names} for record in records if record["uid"] in wish.uids]
        self.handle.respond(msg, {"ended": ended})

    def _courses(self) -> list[Course]:
        return [] if self._root is None else list(self._root.courses.values())

    @request_handler("create")
    def create(self, msg: Message) -> None:
        """A new stat; the same again is one, another of its name is refused."""
        root = self._root
        if root is None:
            self._hand_on(msg)
            return
        definition = msg.unpack(Create).definition
        try:
            found = stat.read(definition)
            self._outlets.check(found)
            ranks.parse_ranks(found.definition.ranks, self.handle.size)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None
        known = root.courses.get(found.name)
        if known is not None and known.stat.hash != found.hash:
            text = (
                f"stat {found.name} is there already with another definition; remove it or take another name"
            )
            raise RequestError(errnums.EEXIST, text)
        if known is None:
            self._add(definition)
            self.handle.publish(f"{self.name}.define", {"definition": definition})
            self._save()
        note = "" if found.value is None or found.is_watched else "it can fall: judged when an epoch ends"
        told = {"name": found.name, "hash": found.hash, "is_new": known is None, "note": note}
        self.handle.respond(msg, told)

    @request_handler("remove")
    def remove(self, msg: Message) -> None:
        """A stat is gone, and what was counted for it."""
        root = self._root
        if root is None:
            self._hand_on(msg)
            return
        name = self._course(msg.unpack(Named).name).stat.name
        root.remove(name)
        self._member.drop(name)
        self._outlets.drop(name)
        self.handle.publish(f"{self.name}.define", {"remove": name})
        self._save()
        self.handle.respond(msg)

    def _save(self) -> None:
        store.save(self.handle, [to_builtins(one.stat.definition) for one in self._courses()])

    def _course(self, name: str) -> Course:
        course = None if self._root is None else self._root.courses.get(name)
        if course is None:
            known = ", ".join(one.stat.name for one in self._courses()) or "none"
            raise RequestError(errnums.ENOENT, f"no stat {name!r}; there are: {known}")
        return course

    @request_handler("list")
    def list_(self, msg: Message) -> None:
        """The stats, each with its definition, number of epochs and last record."""
        if self._root is None:
            self._hand_on(msg)
        else:
            self.handle.respond(msg, {"stats": [_listed(course) for course in self._courses()]})

    # -- epochs

    @request_handler("next-epoch")
    def next_epoch(self, msg: Message) -> None:
        """End the epoch of a stat without a period: true, and false for one that has a period or is not there."""
        root = self._root
        if root is None:
            self._hand_on(msg)
            return
        course = root.courses.get(msg.unpack(Named).name)
        is_manual = course is not None and not course.stat.definition.epoch
        if course is not None and is_manual:
            root.end_epoch(course, [])
        self.handle.respond(msg, {"ok": is_manual})

    @request_handler("gather")
    def gather(self, msg: Message) -> None:
        """End an epoch now, whatever its period, and stream its rows and record."""
        if not msg.is_streaming:
            raise RequestError(errnums.EPROTO, f"{self.name}.gather must be a streaming request")
        root = self._root
        if root is None:
            self._hand_on(msg)
            return
        wish = msg.unpack(Gather)
        root.end_epoch(self._course(wish.name), [Reply(self.handle, msg, wish.by, wish.top)])

    @request_handler("log")
    def records(self, msg: Message) -> None:
        """Records of past epochs, oldest first; a streaming request gets each to come, with its rows."""
        if self._root is None:
            self._hand_on(msg)
            return
        course = self._course(msg.unpack(Follow).name)
        if not msg.is_streaming:
            rows = [course.stat.finish(row) for row in course.last_rows]
            self.handle.respond(msg, {"records": list(course.records), "rows": rows})
            return
        for record in course.records:
            self.handle.respond(msg, {"record": record})
        self._outlets.follow(course.stat, msg)

    # -- one key

    @request_handler("request-key")
    def request_key(self, msg: Message) -> None:
        """The row of one key over all ranks as it is now; resets nothing."""
        root = self._root
        if root is None:
            self._hand_on(msg)
            return
        wish = msg.unpack(ShowKey)
        course = self._course(wish.name)
        try:
            text = keys.canonical(wish.key)
        except keys.BadKey as error:
            raise RequestError(errnums.EINVAL, f"{self.name}.request-key: {error}") from None
        root.look(course.stat, text, partial(self._looked, msg, root, course, course.epoch, text))

    def _looked(
        self, msg: Message, root: Root, course: Course, epoch: int, text: str, row: Row | None, tally: Tally
    ) -> None:
        root.looked(course, epoch, text, row, tally)
        told = tally.to_dict()
        missing = (told.get(name, "") for name in ("missing", "departed", "stale"))
        result = None if row is None else course.stat.finish(row)
        answer = {"result": result, "ok": told.get("ok", ""), "missing": ",".join(filter(None, missing))}
        self.handle.respond(msg, answer)

    # -- on other ranks than 0

    def _hand_on(self, msg: Message) -> None:
        if msg.is_streaming:
            self.handle.stream(msg.topic, msg.data, partial(pass_on, self.handle), msg, 0)
        else:
            self.handle.request(msg.topic, msg.data, partial(pass_on, self.handle), msg, 0)


def _listed(course: Course) -> dict[str, Any]:
    return {
        "name": course.stat.name,
        "definition": to_builtins(course.stat.definition),
        "hash": course.stat.hash,
        "epoch": course.epoch,
        "is_open": course.open is not None,
        "last": course.records[-1] if course.records else None,
    }
