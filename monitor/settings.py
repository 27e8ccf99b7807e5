"""Configuration: one file, `monitor.yaml`, with `MONITOR_…` environment variables laid over it.

Every key has a default, so that everything works without a file. Unknown keys are refused by name, with the nearest
right one. Secrets are given as `${ENV_NAME}` or as a `…_file`, are kept in `SecretStr`, and are never printed.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Any, get_origin
from urllib.parse import urlsplit, urlunsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from monitor.errors import ConfigError

DEFAULT_CONFIG = Path("monitor.yaml")
DEFAULT_DATA = Path("monitor-data")
MIB = 1024 * 1024


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class StoreSettings(Section):
    url: str = Field(
        "",
        repr=False,  # it may hold a password
        description="Where ClickHouse is: `chdb:///absolute/folder` (embedded) or `http(s)://user:password@host:8123/database`."
        " Empty: embedded, in the folder `store` of the data folder.",
    )
    clickhouse_user: str = Field(
        "", description="User name that the embedded ClickHouse endpoint demands; empty: none (loopback only)."
    )
    clickhouse_password: SecretStr = Field(
        SecretStr(""), description="Password that the embedded ClickHouse endpoint demands."
    )
    cluster: str = Field(
        "",
        pattern=r"^[\w.{}-]*$",
        description="Name of the ClickHouse cluster (in the servers' `remote_servers`) over which rows are spread, by trace."
        " Empty: the tables are on the one server that `url` names.",
    )
    on_cluster: bool = Field(
        False, description="Whether the schema is made with ON CLUSTER, from one server on all; it needs a Keeper."
    )
    replicated: bool | None = Field(
        None,
        description="Whether tables of the cluster are Replicated…MergeTree. Empty: they are when `on_cluster` is on.",
    )
    nodes: list[str] = Field(
        [],
        repr=False,
        description="Address of each server of the cluster, when `on_cluster` is off: the schema is made on one after the"
        " other. User, password and database are those of `url` where an address has none.",
    )
    query_timeout_s: float = Field(30.0, gt=0, description="Longest time one reading query may take, in seconds.")
    query_memory_mib: int = Field(2048, ge=64, description="Most memory one reading query may take, in MiB.")

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("chdb", "http", "https"):
            raise ValueError("must begin with chdb:///, http:// or https://")
        return value

    @field_validator("nodes")
    @classmethod
    def _servers(cls, value: list[str]) -> list[str]:
        for node in value:
            parts = urlsplit(node)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("each must be the address of a server: http://host:8123 or https://host:8443")
        return value


class CollectorSettings(Section):
    host: str = Field("127.0.0.1", description="Address to listen on. Any other than loopback demands `tokens`.")
    grpc_port: int = Field(4317, ge=0, le=65535, description="OTLP/gRPC port; 0 picks a free one.")
    http_port: int = Field(4318, ge=0, le=65535, description="OTLP/HTTP and API port; 0 picks a free one.")
    clickhouse_port: int = Field(
        8123,
        ge=0,
        le=65535,
        description="Port of the read-only ClickHouse endpoint (embedded store only); 0 picks a free one.",
    )
    dashboard_port: int = Field(8501, ge=0, le=65535, description="Dashboard port; 0 picks a free one.")
    tokens: list[SecretStr] = Field([], description="Bearer tokens; when any is set, requests without one are refused.")
    page_tokens: list[SecretStr] = Field(
        [],
        description="Bearer tokens that web pages may hold, where anybody can read them: good for `/api/feedback`, and for"
        " `/api/evaluations` in the name of a user, and for nothing else.",
    )
    max_message_bytes: int = Field(64 * MIB, ge=1024, description="Largest request, after decompression, in bytes.")
    max_wal_bytes: int = Field(
        4096 * MIB,
        ge=MIB,
        description="Most bytes that may wait in the write-ahead log; beyond it requests get a retryable refusal.",
    )
    max_inflight_bytes: int = Field(
        256 * MIB,
        ge=MIB,
        description="Most request bytes in memory at once; beyond it requests get a retryable refusal.",
    )
    max_connections: int = Field(
        1000, ge=1, description="Connections at once on each port; beyond it requests get a retryable refusal, or none."
    )
    request_timeout_s: float = Field(
        60.0,
        gt=0,
        description="Longest time that a handshake, a request's headers, and then its body, may take to arrive; a gRPC"
        " connection is renewed after ten times as long.",
    )
    insert_timeout_s: float = Field(
        60.0, gt=0, description="Longest wait for ClickHouse to take one segment; then it is tried again."
    )
    tls_cert: Path | None = Field(
        None, description="Certificate chain in PEM; with `tls_key`, OTLP is served over TLS only."
    )
    tls_key: Path | None = Field(None, description="Private key of that certificate, in PEM.")
    cors_origins: list[str] = Field(
        [], description="Origins whose pages may send telemetry from browsers, such as `https://app.example.com`."
    )
    api_rate: float = Field(
        20.0,
        gt=0,
        description="Requests a second to `/api/evaluations` and `/api/feedback` that one client may send on average.",
    )
    api_burst: int = Field(100, ge=1, description="Requests that such a client may send at once after a pause.")
    api_max_bytes: int = Field(MIB, ge=1024, description="Largest request to these two, after decompression, in bytes.")
    segment_spans: int = Field(
        131_072, ge=1, le=500_000, description="Spans in one write-ahead segment, which is one insert into ClickHouse."
    )
    segment_bytes: int = Field(96 * MIB, ge=1024, description="Bytes in one write-ahead segment.")
    segment_age_s: float = Field(
        1.0,
        gt=0,
        description="Longest time a span waits before its segment is inserted, up to four times as long where inserts are"
        " slow; metrics wait five times as long.",
    )
    inserters: int = Field(2, ge=1, le=16, description="Segments inserted in parallel.")
    max_attributes: int = Field(256, ge=1, description="Attributes kept of one span, event, link or resource.")
    max_attribute_bytes: int = Field(
        65_536, ge=128, description="Bytes kept of one attribute value; longer ones are cut and marked."
    )
    max_past_days: float = Field(
        400.0, gt=0, description="A span that says it began longer ago than this is stored with its time of arrival."
    )
    max_future_s: float = Field(
        3600.0,
        ge=0,
        description="A span that says it begins later than this from now is stored with its time of arrival.",
    )

    @field_validator("tokens", "page_tokens")
    @classmethod
    def _no_empty_token(cls, value: list[SecretStr]) -> list[SecretStr]:
        if any(not token.get_secret_value() for token in value):
            raise ValueError("holds an empty token; is the environment variable it names set?")
        return value


class PrivacySettings(Section):
    capture_content: bool = Field(
        False,
        description="Whether prompts and completions may reach a table. Off: they are dropped before anything is stored.",
    )
    hash_user_ids: bool = Field(
        False, description="Whether user ids are replaced by a salted hash before they are stored."
    )
    salt: SecretStr = Field(SecretStr(""), description="Salt of that hash; demanded when `hash_user_ids` is on.")
    redact: list[str] = Field(
        [], description="Regular expressions (RE2); what they match in any attribute value is replaced by `[redacted]`."
    )

    @field_validator("redact")
    @classmethod
    def _compiles(cls, value: list[str]) -> list[str]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return value


class RetentionSettings(Section):
    raw_days: int = Field(30, ge=1, description="Days that raw spans are kept.")
    facts_days: int = Field(400, ge=1, description="Days that one-row-per-call facts are kept.")


class GpuSettings(Section):
    enabled: bool = Field(
        False, description="Whether this process reads the GPUs of its own machine; other machines run `monitor gpu`."
    )
    interval_s: float = Field(1.0, ge=0.1, le=3600, description="From one reading of the GPUs to the next, in seconds.")
    dcgm_url: str = Field(
        "", description="DCGM exporter to read beside NVML, such as `http://127.0.0.1:9400`; empty: none."
    )
    node: str = Field(
        "", description="Name of this machine, if serving code calls it something else than its host name."
    )
    endpoint: str = Field("", description="OTLP receiver that the readings go to; empty: this process itself.")
    token: SecretStr = Field(SecretStr(""), description="Bearer token of that receiver.")


class ModelSettings(Section):
    by_service: dict[str, str] = Field(
        {}, description="Model that a service serves, for emitters that send none (vLLM): `service.name: model`."
    )


class Settings(BaseSettings):
    """All settings; sections as in `monitor.example.yaml`."""

    model_config = SettingsConfigDict(
        env_prefix="MONITOR_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    data: Path = Field(DEFAULT_DATA, description="Folder for everything that the service keeps on disk.")
    store: StoreSettings = Field(default_factory=lambda: StoreSettings())
    collectors: CollectorSettings = Field(default_factory=lambda: CollectorSettings())
    gpu: GpuSettings = Field(default_factory=lambda: GpuSettings())
    models: ModelSettings = Field(default_factory=lambda: ModelSettings())
    privacy: PrivacySettings = Field(default_factory=lambda: PrivacySettings())
    retention: RetentionSettings = Field(default_factory=lambda: RetentionSettings())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment lies over the file; what the file holds is given as init values.
        return env_settings, init_settings

    @property
    def embedded(self) -> bool:
        return not self.store.url or self.store.url.startswith("chdb:")

    @property
    def store_url(self) -> str:
        return self.store.url or f"chdb://{(self.data / 'store').resolve()}"

    @property
    def node_urls(self) -> list[str]:
        """Addresses at which the schema is made, one after the other."""
        given = urlsplit(self.store_url)
        user = f"{given.netloc.rpartition('@')[0]}@" if "@" in given.netloc else ""
        urls = []
        for node in self.store.nodes:
            parts = urlsplit(node)
            netloc = parts.netloc if "@" in parts.netloc else f"{user}{parts.netloc}"
            urls.append(urlunsplit((parts.scheme, netloc, parts.path.rstrip("/") or given.path, "", "")))
        # The address that all else is sent to comes last: when it is ready, all are.
        return [url for url in urls if url != self.store_url] + [self.store_url]

    @property
    def wal_dir(self) -> Path:
        return self.data / "wal"


def load_settings(config: Path | None = None, data: Path | None = None, **collectors: Any) -> Settings:
    """Read the settings.

    Parameters
    ----------
    config : Path, optional
        The file; without one, `monitor.yaml` in the working directory if it is there.
    data : Path, optional
        Data folder; lies over file and environment.
    **collectors
        Keys of the section `collectors` that lie over file and environment; `None` means not given.

    Raises
    ------
    ConfigError
        Naming the key, what came and what was wanted.
    """
    path = config or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    values = _read_file(path) if path else {}
    where = str(path) if path else "the environment"
    _refuse_unknown(values, Settings, where)
    _refuse_unknown_environment()
    try:
        settings = Settings(**_expand(values, where))
    except ValidationError as error:
        raise ConfigError(_explain(error, where)) from None
    except SettingsError as error:  # a variable that holds a list or a section is read as JSON
        raise ConfigError(f"the environment: {_not_json() or error}") from None
    given = {key: value for key, value in collectors.items() if value is not None}
    if given:
        try:
            merged = CollectorSettings(**{**settings.collectors.model_dump(), **given})
        except ValidationError as error:
            raise ConfigError(_explain(error, "the command line")) from None
        settings = settings.model_copy(update={"collectors": merged})
    if data is not None:
        settings = settings.model_copy(update={"data": data})
    _check_together(settings, where)
    return settings


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}; check --config") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the configuration file {path} is not UTF-8 text; check --config") from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise ConfigError(f"{path}{at}: {problem}; correct the file") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: the top level must be sections such as `collectors:`, not a {type(values).__name__}"
        )
    return values


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(sorted(known))}"


def _refuse_unknown(values: dict[str, Any], model: type[BaseModel], where: str, prefix: str = "") -> None:
    known = list(model.model_fields)
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown key `{prefix}{key}`{_nearest(str(key), known)}")
        section = _section_type(model, key)
        if section is not None:
            if value is not None and not isinstance(value, dict):
                raise ConfigError(f"{where}: `{prefix}{key}` must be a section of keys, not {value!r}")
            _refuse_unknown(value or {}, section, where, f"{prefix}{key}.")


def _section_type(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    annotation = model.model_fields[key].annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


# Variables of the serving side (SDK) and of tests, which share the prefix but are no settings of the service.
_OTHER_VARIABLES = frozenset({"MONITOR_TEST_CLICKHOUSE_URL", "MONITOR_CLICKHOUSE_LIB_CACHE"})


def _refuse_unknown_environment() -> None:
    known = [f"MONITOR_{name.upper()}" for name in Settings.model_fields]
    for name in list(known):
        section = _section_type(Settings, name.removeprefix("MONITOR_").lower())
        if section is not None:
            known += [f"{name}__{key.upper()}" for key in section.model_fields]
    for variable in os.environ:
        ours = variable.startswith("MONITOR_") and not variable.startswith("MONITOR_SDK_")
        if ours and variable not in known and variable not in _OTHER_VARIABLES:
            raise ConfigError(f"the environment: unknown variable `{variable}`{_nearest(variable, known)}")


_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _expand(value: Any, where: str) -> Any:
    """Replace `${NAME}` by the environment variable, in every text of the file."""
    if isinstance(value, dict):
        return {key: _expand(item, where) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_expand(item, where) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ConfigError(f"{where}: `${{{name}}}` is used, but the environment variable {name} is not set")
        return os.environ[name]

    return _REFERENCE.sub(replace, value)


def _explain(error: ValidationError, where: str) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    variable = "MONITOR_" + "__".join(str(part).upper() for part in first["loc"][:2])
    if variable in os.environ:  # it lies over the file, so it is what was read
        where = f"the environment variable {variable}"
    return f"{where}: `{key}`: {first['msg'][:1].lower()}{first['msg'][1:]}"


def _not_json() -> str | None:
    """What is wrong with the first variable that must be JSON and is not; without its value, which may be secret."""
    kinds: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        kinds[f"MONITOR_{name.upper()}"] = field.annotation
        section = _section_type(Settings, name)
        for key, setting in section.model_fields.items() if section is not None else ():
            kinds[f"MONITOR_{name.upper()}__{key.upper()}"] = setting.annotation
    for variable, kind in kinds.items():
        if variable not in os.environ or kind in (str, int, float, bool, SecretStr, Path):
            continue
        try:
            json.loads(os.environ[variable])
        except ValueError:
            example = '["a", "b"]' if get_origin(kind) is list else '{"key": "value"}'
            return f"`{variable}` must be JSON, such as {example}"
    return None


def _check_together(settings: Settings, where: str) -> None:
    if settings.privacy.hash_user_ids and not settings.privacy.salt.get_secret_value():
        raise ConfigError(
            f"{where}: `privacy.hash_user_ids` is on, but `privacy.salt` is empty; set it to a long random text"
        )
    if bool(settings.collectors.tls_cert) != bool(settings.collectors.tls_key):
        given, missing = ("tls_cert", "tls_key") if settings.collectors.tls_cert else ("tls_key", "tls_cert")
        raise ConfigError(f"{where}: `collectors.{given}` is set, but `collectors.{missing}` is not; TLS needs both")
    if settings.collectors.page_tokens and not settings.collectors.tokens:
        raise ConfigError(
            f"{where}: `collectors.page_tokens` is set, but `collectors.tokens` is not, so that nobody needs a token;"
            " set `tokens` too"
        )
    _check_cluster(settings, where)
    loopback = settings.collectors.host in ("127.0.0.1", "::1", "localhost")
    if not loopback and not settings.collectors.tokens:
        raise ConfigError(
            f"{where}: listening on {settings.collectors.host} would take telemetry from anybody;"
            " set `collectors.tokens`, or listen on 127.0.0.1"
        )
    if not loopback and settings.embedded and not settings.store.clickhouse_password.get_secret_value():
        raise ConfigError(
            f"{where}: listening on {settings.collectors.host} would let anybody read the store;"
            " set `store.clickhouse_user` and `store.clickhouse_password`, or listen on 127.0.0.1"
        )


def _check_cluster(settings: Settings, where: str) -> None:
    section = settings.store
    if not section.cluster:
        for key in ("on_cluster", "replicated", "nodes"):
            if getattr(section, key):
                raise ConfigError(f"{where}: `store.{key}` is set, but `store.cluster` is empty; name the cluster")
        return
    if settings.embedded:
        raise ConfigError(
            f"{where}: `store.cluster` is set, but the store is embedded; set `store.url` to a server of the cluster"
        )
    if not section.on_cluster and not section.nodes:
        raise ConfigError(
            f"{where}: `store.cluster` is set, but not how its servers get their tables; list them in `store.nodes`,"
            " or set `store.on_cluster` if the cluster has a Keeper"
        )
    if section.on_cluster and section.nodes:
        raise ConfigError(f"{where}: `store.nodes` is for a cluster without ON CLUSTER; unset it or `store.on_cluster`")
