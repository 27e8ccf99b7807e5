"""What looks at a text: own words and patterns, PII, an HTTP endpoint, a trained model; any function will do as well.

A filter is a callable from text to what it found, with a `name` (a function's own name will do). What it may return:

- None or False: nothing; True: flagged;
- a number from 0 to 1: flagged from 0.5 on;
- a `Finding`, a dict with the fields of one, or any number of either.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from monitor.errors import ConfigError
from monitor.sdk.redaction import BUILT_IN

FLAG: Final = "flag"
BLOCK: Final = "block"
THRESHOLD: Final = 0.5
_ANSWER_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a filter found.

    Attributes
    ----------
    category : str
        Such as `violence`.
    score : float
        How sure the filter is, from 0 to 1.
    action : {"flag", "block"}
        Whether the text may pass with a note, or not.
    """

    category: str
    score: float = 1.0
    action: str = FLAG

    def __post_init__(self) -> None:
        if not _is_text(self.category):
            raise ValueError(f"a finding needs a category, got {self.category!r}")
        if not _is_number(self.score) or not 0 <= self.score <= 1:
            raise ValueError(f"a finding's score must be a number from 0 to 1, got {self.score!r}")
        if self.action not in (FLAG, BLOCK):
            raise ValueError(f"a finding's action must be {FLAG!r} or {BLOCK!r}, got {self.action!r}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


Found = bool | float | Finding | Mapping[str, Any] | Iterable[Finding | Mapping[str, Any]] | None
Filter = Callable[[str], Found | Awaitable[Found]]


def read_findings(found: object, *, name: str) -> tuple[Finding, ...]:
    """What a filter returned, in one form.

    Raises
    ------
    TypeError, ValueError
        If it returned something else; the filter has failed then.
    """
    if found is None or found is False:
        return ()
    if found is True:
        return (Finding(category=name),)
    if isinstance(found, Finding):
        return (found,)
    if isinstance(found, Mapping):
        return (Finding(**found),)
    if isinstance(found, int | float) or hasattr(found, "__float__"):
        score = float(found)
        if not 0 <= score <= 1:
            raise ValueError(f"filter {name} returned {found!r}; a score must lie between 0 and 1")
        return (Finding(category=name, score=score),) if score >= THRESHOLD else ()
    if isinstance(found, Iterable) and not isinstance(found, str | bytes):
        return tuple(finding for item in found for finding in read_findings(item, name=name))
    raise TypeError(f"filter {name} returned {type(found).__name__}, which says nothing about a text")


def filter_name(one: object) -> str:
    """Name of a filter: what it says itself, or that of the function."""
    name = getattr(one, "name", None) or getattr(one, "__name__", None) or type(one).__name__
    return str(name)


@dataclass(frozen=True, kw_only=True)
class RuleFilter:
    """Own rules; see `rule_filter`."""

    name: str
    rules: tuple[tuple[re.Pattern[str], Finding], ...]

    def __call__(self, text: str) -> tuple[Finding, ...]:
        return tuple(finding for pattern, finding in self.rules if pattern.search(text))


def rule_filter(rules: Mapping[str, Any], *, name: str = "rules") -> RuleFilter:
    """Own words and regular expressions by category.

    Parameters
    ----------
    rules : mapping
        Category -> a list of words and phrases, found whole and whatever their case; or a dict with `words`,
        `patterns` (regular expressions, likewise whatever the case), `action` (`flag`, the default, or `block`) and
        `score` (1.0).
    name : str
        Of the filter, as recorded.

    Raises
    ------
    ConfigError
        If a rule is wrong.

    Examples
    --------
    >>> rule_filter({"weapons": {"words": ["pipe bomb"], "action": "block"}})("How to build a PIPE  BOMB?")
    (Finding(category='weapons', score=1.0, action='block'),)
    """
    given: object = rules
    if not isinstance(given, Mapping) or not given:
        raise ConfigError("monitor.rule_filter: rules must be a dict of categories, such as {'insult': ['idiot']}.")
    return RuleFilter(name=name, rules=tuple(_rule(category, rule) for category, rule in rules.items()))


def _rule(category: str, rule: object) -> tuple[re.Pattern[str], Finding]:
    where = f"monitor.rule_filter: {category!r}"
    said: dict[str, Any] = dict(rule) if isinstance(rule, Mapping) else {"words": rule}
    unknown = set(said) - {"words", "patterns", "action", "score"}
    if unknown:
        raise ConfigError(f"{where} has {', '.join(sorted(unknown))}; known are words, patterns, action and score.")
    words, patterns = (_texts(said.get(key, ()), f"{where}: {key}") for key in ("words", "patterns"))
    if not words and not patterns:
        raise ConfigError(f"{where} has neither words nor patterns; give at least one.")
    for pattern in patterns:
        try:
            empty = re.compile(pattern).match("")
        except re.error as error:
            raise ConfigError(f"{where}: {pattern!r} is not a regular expression: {error}.") from None
        if empty:
            raise ConfigError(f"{where}: {pattern!r} also matches nothing at all; make it demand a character.")
    try:
        finding = Finding(category=category, score=said.get("score", 1.0), action=said.get("action", FLAG))
    except ValueError as error:
        raise ConfigError(f"{where}: {error}.") from None
    # Longest first; any space matches any run of spaces.
    alternatives = [r"\s+".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True)]
    parts = [rf"(?<!\w)(?:{'|'.join(alternatives)})(?!\w)"] if alternatives else []
    return re.compile("|".join([*parts, *(f"(?:{pattern})" for pattern in patterns)]), re.IGNORECASE), finding


