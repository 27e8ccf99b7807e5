"""The ledger of one stretch of hours: which nodes were there, at which rate, and how much of each was used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN
from fnmatch import fnmatchcase
from typing import Any, Final

from monitor.errors import ConfigError
from monitor.jobs.cost_sql import activity_sql, samples_sql
from monitor.settings import NodeRate, Settings
from monitor.stats.ledger import MINUTES, NodeHour, node_hour
from monitor.stats.pricing import NANO
from monitor.store import Client

HOUR: Final = timedelta(hours=1)
NODE_COLUMNS: Final = (
    "hour", "node", "service", "environment", "deployment", "pricing", "region", "gpu", "provider", "model", "variant",
    "release", "gpus", "minutes", "busy", "basis", "hourly", "cost", "used", "idle", "currency", "book", "version", "deleted",
)  # fmt: skip
_TEXTS: Final = NODE_COLUMNS[2:12]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of a node in an hour, from its calls and its GPUs' samples."""

    minutes: frozenset[int] = frozenset()
    gpus: int = 0
    gpu_model: str = ""
    occupied_s: float = 0.0
    weight: float = 1.0
    basis: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A node's hour in the ledger."""

    hour: datetime
    node: str
    seen: Seen
    rate: NodeRate
    gpus: int
    hourly_nano: int
    cost: NodeHour


def seen_nodes(client: Client, calls: str, between: str) -> dict[tuple[datetime, str], Seen]:
    """Nodes by hour and name."""
    found: dict[tuple[datetime, str], Seen] = {}
    for row in _dicts(client, activity_sql(calls)):
        texts = {name: row.get(f"some_{name}") or row.get(f"only_{name}") or "" for name in _TEXTS}
        found[_utc(row["hour"]), row["node"]] = Seen(
            minutes=frozenset(row["minutes"]), occupied_s=row["occupied_s"], weight=row["weight"], basis=row["basis"],
            texts=texts,
        )  # fmt: skip
    for row in _dicts(client, samples_sql(between)):
        key = _utc(row["hour"]), row["node"]
        calls_seen = found.get(key, Seen())
        told = {
            "service": row["service"],
            "environment": row["environment"],
            "region": row["region"],
            "gpu": row["gpu_name"],
        }
        # A service that only its calls know may be one of several; what a call says goes first.
        texts = {
            name: calls_seen.texts.get(name) or ("" if calls_seen.texts and name == "service" else told.get(name, ""))
            for name in _TEXTS
        }
        found[key] = replace(
            calls_seen, minutes=calls_seen.minutes | set(row["minutes"]), gpus=int(row["gpus"]), gpu_model=row["gpu_name"],
            texts=texts,
        )  # fmt: skip
    return found


def ledger(
    seen: Mapping[tuple[datetime, str], Seen], settings: Settings, *, start: datetime, end: datetime, now: datetime
) -> list[Entry]:
    """The hours of all nodes that have a rate."""
    keys = set(seen)
    hour = start
    while hour < end:
        for entry in settings.fleet:
            if entry.always and _holds(entry, hour.date()):
                keys |= {(hour, node) for node in entry.nodes}
        hour += HOUR
    rows = []
    for hour, node in sorted(keys):
        what = seen.get((hour, node), Seen())
        rate = next((entry for entry in settings.fleet if _fits(entry, hour.date(), node, what)), None)
        if rate is not None:
            rows.append(_entry(hour, node, what, rate, settings, now))
    return rows


def ledger_version(fleet: Sequence[NodeRate]) -> str:
    """Name of all that the ledger's rates depend on."""
    text = json.dumps([entry.model_dump(mode="json") for entry in fleet], sort_keys=True)
    return f"fleet {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def check_rates(settings: Settings) -> None:
    """Refuse amounts of the fleet in a currency without a rate.

    Raises
    ------
    ConfigError
    """
    for place, entry in enumerate(settings.fleet):
        try:
            settings.prices.rate(entry.currency)
        except ValueError as error:
            raise ConfigError(f"`fleet[{place}]` {error}") from None


def values(entries: Iterable[Entry], *, currency: str, book: str, version: int) -> list[list[Any]]:
    """Rows of `node_hours`, in the order of `NODE_COLUMNS`."""
    return [
        [
            each.hour, each.node, *(each.seen.texts.get(name, "") or _said(each.rate, name) for name in _TEXTS), each.gpus,
            each.cost.minutes, each.cost.busy / NANO, each.seen.basis, each.hourly_nano, each.cost.cost, each.cost.used,
            each.cost.idle, currency, book, version, 0,
        ]
        for each in entries
    ]  # fmt: skip


def _said(rate: NodeRate, name: str) -> str:
    """What the configuration says of a node that says nothing of itself."""
    return {"deployment": rate.deployment, "pricing": rate.pricing or rate.kind}.get(name, "")


def _entry(hour: datetime, node: str, seen: Seen, rate: NodeRate, settings: Settings, now: datetime) -> Entry:
    gpus = rate.gpus or seen.gpus or 1
    hourly = rate.hourly(gpus) * settings.prices.rate(rate.currency) * NANO
    hourly_nano = int(hourly.to_integral_value(rounding=ROUND_HALF_EVEN))
    cost = node_hour(
        hourly_nano=hourly_nano,
        minutes=MINUTES if rate.always else len(seen.minutes),
        minutes_max=max(0, min(MINUTES, -(-(now - hour) // timedelta(minutes=1)))),
        occupied_s=seen.occupied_s,
        weight=seen.weight,
        works=bool(seen.basis),
    )
    return Entry(hour=hour, node=node, seen=seen, rate=rate, gpus=gpus, hourly_nano=hourly_nano, cost=cost)


def _fits(entry: NodeRate, day: date, node: str, seen: Seen) -> bool:
    texts = seen.texts
    return (
        _holds(entry, day)
        and any(fnmatchcase(node, pattern) for pattern in entry.nodes)
        # A node that is named in full and silent is what its entry says.
        and all(
            not wanted or texts.get(name, "") == wanted or (entry.always and not texts.get(name))
            for name, wanted in (("deployment", entry.deployment), ("pricing", entry.pricing))
        )
        and (
            not entry.gpu
            or any(
                fnmatchcase(told.lower(), entry.gpu.lower()) for told in (texts.get("gpu", ""), seen.gpu_model) if told
            )
            or (entry.always and not texts.get("gpu") and not seen.gpu_model)
        )
    )


def _holds(entry: NodeRate, day: date) -> bool:
    return (entry.valid_from or date.min) <= day < (entry.valid_until or date.max)


def _dicts(client: Client, sql: str) -> list[dict[str, Any]]:
    result = client.query(sql)
    return [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
