"""Where rows lie, and for how long."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from monitor.settings.section import Section


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


class RetentionSettings(Section):
    raw_days: int = Field(30, ge=1, description="Days that raw spans are kept.")
    facts_days: int = Field(400, ge=1, description="Days that one-row-per-call facts are kept.")
    minutes_days: int = Field(30, ge=2, description="Days that rollups by minute are kept.")
    hours_days: int = Field(400, ge=2, description="Days that rollups by hour are kept.")
    days_days: int = Field(3650, ge=2, description="Days that rollups by day are kept.")
