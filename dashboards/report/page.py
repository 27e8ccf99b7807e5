"""The report as HTML: one file, no script, nothing from elsewhere, legible in a mail program."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from typing import Final

import jinja2
from markupsafe import Markup

from dashboards.report.charts import Drawn
from dashboards.report.content import Line, Report
from dashboards.wording import age_text, dimension_label, group_text, interval_text, label, value_text
from monitor.kpis import KpiValue
from monitor.stats.result import Result

_MARKS: Final = {"better": "▲", "worse": "▼"}


def render(report: Report, *, dashboard_url: str = "") -> str:
    """The whole page; every text from the store is escaped. `dashboard_url` is where links lead, if it is known."""

    def unit(value: KpiValue) -> str:
        return value.unit.replace("currency", report.currency)

    def said(value: KpiValue | None) -> str:
        return "—" if value is None else value_text(value.value, unit(value))

    def between(value: KpiValue | None) -> str:
        return "" if value is None else interval_text(value.low, value.high, unit(value))

    def change(line: Line) -> str:
        return _change(line.change, share=line.value.unit == "1")

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "said": said, "between": between, "change": change, "label": label, "group": group_text,
        "dimension": dimension_label, "moment": _moment, "mark": lambda word: _MARKS.get(word, ""),
        "times": _times, "age": age_text, "figure": lambda number: value_text(number, ""), "words": lambda name: name.replace("_", " "),
        "ends": lambda gap: interval_text(gap.low, gap.high, ""),
        "money": lambda amount, currency: value_text(amount, currency), "svg": _svg,
    }  # fmt: skip
    template = resources.files("dashboards.report").joinpath("templates/report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(report=report, dashboard_url=dashboard_url.rstrip("/"))


def subject(report: Report) -> str:
    """One line: when, and whether all promises were kept."""
    broken = [promise.name for promise in report.promises if promise.kept is False]
    told = (
        f"{len(broken)} of {len(report.promises)} objectives missed"
        if broken
        else f"all {len(report.promises)} objectives kept"
    )
    first = told if report.promises else f"{report.requests:,.0f} requests"
    return f"Inference report {report.window.start:%-d %b} to {report.window.end:%-d %b %Y}: {first}"


def plain(report: Report) -> str:
    """The same in some lines of text, for mail programs without HTML."""
    lines = [subject(report), ""]
    for promise in report.promises:
        state = {True: "kept", False: "MISSED", None: "not known"}[promise.kept]
        value = promise.attainment.value if promise.attainment is not None else None
        lines.append(f"- {promise.name}: {value_text(value, '1')} of {promise.target:.6g} promised: {state}")
    for fired in report.found.alerts:
        lines.append(
            f"- Alert {fired.rule} ({fired.severity}): fired {_times(fired.fired)}{', goes on' if fired.goes_on else ''}"
        )
    if report.found.drift:
        lines.append(f"- Drifted: {', '.join(dict.fromkeys(each.feature for each in report.found.drift))}")
    if report.found.gaps:
        lines.append(
            f"- Unfair gaps: {', '.join(dict.fromkeys(f'{each.metric} by {each.cohort}' for each in report.found.gaps))}"
        )
    for family, values in report.families.items():
        lines += ["", family]
        for line in values:
            text = value_text(line.value.value, line.value.unit.replace("currency", report.currency))
            change = _change(line.change, share=line.value.unit == "1")
            lines.append(f"- {label(line.value.name)}: {text} (n = {line.value.n:,}{f', {change}' if change else ''})")
    return "\n".join(lines) + "\n"


def _change(result: Result, *, share: bool) -> str:
    if result.value is None:
        return ""
    return f"{100 * result.value:+.2f} pp" if share else f"{100 * (result.value - 1):+.1f} %"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%-d %b %Y %H:%M} UTC"


def _svg(chart: Drawn) -> Markup:
    # Made here from numbers and fixed words; names from the store stand in no chart.
    return Markup(chart.svg)
