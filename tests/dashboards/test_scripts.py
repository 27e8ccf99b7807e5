"""The pages without a browser: their figures against the registry, and what they say when there is little or nothing."""

from __future__ import annotations

import contextlib
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from clickhouse_connect.driver.httpclient import HttpClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from playwright.sync_api import Browser
from streamlit.testing.v1 import AppTest

from dashboards import data, memory, navigation
from dashboards.store import STORE_URL_VARIABLE
from dashboards.wording import label, short_unit, value_text
from monitor.kpis import REGISTRY, KpiValue, Window, evaluate
from monitor.kpis.estimators import Total
from monitor.store import Client, connect
from tests.dashboards.browsing import Visit
from tests.tools.service import Service, running

MAIN = Path(__file__).parents[2] / "dashboards" / "start" / "main.py"


def app(url: str, monkeypatch: pytest.MonkeyPatch, *, on: str = "overview", **query: str) -> AppTest:
    """The page `on`, which is run alone: the way there over the front page would take the time of both."""
    monkeypatch.setenv(STORE_URL_VARIABLE, url)
    test = AppTest.from_file(str(MAIN), default_timeout=60)
    if on != "overview":
        test.switch_page(f"../pages/{on}.py")
    for name, value in query.items():
        test.query_params[name] = value
    return test.run()


def address(test: AppTest) -> dict[str, list[str]]:
    return {
        name: list(values) if isinstance(values, list) else [values] for name, values in dict(test.query_params).items()
    }


def texts(test: AppTest) -> str:
    elements = [*test.subheader, *test.markdown, *test.caption, *test.error, *test.warning, *test.code]
    return "\n".join(str(element.value) for element in elements)


def by_place(test: AppTest) -> pd.DataFrame:
    """The overview's table."""
    return next(frame.value for frame in test.dataframe if "Requests" in frame.value)


BY_LABEL = {label(name): name for name in REGISTRY}


@pytest.fixture(scope="module")
def window() -> Window:
    """The demo's hour, ended: its figures stand still."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    return Window(end - timedelta(hours=2), end)


def custom(window: Window) -> dict[str, str]:
    return {"range": "custom", "start": window.start.isoformat(), "end": window.end.isoformat()}


def said(value: KpiValue) -> str:
    return value_text(value.value, short_unit(value).replace("currency", "USD"))


def figures(client: Client, names: list[str], window: Window, **where: str) -> dict[str, KpiValue]:
    return {value.name: value for value in evaluate(client, names, window=window, where=where)}


# Page -> how many figures it has at least.
TILES = {
    "overview": 10,
    "latency": 5,
    "accuracy": 9,
    "cost": 8,
    "engagement": 13,
    "safety": 5,
    "fleet": 7,
    "health": 1,
}


@pytest.mark.parametrize(
    ("name", "where"), [*((name, {}) for name in TILES), ("overview", {"node": "gpu-2"}), ("cost", {"node": "gpu-2"})]
)
def test_figures_are_the_registrys(
    service: Service, monkeypatch: pytest.MonkeyPatch, window: Window, name: str, where: dict[str, str]
) -> None:
    url = service.addresses["clickhouse"]
    test = app(url, monkeypatch, on=name, **custom(window), **where)
    assert not test.exception
    shown = {BY_LABEL[metric.label]: metric.value for metric in test.metric if metric.label in BY_LABEL}
    client = connect(url)
    expected = figures(client, list(shown), window, **where)
    client.close()
    assert shown == {kpi: said(value) for kpi, value in expected.items()}
    assert len(shown) >= TILES[name]
    for value in expected.values():
        if value.value is not None:
            assert f"n = {value.n:,}" in texts(test)
    if name == "overview":
        table = by_place(test)
        assert table["Requests"].sum() == expected["traffic.requests"].value
        assert set(table["Node"]) == ({"gpu-2"} if where else {"gpu-1", "gpu-2", "gpu-3"})


def test_totals_of_a_longer_time_before_are_cut_down(
    service: Service, monkeypatch: pytest.MonkeyPatch, window: Window
) -> None:
    monkeypatch.setenv(STORE_URL_VARIABLE, service.addresses["clickhouse"])
    start = window.end.replace(minute=0, second=0, microsecond=0)
    later = Window(start, start + timedelta(hours=26, minutes=40))
    names = ("traffic.requests", "traffic.request_rate", "traffic.error_rate", "engagement.sessions", "cost.total")
    found = {value.name: value for value in data.both(names, later)[1]}
    with contextlib.closing(connect(service.addresses["clickhouse"])) as client:
        true = figures(client, list(names), Window(start - timedelta(hours=27), start))
    assert true["traffic.requests"].value
    for name, value in found.items():
        share = (26 + 40 / 60) / 27 if name in data.TOTALS else 1.0
        assert value.value == pytest.approx((true[name].value or 0) * share), name
        assert value.n == true[name].n
    assert set(names) - set(data.TOTALS) == {"traffic.request_rate", "traffic.error_rate"}
    assert {name for name, kpi in REGISTRY.items() if isinstance(kpi.estimator, Total)} <= set(data.TOTALS)


def test_a_page_asks_nothing_twice(service: Service, monkeypatch: pytest.MonkeyPatch, window: Window) -> None:
    """Parts of a page share what they ask; the fewest statements that the overview's figures take are about 60."""
    asked: list[str] = []
    ask = HttpClient.query

    def counted(self: Any, query: str, parameters: Any = None, **more: Any) -> Any:
        asked.append(f"{query} {parameters}")
        return ask(self, query, parameters, **more)

    monkeypatch.setattr(HttpClient, "query", counted)
    # However long the page takes on a busy machine, no answer grows old.
    now = time.monotonic()
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: now))
    # Another time than that of all other tests, so that nothing is known yet.
    earlier = Window(window.start - timedelta(minutes=1), window.end)
    assert not app(service.addresses["clickhouse"], monkeypatch, **custom(earlier)).exception
    assert 20 < len(asked) < 100
    assert [statement for statement, times in Counter(asked).items() if times > 1] == []


