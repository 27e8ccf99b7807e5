"""Every KPI by its name. Declared in `monitor.kpis.families`; `docs/kpis.md` is generated from it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from monitor.errors import BadInput
from monitor.kpis.families import DECLARED, DYNAMIC
from monitor.kpis.kpi import Kpi
from monitor.store import Client

REGISTRY: Final[Mapping[str, Kpi]] = MappingProxyType({kpi.name: kpi for kpi in DECLARED})


def known(client: Client, names: Iterable[str]) -> Mapping[str, Kpi]:
    """All KPIs that these names could mean: those declared, and those that the store's content makes."""
    wanted = list(names)
    found = dict(REGISTRY)
    for dynamic in DYNAMIC:
        if not wanted or any(name not in REGISTRY and dynamic.may_hold(name) for name in wanted):
            found |= {kpi.name: kpi for kpi in dynamic.find(client)}
    return found


def refuse_impossible(names: Iterable[str]) -> None:
    """Raise `BadInput` for a name that no store can make known, before any store is opened."""
    for name in names:
        if not any(dynamic.may_hold(name) for dynamic in DYNAMIC):
            resolve([name])


def resolve(names: Iterable[str], among: Mapping[str, Kpi] = REGISTRY) -> list[Kpi]:
    """KPIs by name, or by the front of their names: `latency`, `latency.ttft`. No name at all means all.

    Raises
    ------
    BadInput
        If nothing has such a name; the nearest one is suggested.
    """
    found: dict[str, Kpi] = {}
    wanted = list(names)
    for name in wanted:
        exact = [among[name]] if name in among else []
        matches = exact or [kpi for kpi in among.values() if kpi.name.startswith(f"{name.rstrip('.')}.")]
        if not matches:
            raise BadInput(f"there is no KPI `{name}`; {_advice(name, among)}")
        found |= {kpi.name: kpi for kpi in matches}
    return list(found.values()) if wanted else list(among.values())


def _advice(name: str, among: Mapping[str, Kpi]) -> str:
    # Also try without the family: people write `ttft.p95`.
    candidates = {kpi: kpi for kpi in among} | {kpi.partition(".")[2]: kpi for kpi in among}
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{candidates[near[0]]}`?"
    families = sorted({kpi.family for kpi in among.values()})
    return f"the families are {', '.join(families)}; `monitor kpi` without a name shows all"
