"""Knows what is to be done so that what runs is what is wanted, by content hashes; it does nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from .plan import OFF, Measurement

Act = Literal["start", "stop", "swap", "replace", "off"]
#: What runs is taken away before something new begins, so that names and resources are free.
_ORDER: Final[dict[str, int]] = {"stop": 0, "off": 1, "swap": 2, "replace": 3, "start": 4}


class Action(NamedTuple):
    """One step, and the measurement it is about."""

    act: Act
    name: str


def reconcile(
    running: Mapping[str, Measurement], wanted: Mapping[str, Measurement], is_off: bool = False
) -> list[Action]:
    """Steps from what runs to what is wanted.

    ``running`` has those that are not OFF. Times and versions of a record change nothing; another schedule or
    reporting is swapped in place; another probe or configuration is another measurement. ``is_off``: the whole service.
    """
    actions = [Action("stop", name) for name in running if name not in wanted]
    for name, measurement in wanted.items():
        now = running.get(name)
        if is_off or measurement.status == OFF:
            if now is not None:
                actions.append(Action("off", name))
        elif now is None:
            actions.append(Action("start", name))
        elif now.identity != measurement.identity:
            actions.append(Action("replace", name))
        elif now.plan != measurement.plan:
            actions.append(Action("swap", name))
    return sorted(actions, key=lambda action: (_ORDER[action.act], action.name))
