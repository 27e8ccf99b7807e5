"""`objectives`: what was promised, and since when, for processes that read the store and not the configuration.

Each change of a definition begins a version. A call is judged by the version that was valid when it began, so that a
threshold which is changed today does not rewrite last week. The first version reaches back to the beginning of the
data: history from before anybody thought of the objective is judged by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final

from monitor.settings import ObjectiveSettings
from monitor.store.changes import CONFIG, record_change
from monitor.store.client import Client

SOURCE: Final = "monitor.yaml"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One definition; the keys are those of `objectives` in the configuration."""

    name: str
    kind: str
    target: float
    period: str = "30d"
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    description: str = ""
    latency: str = ""
    threshold_s: float = 0.0
    evaluation: str = ""
    labels: Sequence[str] = ()
    score_from: float | None = None
    sources: Sequence[str] = ()
    ceiling_usd: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Version:
    """What held from `start_ns` (Unix ns; None: from the beginning) up to, and without, `end_ns` (None: until further notice)."""

    objective: Objective
    start_ns: int | None
    end_ns: int | None


def read_objectives(client: Client) -> dict[str, list[Version]]:
    """Name -> versions, oldest first, of the objectives that hold now."""
    query = (
        "SELECT name, toUnixTimestamp64Nano(valid_from), definition, removed FROM objectives FINAL"
        " ORDER BY name, valid_from"
    )
    rows: dict[str, list[tuple[int, str, bool]]] = {}
    for name, valid_from_ns, definition, removed in client.query(query).result_rows:
        rows.setdefault(str(name), []).append((int(valid_from_ns), str(definition), bool(removed)))
    return {name: _versions(mine) for name, mine in rows.items() if not mine[-1][2]}


def write_objectives(client: Client, configured: Sequence[ObjectiveSettings], *, now: datetime) -> list[str]:
    """Store what differs from what is stored, with a change of the kind `config` for each; returns their titles.

    Run again with the same configuration it writes nothing.
    """
    wanted = {objective.name: definition_of(objective) for objective in configured}
    stored = _stored(client)
    titles = []
    for name in sorted(wanted.keys() | stored.keys()):
        before, after = stored.get(name), wanted.get(name)
        if before == after:
            continue
        moment = now.astimezone(UTC)
        client.insert(
            "objectives",
            [[name, moment, after or before or "", after is None]],
            column_names=["name", "valid_from", "definition", "removed"],
            settings={"async_insert": 0},
        )
        titles.append(_title(name, before, after))
        where = json.loads(after or before or "{}").get("where", {})
        record_change(client, timestamp=moment, kind=CONFIG, title=titles[-1], where=where, source=SOURCE)
    return titles


def definition_of(objective: ObjectiveSettings) -> str:
    """JSON of what was set, in one order, so that equal definitions are equal texts."""
    return json.dumps(objective.model_dump(mode="json", exclude_defaults=True), sort_keys=True, ensure_ascii=False)


def _stored(client: Client) -> dict[str, str]:
    query = (
        "SELECT name, argMax(definition, valid_from) AS newest FROM objectives FINAL GROUP BY name"
        " HAVING NOT argMax(removed, valid_from)"
    )
    return {str(name): str(definition) for name, definition in client.query(query).result_rows}


def _versions(rows: list[tuple[int, str, bool]]) -> list[Version]:
    """Versions that judge differently: a new description, target or period alone begins none."""
    held = [(start_ns, _objective(json.loads(text))) for start_ns, text, removed in rows if not removed]
    kept: list[tuple[int, Objective]] = []
    for start_ns, objective in held:
        if kept and _judging(kept[-1][1]) == _judging(objective):
            kept[-1] = (kept[-1][0], objective)
        else:
            kept.append((start_ns, objective))
    ends = [*(start_ns for start_ns, _ in kept[1:]), None]
    return [
        Version(objective=objective, start_ns=start_ns if index else None, end_ns=end_ns)
        for index, ((start_ns, objective), end_ns) in enumerate(zip(kept, ends, strict=True))
    ]


def _objective(values: dict[str, Any]) -> Objective:
    # A later release may have written keys that this one does not know.
    known = {one.name for one in fields(Objective)}
    return Objective(**{key: value for key, value in values.items() if key in known})


def _judging(objective: Objective) -> tuple[object, ...]:
    return tuple(
        getattr(objective, one.name) for one in fields(Objective) if one.name not in ("target", "period", "description")
    )


def _title(name: str, before: str | None, after: str | None) -> str:
    if before is None:
        return f"objective {name} set"
    if after is None:
        return f"objective {name} removed"
    old, new = json.loads(before), json.loads(after)
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    said = ", ".join(f"{key} {_said(old.get(key))} → {_said(new.get(key))}" for key in changed)
    return f"objective {name} changed: {said}"


def _said(value: object) -> str:
    return "default" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
