"""Texts of rules with `{{ node }}` in them: a sandbox, and only names that are known."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from monitor.errors import BadInput

LABEL_MAX: Final = 256
ANNOTATION_MAX: Final = 4000
TEMPLATE_MAX: Final = 10_000
_BREAKS: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]+")

# No loops over `range`, no clock, nothing to import: a text says what is there.
_ENVIRONMENT: Final = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
_ENVIRONMENT.globals.clear()


def check_template(text: str, known: Collection[str]) -> None:
    """Refuse what could not be rendered.

    Raises
    ------
    BadInput
        With the line and the nearest right name.
    """
    if len(text) > TEMPLATE_MAX:
        raise BadInput(f"has {len(text):,} characters; at most {TEMPLATE_MAX:,} are taken")
    try:
        tree = _ENVIRONMENT.parse(text)
        _ENVIRONMENT.from_string(text)
    except TemplateSyntaxError as error:
        raise BadInput(f"line {error.lineno} of the text is no template: {error.message}") from None
    except TemplateError as error:
        raise BadInput(f"is no template: {error.message}") from None
    for name in sorted(meta.find_undeclared_variables(tree)):
        if name not in known:
            line = next((i for i, each in enumerate(text.splitlines(), 1) if re.search(rf"\b{name}\b", each)), 1)
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            advice = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(sorted(known)) or 'none'}"
            raise BadInput(f"line {line} of the text uses `{name}`, which is not known here; {advice}")


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Template:
    return _ENVIRONMENT.from_string(text)


def render_label(text: str, values: Mapping[str, object]) -> str:
    """One line: labels end up in headers, links and file names."""
    return _BREAKS.sub(" ", _render(text, values)).strip()[:LABEL_MAX]


def render_annotation(text: str, values: Mapping[str, object]) -> str:
    """Lines without control characters."""
    return _CONTROL.sub(" ", _render(text, values)).strip()[:ANNOTATION_MAX]


def _render(text: str, values: Mapping[str, object]) -> str:
    if "{" not in text:
        return text
    try:
        return _compiled(text).render(values)
    except Exception as error:  # whatever a filter makes of a value
        raise BadInput(f"the text `{text[:60]}` cannot be rendered: {error}") from None
