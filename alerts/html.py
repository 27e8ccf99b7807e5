"""A message as the HTML of a mail."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from alerts.message import Message

COLOURS: Final = {"page": "#C0392B", "ticket": "#B96A0B", "info": "#2F6FBF", "resolved": "#177E5E"}


def as_html(message: Message, *, chart: str = "", possibly_repeated: bool = False) -> str:
    """The mail's HTML; `chart` is the address of its picture. All texts of others are escaped."""
    return _template().render(
        message=message,
        chart=chart,
        colour=COLOURS["resolved" if message.status == "resolved" else message.severity],
        possibly_repeated=possibly_repeated,
        web=_web,
    )


def _web(url: str) -> str:
    """The address if it is one of the web: `javascript:` is none."""
    return url if url.startswith(("https://", "http://")) else ""


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("alerts", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("mail.html")
