"""Reads a catalogue file; what is wrong with it is said with its line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from monitor.errors import BadInput
from monitor.plan.schema import (
    CatalogueFile,
    EngineEntry,
    OnDemandEntry,
    OwnedEntry,
    PerTokenEntry,
    ReservedEntry,
    ServerlessEntry,
    SpotEntry,
)
from monitor.stats.plan import KINDS, Catalogue

_OFFERS: Final[dict[str, type[BaseModel]]] = {
    "owned": OwnedEntry,
    "reserved": ReservedEntry,
    "on_demand": OnDemandEntry,
    "spot": SpotEntry,
    "serverless": ServerlessEntry,
    "per_token": PerTokenEntry,
}
PACKAGED: Final = "the packaged catalogue of examples"


def read_catalogue(path: Path | None = None) -> Catalogue:
    """The catalogue of a file, or the packaged one of examples.

    Raises
    ------
    BadInput
        If the file cannot be read or an entry is wrong; the message names file, line, key and what was wanted.
    """
    where = str(path) if path else PACKAGED
    text = _text(path) if path else files("monitor.plan").joinpath("data/catalogue.yaml").read_text(encoding="utf-8")
    tree, values = _parsed(text, where)
    try:
        found = CatalogueFile.model_validate(values)
    except ValidationError as error:
        raise BadInput(_explained(error, tree, where)) from None
    _refuse_doubles(found, tree, where)
    return Catalogue(
        engines=tuple(_made(entry, ("engines", i), tree, where) for i, entry in enumerate(found.engines)),
        offers=tuple(_made(entry, ("offers", i), tree, where) for i, entry in enumerate(found.offers)),
        as_of=found.as_of.isoformat(),
        source=where,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot read the catalogue {path}: {error.strerror}; check --catalogue") from None
    except UnicodeDecodeError:
        raise BadInput(f"the catalogue {path} is not UTF-8 text; check --catalogue") from None


def _parsed(text: str, where: str) -> tuple[yaml.Node | None, Any]:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-02-30
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error) or "not valid YAML"
        raise BadInput(f"{where}{at}: {problem}; correct the file") from None


def _made(entry: Any, loc: tuple[str | int, ...], tree: yaml.Node | None, where: str) -> Any:
    try:
        return entry.made()
    except ValueError as error:
        raise BadInput(f"{where}, line {_line(tree, loc)}: {error}; correct the file") from None


def _refuse_doubles(found: CatalogueFile, tree: yaml.Node | None, where: str) -> None:
    seen: set[str] = set()
    for i, offer in enumerate(found.offers):
        if offer.name in seen:
            line = _line(tree, ("offers", i, "name"))
            raise BadInput(f"{where}, line {line}: the name `{offer.name}` is given twice; give each offer its own")
        seen.add(offer.name)


def _explained(error: ValidationError, tree: yaml.Node | None, where: str) -> str:
    errors = error.errors(include_url=False, include_context=False)
    # A key that is written wrongly is unknown and missing at once; the first helps more.
    first = min(errors, key=lambda each: each["type"] != "extra_forbidden")
    loc = [part for part in first["loc"] if part not in KINDS]  # the kind is a step of pydantic's, not of the file
    key = ".".join(str(part) for part in loc) or "the file"
    line = _line(tree, loc)
    if first["type"] == "extra_forbidden":
        return f"{where}, line {line}: unknown key `{key}`{_nearest(str(loc[-1]), _known(first['loc']))}"
    if first["type"] == "missing":
        return f"{where}, line {line}: `{key}` is missing; add it"
    if first["type"].startswith("union_tag"):
        given = first["input"].get("kind") if isinstance(first["input"], dict) else first["input"]
        return f"{where}, line {line}: `{key}.kind` is one of {', '.join(KINDS)}, not {given!r}"
    message = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
    given = repr(first["input"])
    return f"{where}, line {line}: `{key}`: {message}, not {given if len(given) <= 60 else given[:57] + '...'}"


def _known(loc: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = CatalogueFile
    if len(loc) > 1:
        model = EngineEntry if loc[0] == "engines" else _OFFERS[str(loc[2])]
    return list(model.model_fields)


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(known)}"


def _line(tree: yaml.Node | None, loc: Sequence[str | int]) -> int:
    """Line of the deepest part of a place that is in the file."""
    node, line = tree, 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == part]
            if not pairs:
                break
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
