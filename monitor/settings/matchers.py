"""Matchers of labels: `severity=page`, `node!=gpu-1`, `model=~llama.*`, `team!~a|b`; used by routes, inhibition and silences."""

from __future__ import annotations

import re
import re._constants as regex_constants  # type: ignore[import-not-found]
import re._parser as regex_parser  # type: ignore[import-not-found]
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

_MATCHER: Final = re.compile(r"\s*([A-Za-z_][\w.]{0,99})\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_PATTERN_MAX: Final = 300
Operator = Literal["=", "!=", "=~", "!~"]


@dataclass(frozen=True)
class Matcher:
    """One condition on one label; a label that is missing is an empty one. Regular expressions match the whole value."""

    name: str
    operator: Operator
    value: str

    def holds(self, labels: Mapping[str, str]) -> bool:
        given = labels.get(self.name, "")
        if self.operator in ("=", "!="):
            return (given == self.value) == (self.operator == "=")
        return (_compiled(self.value).fullmatch(given) is not None) == (self.operator == "=~")

    def __str__(self) -> str:
        quoted = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.name}{self.operator}"{quoted}"'


def parse_matcher(text: str) -> Matcher:
    """Read `name=value`; the value may stand in double quotes.

    Raises
    ------
    ValueError
        If it is no matcher, or its regular expression is none, or one that could take for ever.
    """
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no matcher; write label=value, label!=value, label=~regex or label!~regex")
    name, operator, value = found.groups()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    matcher = Matcher(name, operator, value)  # type: ignore[arg-type]
    if operator in ("=~", "!~"):
        _check_regex(value)
    return matcher


def parse_matchers(texts: Iterable[str]) -> tuple[Matcher, ...]:
    return tuple(parse_matcher(text) for text in texts)


def all_hold(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    return all(matcher.holds(labels) for matcher in matchers)


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _check_regex(pattern: str) -> None:
    if len(pattern) > _PATTERN_MAX:
        raise ValueError(f"the regular expression is longer than {_PATTERN_MAX} characters")
    try:
        parsed = regex_parser.parse(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    # A repetition in a repetition, such as (a+)+, can take longer than the universe is old.
    if _nests(parsed, inside=False):
        raise ValueError(f"{pattern!r} repeats what repeats already, which could take for ever; write it without")


def _nests(parsed: Any, *, inside: bool) -> bool:
    for operation, arguments in parsed:
        repeats = operation in (regex_constants.MAX_REPEAT, regex_constants.MIN_REPEAT) and arguments[1] > 10
        if repeats and inside:
            return True
        if operation is regex_constants.GROUPREF:
            return True
        if any(_nests(part, inside=inside or repeats) for part in _parts(arguments)):
            return True
    return False


def _parts(arguments: Any) -> Iterable[Any]:
    """Patterns within the arguments of an operation, however deep they lie."""
    if isinstance(arguments, regex_parser.SubPattern):
        yield arguments
    elif isinstance(arguments, list | tuple):
        for each in arguments:
            yield from _parts(each)
