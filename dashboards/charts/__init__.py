"""Charts in Altair: one small set for all pages, each with words for those who do not see it."""

from dashboards.charts.histogram import draw_histogram
from dashboards.charts.lines import HEIGHT, Line, draw_lines, nothing
from dashboards.charts.waterfall import draw_waterfall

__all__ = ["HEIGHT", "Line", "draw_histogram", "draw_lines", "draw_waterfall", "nothing"]
