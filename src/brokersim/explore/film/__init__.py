"""Knows how one run of a plan becomes an HTML page that plays it, message by message. Not how it was run.

The page opens from a file, holds all it shows and fetches nothing; the same run gives the same bytes.
"""

from __future__ import annotations

import html
from importlib.resources import files
from typing import Final

import msgspec

from brokersim.explore.plan import Plan
from brokersim.explore.run import Outcome
from brokersim.kit.ledger import Line
from brokersim.lab.show.page import style
from brokersim.protocol import topology
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted

#: Messages of one page at most, the last ones: 2 MB.
MOST: Final = 20_000
_EVENT: Final = 5


def page(plan: Plan, outcome: Outcome) -> str:
    """The page as text. The outcome must have its trace."""
    verdict = f"✗ {outcome.broken[0]}" if outcome.broken else "✓ nothing broke"
    title = html.escape(f"{verdict} (brokersim explore)")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>\n{style()}{_text('film.css')}</style>\n</head>\n<body>\n"
        f'<h1 class="{"broken" if outcome.broken else "held"}">{html.escape(verdict)}</h1>\n{_sentences(outcome)}'
        f'<p class="quiet">{html.escape(_what(plan, outcome))}</p>\n'
        f"{_text('film.html')}"
        f'<script type="application/json" id="data">{_data(plan, outcome)}</script>\n'
        f"<script>\n{_text('film.js')}</script>\n</body>\n</html>\n"
    )


def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _sentences(outcome: Outcome) -> str:
    lines = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in outcome.broken[1:])
    return f'<ul class="broken">{lines}</ul>\n' if lines else ""


def _what(plan: Plan, outcome: Outcome) -> str:
    asked = f"{counted(len(plan.steps), 'step')} and {counted(len(plan.faults), 'fault')}"
    return (
        f"brokersim explore: {counted(plan.size, 'rank')}, hand-overs up to {plan.spread:g} s late, {asked}, "
        f"{counted(outcome.messages, 'message')}. Space plays, the arrow keys step."
    )


def _data(plan: Plan, outcome: Outcome) -> str:
    """All that is played, safe inside a script element."""
    left_out = outcome.messages - len(outcome.trace) + max(0, len(outcome.trace) - MOST)
    lines = outcome.trace[-MOST:]
    data: JsonObject = {
        "parents": [topology.parent(rank, plan.fanout) for rank in range(plan.size)],
        "lines": [[*line] for line in lines],
        "senders": senders(lines),
        "moments": [[max(0, place - left_out), *rest] for place, *rest in outcome.moments],
        "left_out": left_out,
    }
    return msgspec.json.encode(data).decode().replace("<", "\\u003c")


def senders(lines: tuple[Line, ...]) -> list[int]:
    """For each line that was handed out, the place of the one that sent it; -1 where that is not known.

    A message keeps its topic and number on its way; of requests and responses each is handed out once.
    """
    found, sent = [], dict[tuple[int, str, int], list[int]]()
    for place, line in enumerate(lines):
        key = line.counter | 1, line.topic, line.number
        if not line.counter & 1:
            sent.setdefault(key, []).append(place)
            found.append(-1)
            continue
        places = sent.get(key)
        is_event = line.counter == _EVENT
        found.append(-1 if not places else places[-1] if is_event else places.pop(0))
    return found
