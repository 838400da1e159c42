"""Knows what module files say of how they may be explored: a function ``explore(world)`` beside the class."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from brokersim.explore.author import Author, keys, values
from brokersim.host.loader import Loader, default_name


def author_of(paths: Sequence[str], module_path: tuple[Path, ...] = ()) -> Author:
    """What these files say; each request of one that says nothing may be sent. Raises RequestError for no module.

    Modules that ship are searched in ``module_path`` first: whoever changed one explores it there.

    Whatever a request asks, whoever sent it must be answered: what is sent without a word of the author has a key, a
    name and a value, which a handler takes or refuses.
    """
    author = Author(module_path=module_path)
    loader = Loader()
    for path in paths:
        file = loader.find(path)
        code = loader.load(file)
        say = getattr(sys.modules.get(code.cls.__module__), "explore", None)
        if say is not None:
            say(author)
            continue
        for topic in code.table.request_topics(default_name(file)):
            author.may(topic, key=keys(), name=keys(), value=values())
    return author
