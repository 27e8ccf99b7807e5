"""What happened in a stretch of time as one HTML page that needs nothing else, for people who never open the dashboard."""

from dashboards.report.content import Report, gather
from dashboards.report.page import render

__all__ = ["Report", "gather", "render"]