def _texts(value: object, where: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence | set | frozenset) or not all(isinstance(t, str) and t.strip() for t in texts):
        raise ConfigError(f"{where} must be a list of texts that are not empty, got {value!r}.")
    return list(texts)


class PiiFilter:
    """Flags personal data; see `pii_filter`."""

    def __init__(self, kinds: Sequence[str], action: str) -> None:
        self.name = "pii"
        self._kinds = kinds
        self._action = action

    def __call__(self, text: str) -> tuple[Finding, ...]:
        """One finding for each kind, such as `pii.email`."""
        findings = []
        for kind in self._kinds:
            cleaned = BUILT_IN[kind](text)
            if cleaned != text:
                findings.append(Finding(category=f"pii.{kind}", action=self._action))
            # What is an address of one kind is not one of another.
            text = cleaned
        return tuple(findings)


def pii_filter(kinds: Iterable[str] = tuple(BUILT_IN), *, action: str = FLAG) -> PiiFilter:
    """Find e-mail addresses, telephone and card numbers, IBANs, IP addresses, API keys, as redaction does.

    Raises
    ------
    ConfigError
        If a kind or the action is unknown.
    """
    asked = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    for kind in asked:
        if kind not in BUILT_IN:
            raise ConfigError(f"monitor.pii_filter: {kind!r} is not one of {', '.join(BUILT_IN)}.")
    if action not in (FLAG, BLOCK):
        raise ConfigError(f"monitor.pii_filter: action={action!r} is neither {FLAG!r} nor {BLOCK!r}.")
    return PiiFilter([kind for kind in BUILT_IN if kind in asked], action)


@dataclass(frozen=True, kw_only=True)
class EndpointFilter:
    """Asks an HTTP endpoint; see `endpoint_filter`."""

    name: str
    url: str
    headers: Mapping[str, str]
    model: str | None
    timeout_s: float
    block: frozenset[str]
    threshold: float | None

    def __call__(self, text: str) -> tuple[Finding, ...]:
        """Findings of one request.

        Raises
        ------
        OSError, ValueError
            If there is no answer in time, or none that makes sense.
        """
        body: dict[str, Any] = {"input": text} if self.model is None else {"input": text, "model": self.model}
        return self._findings(self._post(json.dumps(body).encode("utf-8", "replace")))

    def _post(self, body: bytes) -> Any:
        import http.client  # not needed by most

        parts = urlsplit(self.url)
        assert parts.hostname is not None
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=self.timeout_s)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path, body, {"Content-Type": "application/json", **self.headers})
            response = connection.getresponse()
            answer = response.read(_ANSWER_BYTES_MAX + 1)
        except http.client.HTTPException as error:
            raise OSError(f"{self.url} does not speak HTTP: {error!r}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise OSError(f"{self.url} answered {response.status} {response.reason}")
        if len(answer) > _ANSWER_BYTES_MAX:
            raise ValueError(f"{self.url} answered more than {_ANSWER_BYTES_MAX} bytes")
        return json.loads(answer)

    def _findings(self, answer: Any) -> tuple[Finding, ...]:
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list) or not results or not all(isinstance(one, dict) for one in results):
            raise ValueError(f"{self.url} answered without `results`")
        scores: dict[str, float] = {}
        for result in results:
            given = {str(key): float(value) for key, value in (result.get("category_scores") or {}).items()}
            hits = {str(key) for key, value in (result.get("categories") or {}).items() if value}
            if self.threshold is not None:
                hits = {category for category, score in given.items() if score >= self.threshold}
            elif result.get("flagged") and not hits:
                hits = {self.name}
            for category in hits:
                score = min(1.0, max(0.0, given.get(category, 1.0)))
                scores[category] = max(score, scores.get(category, 0.0))
        return tuple(
            Finding(category=category, score=score, action=BLOCK if {"*", category} & self.block else FLAG)
            for category, score in sorted(scores.items())
        )