def test_drift_of_a_time_without_a_look_says_so(
    service: Service, monkeypatch: pytest.MonkeyPatch, window: Window
) -> None:
    """The latest looks are shown whatever the time is; their history has nothing to show."""
    long_ago = Window(window.start - timedelta(days=400), window.start - timedelta(days=400) + timedelta(hours=1))
    test = app(service.addresses["clickhouse"], monkeypatch, on="drift", **custom(long_ago))
    assert not test.exception
    assert "Effect over time" in " ".join(each.value for each in test.markdown)
    assert "fewer than two looks" in " ".join(each.value for each in [*test.info, *test.markdown, *test.caption])


def test_a_moment_in_the_address_is_taken_apart(
    service: Service, monkeypatch: pytest.MonkeyPatch, window: Window
) -> None:
    """What a click writes into the address; the step of a chart over two hours is two minutes."""
    start = datetime.fromtimestamp((window.end.timestamp() - 1800) // 120 * 120, UTC)
    moment = Window(start, start + timedelta(minutes=2))
    url = service.addresses["clickhouse"]
    test = app(url, monkeypatch, **custom(window), look="latency.ttft.p50", at=start.isoformat(), slice="node")
    assert not test.exception
    client = connect(url)
    whole = evaluate(client, ["latency.ttft.p50"], window=moment)[0]
    by_node = evaluate(client, ["latency.ttft.p50"], window=moment, by=["node"])
    client.close()
    assert f": {value_text(whole.value, 's')}** (95 %: " in texts(test)
    assert f"n = {whole.n:,})" in texts(test)
    table = next(frame.value for frame in test.dataframe if list(frame.value)[:2] == ["Node", "n"])
    assert dict(zip(table["Node"], table["n"], strict=True)) == {each.group["node"]: each.n for each in by_node}
    assert all(f"start={start:%Y-%m-%dT%H}%3A{start:%M}%3A00Z" in link for link in table["Traces"])


def test_a_latency_that_nobody_reported_is_said_and_not_drawn(
    service: Service, monkeypatch: pytest.MonkeyPatch, window: Window
) -> None:
    url = service.addresses["clickhouse"]
    test = app(url, monkeypatch, on="latency", **custom(window), user="x", experiment="none")
    assert not test.exception
    assert "No call here" in texts(test)
    assert not test.dataframe


def test_a_search_by_the_address(service: Service, monkeypatch: pytest.MonkeyPatch, window: Window) -> None:
    url = service.addresses["clickhouse"]
    test = app(url, monkeypatch, on="traces", **custom(window), node="gpu-2")
    test.toggle(key="errors").set_value(True).run()
    assert not test.exception
    client = connect(url)
    expected = client.command("SELECT count() FROM inferences FINAL WHERE node = 'gpu-2' AND error_type != ''")
    client.close()
    assert f"{expected} model calls, 50 a page" in texts(test)
    assert set(test.dataframe[0].value["Ended by"]) <= {"TimeoutError", "ConnectionResetError"}
    test.text_input(key="trace").set_value("xyz").run()
    assert "`xyz` is no trace id" in texts(test)
    test.text_input(key="trace").set_value("A" * 32).run()
    assert f"no span of trace `{'a' * 32}`" in texts(test)


def test_what_is_chosen_goes_into_the_address_and_out_again(
    service: Service, monkeypatch: pytest.MonkeyPatch, window: Window
) -> None:
    test = app(service.addresses["clickhouse"], monkeypatch, **custom(window))
    test.multiselect(key="filter-node").set_value(["gpu-2"]).run()
    test.multiselect(key="filter-variant").set_value(["fp8", "fp16"]).run()
    assert address(test)["node"] == ["gpu-2"]
    assert address(test)["variant"] == ["fp8", "fp16"]
    assert set(by_place(test)["Node"]) == {"gpu-2"}
    next(button for button in test.button if button.label == "Clear all filters").click().run()
    assert set(address(test)) == {"range", "start", "end"}
    assert set(by_place(test)["Node"]) == {"gpu-1", "gpu-2", "gpu-3"}
    test.datetime_input(key="start-input").set_value(datetime(2020, 1, 1, 12, 30)).run()
    assert address(test)["start"] == ["2020-01-01T12:30:00Z"]
    test.segmented_control(key="address-range").set_value("24h").run()
    assert address(test) == {"range": ["24h"]}
    test.toggle(key="address-live").set_value(False).run()
    assert address(test)["live"] == ["false"]
    assert not test.exception


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"range": "custom", "start": "soon", "end": "later"}, "cannot be read"),
        ({"range": "custom", "start": "2026-01-02", "end": "2026-01-01"}, "must end after it starts"),
        ({"range": "1 fortnight", "live": "perhaps", "node": "nowhere"}, "node: nowhere"),
    ],
    ids=["no-moment", "backwards", "unknown"],
)
def test_an_address_that_makes_no_sense_is_no_crash(
    service: Service, monkeypatch: pytest.MonkeyPatch, query: dict[str, str], words: str
) -> None:
    test = app(service.addresses["clickhouse"], monkeypatch, **query)
    assert not test.exception
    assert words in texts(test)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with nothing in it."""
    with running(tmp_path_factory.mktemp("small") / "data", "dashboard") as started:
        yield started


def test_nothing_one_span_and_no_store(small: Service, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one test, since each is what becomes of the one before."""
    url = small.addresses["clickhouse"]
    pages = [entry.file.removesuffix(".py") for entry in navigation.ENTRIES]
    for name in pages:
        test = app(url, monkeypatch, on=name)
        assert not test.exception
        assert not test.error
        if name == "health":  # it has the store and the jobs to tell of
            assert "Schema version" in texts(test)
            continue
        if name == "alerts":  # there are rules before there is any call
            assert "No alert fires" in texts(test)
            continue
        if name == "plan":  # a usage can be stated before anything is deployed
            assert len(texts(test)) > 100
            continue
        assert "Nothing has arrived yet" in texts(test), name
        assert "monitor.init(" in texts(test), name

    assert "Nothing has arrived yet" in _in_browser(browser, small)
    _send_one_call(small.addresses["http"])
    small.wait_until_stored()
    time.sleep(2.1)  # what is known of the store's newest call is kept for 2 s
    years = {"range": "custom", "start": "2026-01-01T00:00:00Z", "end": "2027-12-31T00:00:00Z"}
    overview = app(url, monkeypatch, **years)
    assert not overview.exception
    shown = {metric.label: metric.value for metric in overview.metric}
    assert (shown["Requests"], shown["TTFT p50"], shown["Error rate"]) == ("1", "250 ms", "0 %")
    assert "too few for an interval" in texts(overview)
    for name in pages[1:]:
        test = app(url, monkeypatch, on=name, **years)
        assert not test.exception, name
        assert not test.error, name
        assert len(texts(test)) > 100
    latency = app(url, monkeypatch, on="latency", **years)
    assert "Too few calls" in texts(latency)

    assert "too few for an interval" in _in_browser(browser, small)

    small.kill()
    for name in pages:
        test = app(url, monkeypatch, on=name)
        assert not test.exception
        assert "The store does not answer" in texts(test)
        assert url.removeprefix("http://") in texts(test)
        assert not test.metric
        assert not test.dataframe


