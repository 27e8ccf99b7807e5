"""The KPI registry and its query layer: what is measured, and the one way to ask for it."""

from monitor.kpis.dimensions import DIMENSIONS, WHERE_KEYS, check_by, check_where, parse_where
from monitor.kpis.kpi import Kpi, KpiValue
from monitor.kpis.query import evaluate, series
from monitor.kpis.registry import REGISTRY, resolve
from monitor.kpis.window import Window, parse_duration

__all__ = [
    "DIMENSIONS",
    "REGISTRY",
    "WHERE_KEYS",
    "Kpi",
    "KpiValue",
    "Window",
    "check_by",
    "check_where",
    "evaluate",
    "parse_duration",
    "parse_where",
    "resolve",
    "series",
]
