"""Charts in Altair: one small set for all pages, each with words for those who do not see it."""

from dashboards.charts.bars import Bar, draw_bars
from dashboards.charts.heat import draw_cohorts, draw_latency_map
from dashboards.charts.histogram import draw_histogram
from dashboards.charts.lines import HEIGHT, Firing, Line, Marker, Threshold, Watched, draw_lines, nothing
from dashboards.charts.spells import Spell, draw_spells
from dashboards.charts.waterfall import draw_waterfall

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
