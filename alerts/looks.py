"""What explains an alert on drift or gaps: the features, or groups, of the look that it is about, in words."""

from __future__ import annotations

from typing import Final

from alerts.model import Instance
from monitor.store import Client

SHOWN: Final = 3
_MOVED: Final = 4
_DRIFT_KEYS: Final = ("service", "model", "feature")
_BIAS_KEYS: Final = ("service", "model", "metric", "cohort")


def what_looks_say(client: Client, instance: Instance) -> list[str]:
    """Sentences, the gravest first; none of an alert on something else."""
    if instance.kpi.startswith("drift."):
        return _drifts(client, instance)
    if instance.kpi.startswith("bias."):
        return _gaps(client, instance)
    return []


def _drifts(client: Client, instance: Instance) -> list[str]:
    condition, parameters = _where(instance, _DRIFT_KEYS)
    rows = client.query(
        "SELECT feature, service, value, threshold, moved FROM drift_results FINAL WHERE drifted AND value IS NOT NULL"
        f" AND {condition} ORDER BY window_end DESC, rank LIMIT 1 BY feature, service, model LIMIT {SHOWN}",
        parameters=parameters,
    ).result_rows
    return [
        f"{feature}{f' of {service}' if service else ''}: {', '.join(moved[:_MOVED]) or 'its distribution'}"
        f" (effect {value:.2g}, above {threshold:g})"
        for feature, service, value, threshold, moved in rows
    ]


def _gaps(client: Client, instance: Instance) -> list[str]:
    condition, parameters = _where(instance, _BIAS_KEYS)
    rows = client.query(
        "SELECT cohort, metric, worst, best, value, strict_low, tolerance FROM bias_results FINAL WHERE verdict = 'alert'"
        f" AND gap != '' AND value IS NOT NULL AND {condition}"
        f" ORDER BY window_end DESC, value DESC LIMIT 1 BY cohort, metric, worst LIMIT {SHOWN}",
        parameters=parameters,
    ).result_rows
    return [
        f"{cohort} {worst}: {metric} differs from {best} by {value:.3g}"
        f"{f', surely by {low:.3g}' if low is not None else ''} (tolerance {tolerance:g})"
        for cohort, metric, worst, best, value, low, tolerance in rows
    ]


def _where(instance: Instance, keys: tuple[str, ...]) -> tuple[str, dict[str, object]]:
    """Looks up to the alert's window that its rule is about."""
    wanted = {**instance.where, **{key: [value] for key, value in instance.group.items()}}
    parameters: dict[str, object] = {"until": instance.window_end, "since": instance.window_start}
    parts = ["window_end <= {until:DateTime64(6, 'UTC')}", "window_end > {since:DateTime64(6, 'UTC')} - INTERVAL 1 DAY"]
    for key in keys:
        if key in wanted:
            parameters[key] = list(wanted[key])
            parts.append(f"{key} IN {{{key}:Array(String)}}")
    return " AND ".join(parts), parameters
