"""Read the file, lay environment and command line over it, and say what is wrong in words."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsError

from monitor.errors import ConfigError
from monitor.settings.objectives import period_days
from monitor.settings.section import Section
from monitor.settings.tree import Settings

DEFAULT_CONFIG = Path("monitor.yaml")


def load_settings(
    config: Path | None = None,
    data: Path | None = None,
    *,
    under: Mapping[str, Any] | None = None,
    over: Mapping[str, Mapping[str, Any]] | None = None,
    **collectors: Any,
) -> Settings:
    """Read the settings.

    Parameters
    ----------
    config : Path, optional
        The file; without one, `monitor.yaml` in the working directory if it is there.
    data : Path, optional
        Data folder; lies over file and environment.
    under : mapping, optional
        Values that hold where neither file nor environment says something else, as `read_yaml` gives them.
    over : mapping, optional
        Keys of other sections that lie over file and environment, by section; `None` means not given.
    **collectors
        Keys of the section `collectors` that lie over file and environment; `None` means not given.

    Raises
    ------
    ConfigError
        Naming the key, what came and what was wanted.
    """
    path = config or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    values = _laid_over(under or {}, _read_file(path) if path else {})
    where = str(path) if path else "the environment"
    _refuse_unknown(values, Settings, where)
    _refuse_unknown_environment()
    try:
        settings = Settings(**_expand(values, where))
    except ValidationError as error:
        raise ConfigError(_explain(error, where)) from None
    except SettingsError as error:  # a variable that holds a list or a section is read as JSON
        raise ConfigError(f"the environment: {_not_json() or error}") from None
    for name, keys in {**(over or {}), "collectors": collectors}.items():
        if given := {key: value for key, value in keys.items() if value is not None}:
            settings = settings.model_copy(update={name: _with_given(name, getattr(settings, name), given)})
    if data is not None:
        settings = settings.model_copy(update={"data": data})
    _check_together(settings, where)
    return settings


def _with_given(name: str, section: Section, given: Mapping[str, Any]) -> Section:
    try:
        return type(section)(**{**section.model_dump(), **given})
    except ValidationError as error:
        # Its options are called as the keys of `collectors` are.
        where = "the command line" if name == "collectors" else f"the command line, section `{name}`"
        raise ConfigError(_explain(error, where)) from None


def _laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both together; of a section each key for itself, and lists as a whole."""
    both = dict(under)
    for key, value in over.items():
        below = both.get(key)
        both[key] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}; check --config") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the configuration file {path} is not UTF-8 text; check --config") from None
    try:
        values = read_yaml(text)
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


class _Loader(yaml.SafeLoader):
    """YAML as in version 1.2, where `on`, `off`, `yes` and `no` are words: a key may be called `off`."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def read_yaml(text: str) -> Any:
    """What a configuration file holds; a setting that is true or false takes `on` and `off` as well."""
    return yaml.load(text, _Loader)


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known: {', '.join(sorted(known))}"


def _refuse_unknown(values: dict[str, Any], model: type[BaseModel], where: str, prefix: str = "") -> None:
    known = list(keys_of(model))
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown key `{prefix}{key}`{_nearest(str(key), known)}")
        section = _section_type(model, key)
        if section is not None:
            optional = keys_of(model)[key].annotation is not section
            if optional and not isinstance(value, dict):
                continue  # what may stand in its place, the section itself says
            if value is not None and not isinstance(value, dict):
                raise ConfigError(f"{where}: `{prefix}{key}` must be a section of keys, not {value!r}")
            _refuse_unknown(value or {}, section, where, f"{prefix}{key}.")
            continue
        for place, item, kind in _items(model, key, value):
            if not isinstance(item, dict):
                raise ConfigError(f"{where}: `{prefix}{key}{place}` must be a section of keys, not {item!r}")
            _refuse_unknown(item, kind, where, f"{prefix}{key}{place}.")


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields by the names that they have in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _section_type(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    annotation = keys_of(model)[key].annotation
    # A section that may be left out is one all the same.
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def _items(model: type[BaseModel], key: str, value: Any) -> list[tuple[str, Any, type[BaseModel]]]:
    """Place, value and type of each section in a list or mapping of sections."""
    annotation = keys_of(model)[key].annotation
    kinds = [kind for kind in get_args(annotation) if isinstance(kind, type) and issubclass(kind, Section)]
    if not kinds:
        return []
    if isinstance(value, list):
        return [(f"[{index}]", item, kinds[0]) for index, item in enumerate(value)]
    return [(f".{name}", item, kinds[0]) for name, item in value.items()] if isinstance(value, dict) else []


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
    said = first["msg"].removeprefix("Value error, ")
    return f"{where}: `{key}`: {said[:1].lower()}{said[1:]}"


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
    for index, objective in enumerate(settings.objectives):
        if period_days(objective.period) > settings.retention.facts_days:
            raise ConfigError(
                f"{where}: `objectives[{index}].period` is {objective.period}, and calls are kept for"
                f" {settings.retention.facts_days} days; shorten it, or raise `retention.facts_days`"
            )
    for place, name in settings.routing.named():
        if name not in settings.receivers:
            raise ConfigError(f"{where}: `{place}` names the receiver `{name}`, which `receivers` does not have")
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
