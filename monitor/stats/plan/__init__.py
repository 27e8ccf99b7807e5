"""Which GPUs or APIs serve a load within its objectives, at what cost: numbers in, numbers out."""

from monitor.stats.plan.breakeven import BreakEven, break_even
from monitor.stats.plan.engine import ROUTINGS, Engine, Objectives, attainment
from monitor.stats.plan.fleet import Fleet, Recipe, Search, recipes
from monitor.stats.plan.interval import Levels, Spread, levels, spread
from monitor.stats.plan.load import Load, measured_load, stated_load
from monitor.stats.plan.offers import BASE_KINDS, KINDS, Catalogue, Offer, Unit, owned_usd_per_hour, unit_of
from monitor.stats.plan.planner import plan
from monitor.stats.plan.report import HourOfDay, Part, Plan, PlanReport
from monitor.stats.plan.situation import Situation, situation

__all__ = [
    "BASE_KINDS",
    "KINDS",
    "ROUTINGS",
    "BreakEven",
    "Catalogue",
    "Engine",
    "Fleet",
    "HourOfDay",
    "Levels",
    "Load",
    "Objectives",
    "Offer",
    "Part",
    "Plan",
    "PlanReport",
    "Recipe",
    "Search",
    "Situation",
    "Spread",
    "Unit",
    "attainment",
    "break_even",
    "levels",
    "measured_load",
    "owned_usd_per_hour",
    "plan",
    "recipes",
    "situation",
    "spread",
    "stated_load",
    "unit_of",
]