def _in_browser(browser: Browser, service: Service) -> str:
    visit = Visit(browser)
    page = visit.open(service.addresses["dashboard"])
    text = str(page.locator("[data-testid=stMain]").inner_text())
    assert page.locator("[data-testid=stVegaLiteChart] canvas").count() == 0 or "n = 1" in text
    assert visit.close() == []
    return text


def _send_one_call(address: str) -> None:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "small"
    span = resource.scope_spans.add().spans.add(name="chat m", trace_id=b"\1" * 16, span_id=b"\2" * 8)
    span.start_time_unix_nano = time.time_ns() - 10**9
    span.end_time_unix_nano = time.time_ns()
    span.attributes.add(key="gen_ai.operation.name").value.string_value = "chat"
    span.attributes.add(key="gen_ai.request.model").value.string_value = "m"
    span.attributes.add(key="gen_ai.response.time_to_first_chunk").value.double_value = 0.25
    urllib.request.urlopen(
        urllib.request.Request(
            f"{address}/v1/traces", request.SerializeToString(), {"Content-Type": "application/x-protobuf"}
        ),
        timeout=10,
    ).close()


def test_a_dashboard_without_an_address_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    test = app("", monkeypatch)
    assert not test.exception
    assert "was not told where the store is" in texts(test)
