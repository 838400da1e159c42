"""Knows the table `access` of a configuration: who may connect besides the instance's owner; not how one does.

Source: flux-config-access(5) of flux-core 0.88. Roles are checked; nothing here asks for one.
"""

from __future__ import annotations

from typing import Final

import attrs

from brokersim.protocol.decoded import JsonObject
from brokersim.routing.logring import DEBUG
from brokersim.services.broker import Broker

#: The module of Flux that heeds the table, in whose name it is refused and logged.
WHO: Final = "connector-local"
_FLAGS: Final = ("allow-guest-user", "allow-root-owner", "private-mode")
_ROLES: Final = ("admin",)
_MEMBERS: Final = ("users", "groups")


@attrs.frozen
class Access:
    """Who is let in: anybody, as a guest; root, as the owner."""

    guests: bool = False
    root: bool = False

    @classmethod
    def of(cls, conf: JsonObject) -> Access:
        """As a configuration says. Raises ValueError for a table that is none."""
        table = conf.get("access", {})
        if not isinstance(table, dict):
            raise _wrong("access is no table")
        for key, value in table.items():
            if key == "roles":
                _check_roles(value)
            elif key not in _FLAGS:
                raise _wrong(f"unknown key {key!r:.60}; there are {', '.join(_FLAGS)}, roles")
            elif not isinstance(value, bool):
                raise _wrong(f"{key} is true or false, not {value!r:.60}")
        return cls(guests=table.get("allow-guest-user", False), root=table.get("allow-root-owner", False))

    def log(self, broker: Broker) -> None:
        """Two lines in the log of a rank."""
        flags = {"allow-guest-user": self.guests, "allow-root-owner": self.root}
        for name, value in flags.items():
            broker.write_local_log(DEBUG, WHO, f"{name}={str(value).lower()}")


def _wrong(text: str) -> ValueError:
    return ValueError(f"error updating {WHO}: error parsing [access] configuration: {text}")


def _check_roles(roles: object) -> None:
    if not isinstance(roles, dict):
        raise _wrong("roles is no table")
    for role, members in roles.items():
        if role not in _ROLES:
            raise _wrong(f"unknown role {role!r:.60}; there is {', '.join(_ROLES)}")
        if not isinstance(members, dict) or set(members) - set(_MEMBERS):
            raise _wrong(f"role {role} has {' and '.join(_MEMBERS)}")
        for key, names in members.items():
            if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
                raise _wrong(f"roles.{role}.{key} is a list of names")