def endpoint_filter(
    url: str,
    *,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    model: str | None = None,
    timeout_s: float = 2.0,
    block: Iterable[str] = (),
    threshold: float | None = None,
    name: str = "endpoint",
) -> EndpointFilter:
    """Ask an endpoint that speaks OpenAI's moderation API: `POST {"input": …}` to `…/v1/moderations`.

    Parameters
    ----------
    url : str
        Full address.
    api_key, headers
        Sent as `Authorization: Bearer …`; further headers.
    model : str, optional
        Asked for, if the endpoint has several.
    timeout_s : float
        Longest wait for each step of the answer; the budget of the whole chain holds besides.
    block : iterable of str
        Categories that are blocked; `"*"` for all. Others are flagged.
    threshold : float, optional
        Take what scores so high as found, instead of what the endpoint says is.

    Raises
    ------
    ConfigError
        If the address or the time is wrong.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(f"monitor.endpoint_filter: {url!r} is no address; write https://host/v1/moderations.")
    if not 0 < timeout_s < float("inf"):
        raise ConfigError(f"monitor.endpoint_filter: timeout_s={timeout_s!r} must be a positive number of seconds.")
    sent = dict(headers or {})
    if api_key is not None:
        sent["Authorization"] = f"Bearer {api_key}"
    blocked = frozenset((block,) if isinstance(block, str) else block)
    return EndpointFilter(
        name=name, url=url, headers=sent, model=model, timeout_s=timeout_s, block=blocked, threshold=threshold
    )


@dataclass(frozen=True, kw_only=True)
class ToxicityFilter:
    """A trained linear model; see `toxicity_filter`."""

    name: str
    flag_from: float
    block_from: float

    def __call__(self, text: str) -> tuple[Finding, ...]:
        """One finding, `toxicity`, if the score is high enough."""
        score = float(_toxicity_model()([text])[0])
        if score >= self.block_from:
            return (Finding(category="toxicity", score=min(1.0, score), action=BLOCK),)
        return (Finding(category="toxicity", score=min(1.0, score)),) if score >= self.flag_from else ()


def toxicity_filter(*, flag_from: float = 0.5, block_from: float = float("inf")) -> ToxicityFilter:
    """Offensive English by the linear model that comes with the package `alt-profanity-check`.

    Loaded with the first text; `warm_up` it in time. Its score is the model's probability that the text is offensive.

    Raises
    ------
    ConfigError
        If a threshold is no number.
    """
    for value in (flag_from, block_from):
        if not _is_number(value) or not value >= 0:
            raise ConfigError(f"monitor.toxicity_filter: {value!r} is no threshold; give a number from 0 to 1.")
    return ToxicityFilter(name="toxicity", flag_from=flag_from, block_from=block_from)


@lru_cache(maxsize=1)
def _toxicity_model() -> Callable[[list[str]], Sequence[float]]:
    try:
        module = importlib.import_module("profanity_check")
    except ImportError as error:
        raise ConfigError(
            f"monitor.toxicity_filter needs the package alt-profanity-check ({error}); "
            "install it with: pip install 'inference-monitor[toxicity]'"
        ) from error
    predict: Callable[[list[str]], Sequence[float]] = module.predict_prob
    return predict


def warm_up(filters: Iterable[Filter]) -> None:
    """Let models load now and not with the first request."""
    for one in filters:
        if isinstance(one, ToxicityFilter):
            one("")
