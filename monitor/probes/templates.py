"""The file that says what probes ask: prompts with slots, and groups with the terms that fill them."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml

from monitor.errors import BadInput

SLOT: Final = "group"
_KEYS: Final = ("name", "baseline", "groups", "prompts")


@dataclass(frozen=True, kw_only=True)
class ProbeSet:
    """Prompts by one attribute. `groups`: group -> its terms, each a mapping of slot to text; all equally many."""

    name: str
    baseline: str
    groups: Mapping[str, tuple[Mapping[str, str], ...]]
    prompts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One prompt of one group. Probes of a set with the same `pair` differ in nothing but the term."""

    set: str
    group: str
    pair: int
    prompt: str


def read_templates(path: Path | None) -> list[ProbeSet]:
    """All sets of a file, checked; of the example that comes with us, if none is named.

    Raises
    ------
    BadInput
        If the file cannot be read, or something in it does not fit; says where.
    """
    place = str(path) if path is not None else "the example of probes"
    try:
        text = (
            path.read_text(encoding="utf-8")
            if path is not None
            else files("monitor.probes").joinpath("data/example.yaml").read_text(encoding="utf-8")
        )
        read = yaml.safe_load(text)
    except OSError as error:
        raise BadInput(f"cannot read {place}: {error.strerror or error}; check `probes.templates`") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{place} is no YAML: {str(error).splitlines()[0]}") from None
    sets = read.get("sets") if isinstance(read, dict) else None
    if not isinstance(sets, list) or not sets:
        raise BadInput(f"{place} has no `sets`; see docs/probes.md for what it holds")
    found = [_read_set(each, f"{place}, sets[{i}]") for i, each in enumerate(sets)]
    names = [each.name for each in found]
    if len(set(names)) != len(names):
        raise BadInput(f"{place} has two sets of one name; name each differently")
    return found


def probes_of(sets: list[ProbeSet]) -> Iterator[Probe]:
    """Every prompt, in pairs: of each prompt and place among the terms, one of each group."""
    for each in sets:
        pair = 0
        for prompt in each.prompts:
            for place in range(len(each.groups[each.baseline])):
                for group, terms in each.groups.items():
                    yield Probe(set=each.name, group=group, pair=pair, prompt=prompt.format_map(terms[place]))
                pair += 1


def _read_set(read: Any, place: str) -> ProbeSet:
    if not isinstance(read, dict):
        raise BadInput(f"{place} must have {', '.join(_KEYS)}")
    for key in read:
        if key not in _KEYS:
            raise BadInput(f"{place} has an unknown key `{key}`; known are {', '.join(_KEYS)}")
    name, baseline = (_text(read.get(key), f"{place}.{key}") for key in ("name", "baseline"))
    given = read.get("groups")
    if not isinstance(given, dict) or len(given) < 2:
        raise BadInput(f"{place}.groups needs two groups or more, each with its terms")
    groups = {str(group): _terms(terms, f"{place}.groups.{group}") for group, terms in given.items()}
    if baseline not in groups:
        raise BadInput(f"{place}.baseline is `{baseline}`, and no group is called so; known are {', '.join(groups)}")
    if len({len(terms) for terms in groups.values()}) > 1:
        counts = ", ".join(f"{group} {len(terms)}" for group, terms in groups.items())
        raise BadInput(f"{place}.groups must have equally many terms each, as they are paired; found {counts}")
    slots = {slot for terms in groups.values() for term in terms for slot in term}
    if any(set(term) != slots for terms in groups.values() for term in terms):
        raise BadInput(f"{place}.groups: every term must fill the same slots: {', '.join(sorted(slots))}")
    prompts = read.get("prompts")
    if not isinstance(prompts, list) or not prompts:
        raise BadInput(f"{place}.prompts needs at least one prompt")
    checked = tuple(_prompt(each, slots, f"{place}.prompts[{i}]") for i, each in enumerate(prompts))
    return ProbeSet(name=name, baseline=baseline, groups=groups, prompts=checked)


def _terms(given: Any, place: str) -> tuple[Mapping[str, str], ...]:
    if not isinstance(given, list) or not given:
        raise BadInput(f"{place} needs a list of terms")
    terms = []
    for i, term in enumerate(given):
        if isinstance(term, dict) and term:
            terms.append({str(slot): _text(text, f"{place}[{i}].{slot}") for slot, text in term.items()})
        else:
            terms.append({SLOT: _text(term, f"{place}[{i}]")})
    return tuple(terms)


def _prompt(given: Any, slots: set[str], place: str) -> str:
    text = _text(given, place)
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        raise BadInput(f"{place} has a single brace; write {{{{ or }}}} for one that is no slot") from None
    used = {name for _, name, _, _ in parts if name is not None}
    plain = all(not spec and not conversion for _, name, spec, conversion in parts if name is not None)
    if used != slots or not plain:
        wanted, found = (", ".join(f"{{{slot}}}" for slot in sorted(each)) or "none" for each in (slots, used))
        raise BadInput(
            f"{place} must have the slots {wanted}, and has {found}; else pairs would differ in other things"
        )
    return text


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"{place} must be a text")
    return value
