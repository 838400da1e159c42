"""Knows the style and the script of a report's page, as text; not what is on it."""

from importlib.resources import files

#: The parts of the script, each after those it needs.
PARTS = ("draw", "curves", "figures", "charts")


def style() -> str:
    """The page's style sheet."""
    return files(__name__).joinpath("page.css").read_text(encoding="utf-8")


def script() -> str:
    """What draws charts, zooms, shows values and hides curves. It fetches nothing."""
    texts = [files(__name__).joinpath(f"{part}.js").read_text(encoding="utf-8") for part in PARTS]
    return (
        '"use strict";\n(() => {\n'
        + "\n".join(text.removeprefix('"use strict";\n') for text in texts)
        + "})();\n"
    )
