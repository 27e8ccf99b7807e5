"""Configuration: the example that documents it, and what is said about mistakes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from alerts.book import known_from_settings, make_book
from monitor.errors import ConfigError
from monitor.kpis import DIMENSIONS
from monitor.settings import (
    AlertRule,
    Budget,
    NodeRate,
    ObjectiveSettings,
    OwnPrice,
    PriceTier,
    Section,
    Settings,
    load_settings,
)
from monitor.settings.alerts import AbsentSettings, AnomalySettings, ChangeSettings
from monitor.settings.load import read_yaml
from monitor.settings.objectives import WHERE_KEYS

EXAMPLE = Path(__file__).parents[1] / "monitor.example.yaml"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MONITOR_")]:
        monkeypatch.delenv(name)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_holds_every_key_with_its_default() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    values = read_yaml(text)
    comments = " ".join(re.sub(r"^\s*#", "", text, flags=re.MULTILINE).split())
    assert load_settings(EXAMPLE) == Settings()
    assert list(values) == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        assert (field.description or "") in comments
        if isinstance(kind, type) and issubclass(kind, Section):
            assert list(values[name]) == list(kind.model_fields)
            for key, setting in kind.model_fields.items():
                description = " ".join((setting.description or "").split())
                assert description, f"{name}.{key} is not documented"
                assert f"{description} " in comments, f"the example says something else of {name}.{key}"
                if setting.annotation in (SecretStr, list[SecretStr]):
                    assert re.search(rf"# {key}: .*\$\{{\w+\}}", text), f"no example of the secret {name}.{key}"


def test_the_examples_of_secrets_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    kept = []
    for line in lines:
        shown = re.fullmatch(r"  # (\w+: .*\$\{(\w+)\}.*)", line)
        if shown:
            monkeypatch.setenv(shown[2], f"secret of {shown[2]}")
            kept[-1:] = [kept[-1], f"  {shown[1]}"]
        elif not (kept and kept[-1].startswith("  ") and line.split(":")[0] == kept[-1].split(":")[0]):
            kept.append(line)
    settings = load_settings(write(tmp_path, "\n".join(kept)))
    assert settings.store.clickhouse_password.get_secret_value() == "secret of CLICKHOUSE_PASSWORD"
    assert [token.get_secret_value() for token in settings.collectors.tokens] == ["secret of INGEST_TOKEN"]
    assert settings.privacy.salt.get_secret_value() == "secret of USER_ID_SALT"


def test_the_examples_of_objectives_work(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    shown = text[text.index("# objectives:\n#   - ") : text.index("\nobjectives: []")]
    objectives = load_settings(write(tmp_path, re.sub("^# ", "", shown, flags=re.MULTILINE))).objectives
    assert {objective.kind for objective in objectives} == {"latency", "error", "accuracy", "safety", "cost"}
    comments = " ".join(re.sub(r"^\s*#", "", text, flags=re.MULTILINE).split())
    for key, field in ObjectiveSettings.model_fields.items():
        assert f"{key}: {field.description} " in comments, f"the example says something else of {key}"


def test_the_examples_of_alerts_work(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    comments = " ".join(re.sub(r"^\s*#", "", text, flags=re.MULTILINE).split())
    for kind in (AlertRule, ChangeSettings, AnomalySettings, AbsentSettings):
        for key, field in kind.model_fields.items():
            said = f"{field.alias or key}: {field.description} "
            assert said in comments, f"the example says something else of {key}"
    shown = re.sub("^# ", "", text[text.index("# alerts:\n#   - ") : text.index("\nalerts: []")], flags=re.MULTILINE)
    receivers = "receivers: {oncall: {webhook: {url: 'https://a/'}}, deadman: {webhook: {url: 'https://b/'}}}\n"
    page = (EXAMPLE.parent / "docs" / "alerts.md").read_text(encoding="utf-8")
    for example in (shown, *re.findall(r"```yaml\n(alerts:.*?)```", page, flags=re.DOTALL)):
        settings = load_settings(write(tmp_path, receivers + example))
        assert make_book(settings, known_from_settings(settings)).broken == {}
        assert settings.alerts


def test_the_page_on_objectives_shows_what_works(tmp_path: Path) -> None:
    page = (EXAMPLE.parent / "docs" / "objectives.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert found is not None
    assert len(load_settings(write(tmp_path, found[1])).objectives) == 6


def test_objectives_filter_on_the_dimensions_of_calls() -> None:
    assert WHERE_KEYS == DIMENSIONS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colectors: {}", r"unknown key `colectors`; did you mean `collectors`\?"),
        ("collectors: {grpc_prt: 1}", r"unknown key `collectors\.grpc_prt`; did you mean `grpc_port`\?"),
        ("zzz: 1", r"unknown key `zzz`; known: .*collectors"),
        ("collectors: {grpc_port: many}", r"`collectors\.grpc_port`: input should be a valid integer"),
        ("collectors: {grpc_port: 70000}", r"`collectors\.grpc_port`: input should be less than or equal to 65535"),
        ("collectors: 3", "`collectors` must be a section"),
        ("- a\n- b", "the top level must be sections"),
        ("collectors:\n  host: [1, 2", r"some\.yaml, line 2, column \d+: "),
        ("store: {url: 'mysql://x'}", r"`store\.url`: .*chdb:///"),
        ("store: {url: '${NOWHERE_SET}'}", r"environment variable NOWHERE_SET is not set"),
        ("privacy: {redact: ['(']}", r"`privacy\.redact`: .*is not a regular expression"),
        ("privacy: {hash_user_ids: true}", r"privacy\.salt` is empty"),
        ("collectors: {host: 0.0.0.0}", r"anybody; set `collectors\.tokens`"),
        ("collectors: {host: 0.0.0.0, tokens: [t]}", r"let anybody read the store; set `store\.clickhouse_user`"),
        ("collectors: {tokens: ['']}", "holds an empty token"),
        ("objectives: [{nam: a}]", r"unknown key `objectives\[0\]\.nam`; did you mean `name`\?"),
        ("objectives: [{name: a, kind: error}]", r"`objectives\.0\.target`: field required"),
        ("objectives: [{name: A b, kind: error, target: 0.9}]", "'A b' must be small letters"),
        ("objectives: [{name: goodput-2, kind: error, target: 0.9}]", "would be taken for the KPI `objective.goodput`"),
        ("objectives: [{name: a, kind: speed, target: 0.9}]", "input should be 'latency', 'error'"),
        ("objectives: [{name: a, kind: error, target: 99.9}]", r"99\.9 is no share; write 0\.999 for 99\.9 %"),
        ("objectives: [{name: a, kind: error, target: 1}]", "no budget for a single error"),
        ("objectives: [{name: a, kind: error, target: 0}]", "between 0 and 1"),
        ("objectives: [{name: a, kind: error, target: .nan}]", "between 0 and 1"),
        ("objectives: [{name: a, kind: error, target: 0.9, period: 12h}]", "whole days or weeks, such as 7d"),
        (
            "objectives: [{name: a, kind: error, target: 0.9, period: 60d}]\nretention: {facts_days: 30}",
            "kept for 30 days",
        ),
        ("objectives: [{name: a, kind: error, target: 0.9, where: {modle: x}}]", r"`modle`; did you mean `model`\?"),
        ("objectives: [{name: a, kind: error, target: 0.9, where: {model: []}}]", "at least 1 item"),
        ("objectives: [{name: a, kind: error, target: 0.9, where: {stream: maybe}}]", "stream is true, false or empty"),
        ("objectives: [{name: a, kind: error, target: 0.9, threshold_s: 1}]", "has no use for `threshold_s`"),
        ("objectives: [{name: a, kind: latency, target: 0.9, latency: ttft}]", "latency needs `threshold_s`"),
        (
            "objectives: [{name: a, kind: latency, target: 0.9, latency: ttft, threshold_s: 0}]",
            "which no call can keep",
        ),
        ("objectives: [{name: a, kind: cost, target: 0.9, ceiling_usd: .inf}]", "which no call can keep"),
        ("objectives: [{name: a, kind: accuracy, target: 0.9, evaluation: correct}]", "needs `labels` or `score_from`"),
        ("objectives: [{name: a, kind: accuracy, target: 0.9, evaluation: c, labels: [true]}]", "put labels in quotes"),
        (
            "objectives: [{name: a, kind: error, target: 0.9}, {name: a, kind: safety, target: 0.9}]",
            "two objectives have the name `a`",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_settings(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot read the configuration file .*nowhere\.yaml: No such file.*--config"
    ):
        load_settings(tmp_path / "nowhere.yaml")


def test_unknown_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_COLLECTORS__GRPC_PRT", "1")
    with pytest.raises(
        ConfigError,
        match=r"unknown variable `MONITOR_COLLECTORS__GRPC_PRT`; did you mean `MONITOR_COLLECTORS__GRPC_PORT`",
    ):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MONITOR_COLECTORS__GRPC_PORT", "1", r"unknown variable .*; did you mean `MONITOR_COLLECTORS__GRPC_PORT`"),
        ("MONITOR_COLLECTORS__GRPC_PORT__X", "1", "unknown variable `MONITOR_COLLECTORS__GRPC_PORT__X`"),
        ("MONITOR_COLLECTORS__GRPC_PORT", "many", r"variable MONITOR_COLLECTORS__GRPC_PORT: `collectors\.grpc_port`"),
        ("MONITOR_COLLECTORS__TOKENS", "hunter2", r'`MONITOR_COLLECTORS__TOKENS` must be JSON, such as \["a", "b"\]'),
        ("MONITOR_MODELS__BY_SERVICE", "hunter2", "`MONITOR_MODELS__BY_SERVICE` must be JSON, such as {"),
        ("MONITOR_STORE", "hunter2", "`MONITOR_STORE` must be JSON, such as {"),
    ],
)
def test_mistakes_in_the_environment_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    for config in (None, write(tmp_path, "collectors: {grpc_port: 1}")):
        with pytest.raises(ConfigError, match=said) as caught:
            load_settings(config)
        assert "hunter2" not in str(caught.value)
        assert "some.yaml" not in str(caught.value)


def test_a_wrong_argument_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the command line: `grpc_port`: input should be less than"):
        load_settings(write(tmp_path, "collectors: {grpc_port: 1}"), grpc_port=70_000)


@pytest.mark.parametrize("name", ["MONITOR_SDK_RAISE", "MONITOR_SDK_WHATEVER_COMES", "MONITOR_TEST_CLICKHOUSE_URL"])
def test_variables_of_the_sdk_and_of_tests_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    load_settings()


def test_lists_and_maps_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_COLLECTORS__TOKENS", '["one", "two"]')
    monkeypatch.setenv("MONITOR_MODELS__BY_SERVICE", '{"vllm": "llama"}')
    settings = load_settings()
    assert [token.get_secret_value() for token in settings.collectors.tokens] == ["one", "two"]
    assert settings.models.by_service == {"vllm": "llama"}


def test_arguments_lie_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "collectors: {grpc_port: 1, http_port: 1, clickhouse_port: 1}\ndata: here")
    monkeypatch.setenv("MONITOR_COLLECTORS__HTTP_PORT", "2")
    monkeypatch.setenv("MONITOR_COLLECTORS__CLICKHOUSE_PORT", "2")
    section = load_settings(path, clickhouse_port=3, grpc_port=None).collectors
    assert (section.grpc_port, section.http_port, section.clickhouse_port, section.dashboard_port) == (1, 2, 3, 8501)
    assert load_settings(path).data == Path("here")
    assert load_settings(path, tmp_path / "there").data == tmp_path / "there"


def test_monitor_yaml_in_the_working_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "monitor.yaml").write_text("retention: {raw_days: 3}")
    assert load_settings().retention.raw_days == 3


def test_secrets_are_expanded_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hunter2")
    text = "collectors: {tokens: ['${SOME_TOKEN}']}\nprivacy: {hash_user_ids: true, salt: 'hunter2'}\nstore: {clickhouse_password: hunter2}"
    settings = load_settings(write(tmp_path, text))
    assert settings.collectors.tokens[0].get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()
    url = load_settings(write(tmp_path, "store: {url: 'http://me:hunter2@host:8123/spans'}"))
    assert url.store_url == "http://me:hunter2@host:8123/spans"
    assert "hunter2" not in repr(url) + str(url) + repr(url.store)
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text + "\nretention: {raw_days: none}"))
    assert "hunter2" not in str(caught.value)


def test_a_key_may_be_called_off_and_a_switch_may_be_off(tmp_path: Path) -> None:
    (tmp_path / "monitor.yaml").write_text(
        "jobs: {off: [retention]}\nprivacy: {capture_content: on}\ngpu: {enabled: off}\nmodels: {by_service: {a: no}}\n"
    )
    settings = load_settings(tmp_path / "monitor.yaml")
    assert settings.jobs.off == ["retention"]
    assert settings.privacy.capture_content
    assert not settings.gpu.enabled
    assert settings.models.by_service == {"a": "no"}


def test_the_example_documents_every_key_of_prices_fleet_and_budgets() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    comments = " ".join(re.sub(r"^\s*#", "", text, flags=re.MULTILINE).split())
    for kind in (OwnPrice, PriceTier, NodeRate, Budget):
        for key, field in kind.model_fields.items():
            assert re.search(rf"^ *# *(- )?{key}:", text, flags=re.MULTILINE), f"{kind.__name__}.{key} is not shown"
            words = " ".join((field.description or "").split())
            assert words in comments, f"the example says something else of {kind.__name__}.{key}"


def test_the_examples_of_prices_fleet_and_budgets_work(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    lines = lines[lines.index("prices:") : lines.index("alerting:")]
    shown = [re.sub(r"^( *)# ", r"\1", line) for line in lines if re.match(r" *# (- \w+:|  +(- )?\w+:)", line)]
    starts = [i for i, line in enumerate(shown) if line.lstrip().startswith(("- provider", "- nodes", "- name"))]
    own, fleet, budgets = ("\n".join(shown[a:b]) for a, b in zip(starts, [*starts[1:], None], strict=True))
    text = f"prices:\n  rates: {{EUR: 1.08}}\n  own:\n{own}\nfleet:\n{fleet.replace('rate_per_gpu:', '#')}\nbudgets:\n{budgets}"
    settings = load_settings(write(tmp_path, text))
    assert settings.prices.own[0].tiers[0].above == 200000
    assert settings.fleet[0].always
    assert settings.budgets[0].where == {"service": "chat-api"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prices: {own: [{model: x}]}", "gives no price"),
        ("prices: {own: [{model: x, input: 1, currency: EUR}]}", "has no rate from EUR to USD"),
        ("prices: {own: [{model: x, input: -1}]}", "greater than or equal to 0"),
        ("prices: {own: [{model: x, inptu: 1}]}", r"unknown key `prices\.own\[0\]\.inptu`; did you mean `input`\?"),
        ("prices: {own: [{model: x, input: 1, tiers: [{above: 9}, {above: 5}]}]}", "do not ascend"),
        ("fleet: [{nodes: ['gpu-*'], rate: 1, billed: always}]", "must name each node"),
        ("fleet: [{nodes: [a]}]", "gives no price"),
        ("fleet: [{nodes: [a], rate: 1, rate_per_gpu: 1}]", "give one of the two"),
        ("budgets: [{name: x, amount: 0}]", "greater than 0"),
    ],
)
def test_wrong_prices_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_settings(write(tmp_path, text))
