"""Configuration: the example that documents it, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from monitor.errors import ConfigError
from monitor.settings import Section, Settings, load_settings

EXAMPLE = Path(__file__).parents[1] / "monitor.example.yaml"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_holds_every_key_with_its_default() -> None:
    values = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert load_settings(EXAMPLE) == Settings()
    assert list(values) == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            assert list(values[name]) == list(kind.model_fields)
            for key, setting in kind.model_fields.items():
                words = (setting.description or "").split()
                assert words, f"{name}.{key} is not documented"
                assert " ".join(words[:3]) in EXAMPLE.read_text(encoding="utf-8")


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
        ("collectors:\n  host: [1, 2", r"some\.yaml, line \d+, column \d+"),
        ("store: {url: 'mysql://x'}", r"`store\.url`: .*chdb:///"),
        ("store: {url: '${NOWHERE_SET}'}", r"environment variable NOWHERE_SET is not set"),
        ("privacy: {redact: ['(']}", r"`privacy\.redact`: .*is not a regular expression"),
        ("privacy: {hash_user_ids: true}", r"privacy\.salt` is empty"),
        ("collectors: {host: 0.0.0.0}", r"anybody; set `collectors\.tokens`"),
        ("collectors: {host: 0.0.0.0, tokens: [t]}", r"let anybody read the store; set `store\.clickhouse_user`"),
        ("collectors: {tokens: ['']}", "holds an empty token"),
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


def test_variables_of_the_sdk_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_SDK_RAISE", "1")
    load_settings()


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
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text + "\nretention: {raw_days: none}"))
    assert "hunter2" not in str(caught.value)
