"""Table `alert_rules`: rules that were made in the dashboard or by the API, with every version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from monitor.store import Client


@dataclass(frozen=True, kw_only=True)
class RuleVersion:
    """One version of a rule; `removed`: from then on there was none."""

    name: str
    version: int
    written_at: datetime
    author: str
    comment: str
    definition: Mapping[str, Any]
    removed: bool


def stored_rules(client: Client) -> dict[str, RuleVersion]:
    """Name -> newest version of the rules that there are."""
    newest = {version.name: version for version in _versions(client, "", {})}
    return {name: version for name, version in newest.items() if not version.removed}


def rule_history(client: Client, name: str) -> list[RuleVersion]:
    """All versions of one rule, oldest first."""
    return _versions(client, "WHERE name = {name:String}", {"name": name})


def write_rule(
    client: Client,
    name: str,
    definition: Mapping[str, Any],
    *,
    author: str,
    comment: str,
    now: datetime,
    removed: bool = False,
) -> RuleVersion:
    """Write the next version; `removed` takes the rule away, and keeps its history."""
    history = rule_history(client, name)
    version = RuleVersion(
        name=name,
        version=history[-1].version + 1 if history else 1,
        written_at=now.astimezone(UTC),
        author=author,
        comment=comment,
        definition=dict(definition),
        removed=removed,
    )
    text = json.dumps(version.definition, sort_keys=True, ensure_ascii=False)
    client.insert(
        "alert_rules",
        [[name, version.version, version.written_at, author, comment, text, removed]],
        column_names=["name", "version", "written_at", "author", "comment", "definition", "removed"],
        settings={"async_insert": 0},
    )
    return version


def _versions(client: Client, where: str, parameters: dict[str, str]) -> list[RuleVersion]:
    query = (
        "SELECT name, version, written_at, author, comment, definition, removed FROM alert_rules FINAL"
        f" {where} ORDER BY name, version, written_at"
    )
    return [
        RuleVersion(
            name=name,
            version=int(version),
            written_at=written_at.replace(tzinfo=UTC),
            author=author,
            comment=comment,
            definition=json.loads(definition),
            removed=bool(removed),
        )
        for name, version, written_at, author, comment, definition, removed in client.query(
            query, parameters=parameters
        ).result_rows
    ]
