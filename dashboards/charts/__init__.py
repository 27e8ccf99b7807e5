"""Charts in Altair: one small set for all pages, each with words for those who do not see it."""

from altair.utils import schemapi

from dashboards.charts.bars import Bar, draw_bars
from dashboards.charts.heat import draw_cohorts, draw_latency_map
from dashboards.charts.histogram import draw_histogram
from dashboards.charts.lines import HEIGHT, Firing, Line, Marker, Threshold, Watched, draw_lines, nothing
from dashboards.charts.spells import Spell, draw_spells
from dashboards.charts.waterfall import draw_waterfall

# Each part of a chart would be checked by itself, and the whole again when it is drawn: half of the time a chart takes.
schemapi.disable_debug_mode()

__all__ = [
    "HEIGHT",
    "Bar",
    "Firing",
    "Line",
    "Marker",
    "Spell",
    "Threshold",
    "Watched",
    "draw_bars",
    "draw_cohorts",
    "draw_histogram",
    "draw_latency_map",
    "draw_lines",
    "draw_spells",
    "draw_waterfall",
    "nothing",
]
