"""What KPIs can be split by and filtered on: columns of low cardinality, and a few ids for filters only."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Never

from monitor.errors import BadInput

BY_MAX: Final = 3

_TEXT: Final = (
    "service", "environment", "deployment", "pricing", "region", "node", "gpu", "provider", "model", "variant",
    "release", "experiment", "arm", "operation", "role", "finish_reason", "error_type", "dialect",
)  # fmt: skip
_TRUTH: Final = ("stream", "cancelled", "simulated")

DIMENSIONS: Final = (*_TEXT[:15], "stream", *_TEXT[15:17], "cancelled", *_TEXT[17:], "simulated")
IDS: Final = ("session_id", "user_id", "trace_id")
WHERE_KEYS: Final = (*DIMENSIONS, *IDS)
# What only some sources know of their rows; each of them names it among its own dimensions.
OF_SOURCES: Final = ("category", "feature", "metric", "cohort")

COHORT: Final = "cohort."
_COHORT_NAME: Final = re.compile(r"[\w./ -]{1,100}")

Where = Mapping[str, str | Sequence[str]]


def dimension_sql(name: str) -> str:
    """SQL text of a dimension as a string; '' stands for unknown, as everywhere in the store.

    `cohort.NAME` is a call's cohort of that name; only what is checked by `check_cohort` may come here.
    """
    if name.startswith(COHORT):
        return f"cohorts['{name.removeprefix(COHORT)}']"
    if name in _TRUTH:
        return f"multiIf(isNull({name}), '', assumeNotNull({name}), 'true', 'false')"
    return f"toString({name})"


def check_cohort(name: str) -> str:
    """The dimension of a cohort.

    Raises
    ------
    BadInput
        If the name could not be one.
    """
    if not _COHORT_NAME.fullmatch(name):
        raise BadInput(f"`{name}` is no name of a cohort; it has letters, digits, spaces and . _ - / alone")
    return COHORT + name


def check_by(by: Iterable[str]) -> tuple[str, ...]:
    """The dimensions to split by, checked; `cohort.NAME` is what calls are labelled with.

    Raises
    ------
    BadInput
        If one is unknown or given twice, or there are too many.
    """
    names = tuple(by)
    for name in names:
        if name.startswith(COHORT):
            check_cohort(name.removeprefix(COHORT))
        elif name not in DIMENSIONS + OF_SOURCES:
            refuse("dimension", name, DIMENSIONS + OF_SOURCES)
    if len(set(names)) != len(names):
        raise BadInput(f"a dimension is given twice: {', '.join(names)}; give each once")
    if len(names) > BY_MAX:
        raise BadInput(f"{len(names)} dimensions are given, and KPIs are split by {BY_MAX} at most; leave some out")
    return names


def parse_where(conditions: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`key=value` and `key=a,b` (any of) as a filter; a key that is repeated adds to its values.

    Raises
    ------
    BadInput
        If a condition has no `=`, or its key or value does not fit.
    """
    where: dict[str, tuple[str, ...]] = {}
    for condition in conditions:
        key, equals, values = condition.partition("=")
        if not equals:
            raise BadInput(f"the condition `{condition}` has no `=`; write key=value, or key=a,b for any of them")
        where[key.strip()] = where.get(key.strip(), ()) + tuple(values.split(","))
    return check_where(where)


def check_where(where: Where) -> dict[str, tuple[str, ...]]:
    """The filter with every key known and every value in the form that the store has it in.

    Raises
    ------
    BadInput
        If a key is unknown, has no value, or has one that it cannot take.
    """
    checked: dict[str, tuple[str, ...]] = {}
    for key, given in where.items():
        if key.startswith(COHORT):
            check_cohort(key.removeprefix(COHORT))
        elif key not in WHERE_KEYS + OF_SOURCES:
            refuse("filter key", key, WHERE_KEYS + OF_SOURCES)
        values = (given,) if isinstance(given, str) else tuple(given)
        if not values:
            raise BadInput(f"the filter on {key} has no value; give one, or leave the filter out")
        checked[key] = tuple(_truth(key, value) for value in values) if key in _TRUTH else values
    return checked


def where_sql(where: Mapping[str, tuple[str, ...]], *, prefix: str = "where") -> tuple[str, dict[str, list[str]]]:
    """SQL condition and its parameters; the values reach the server apart from the text.

    Two conditions of one statement take parameters of different `prefix`.
    """
    texts = [f"{_column(key)} IN {{{_parameter(key, prefix)}:Array(String)}}" for key in where]
    return " AND ".join(texts) or "1", {_parameter(key, prefix): list(values) for key, values in where.items()}


def _column(key: str) -> str:
    return dimension_sql(key) if key in DIMENSIONS or key.startswith(COHORT) else key


def _parameter(key: str, prefix: str) -> str:
    # A cohort may be called what no parameter may be.
    return f"{prefix}_{key}" if key.isidentifier() else f"{prefix}_x{key.encode().hex()}"


def refuse(what: str, name: str, known: Collection[str]) -> Never:
    """Refuse an unknown name, with the nearest right one."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    advice = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
    raise BadInput(f"there is no {what} `{name}`; {advice}")


def _truth(key: str, value: str) -> str:
    text = {"1": "true", "yes": "true", "0": "false", "no": "false"}.get(value.lower(), value.lower())
    if text not in ("true", "false", ""):
        raise BadInput(f"{key} is true, false or empty (unknown), not `{value}`")
    return text
