"""Knows the style and the script of a report's page, as text; not what is on it."""

from importlib.resources import files


def style() -> str:
    """The page's style sheet."""
    return files(__name__).joinpath("page.css").read_text(encoding="utf-8")


def script() -> str:
    """What draws curves, zooms, shows values and hides curves. It fetches nothing."""
    return files(__name__).joinpath("curves.js").read_text(encoding="utf-8")
