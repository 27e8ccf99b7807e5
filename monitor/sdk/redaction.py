"""What may leave the process: patterns that are taken out of every text, hashed user ids, content only if wanted.

All of it runs in the exporter's thread, on the copy that is sent; the caller's thread pays nothing. A rule that fails
takes the whole value with it: nothing leaves unseen.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Status

from monitor import semconv
from monitor.errors import ConfigError
from monitor.sdk.content import is_content, is_event_content
from monitor.sdk.guard import once

Redactor = Callable[[str], str]
Rule = re.Pattern[str] | Redactor
Rules = bool | str | Rule | Iterable[str | Rule] | None

REDACTED: Final = "[redacted]"
FAILED: Final = "[redacted: a rule failed]"
_DEPTH_MAX: Final = 64

_USER_KEYS: Final = frozenset(semconv.USER_KEYS)

# Names of machines and software: a node called by its address is still a node. Rules of the user's own hold here too.
EXEMPT: Final = frozenset((
    semconv.SERVICE_NAME, semconv.SERVICE_VERSION, semconv.DEPLOYMENT_ENVIRONMENT, semconv.DEPLOYMENT_ENVIRONMENT_OLD,
    semconv.HOST_NAME, semconv.K8S_NODE_NAME, semconv.K8S_POD_NAME, semconv.K8S_POD_UID, semconv.K8S_NAMESPACE_NAME,
    semconv.CONTAINER_ID, semconv.CLOUD_REGION, semconv.NODE, semconv.DEPLOYMENT, semconv.PRICING, semconv.GPU,
    semconv.VARIANT, "service.instance.id", "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version",
))  # fmt: skip
# Numbers under these names are measurements, whatever their digits look like.
_MEASURED: Final = ("gen_ai.", "monitor.", "llm.token_count.", "llm.cost.")
# Keys that conventions name, and not users.
_NAMED: Final = ("gen_ai.", "monitor.", "llm.", "error.", "session.", "server.", "exception.")

_EMAIL: Final = re.compile(r"(?<![\w.%+\-])[\w.%+\-]{1,64}(?:@|%40)(?:[\w\-]+\.)+[^\W\d_]{2,}")
_CARD: Final = re.compile(r"(?<![\d+])(?<!\d\.)(?:\d[ \-]?){12,29}\d(?!\d)(?!\.\d)")
_IBAN: Final = re.compile(r"(?<![^\W_])[a-z]{2}\d{2}(?:[ \-]?[a-z0-9]){10,32}", re.IGNORECASE | re.ASCII)
_OCTET: Final = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4: Final = re.compile(rf"(?<!\d)(?<!\d\.)(?:{_OCTET}\.){{3}}{_OCTET}(?!\d)(?!\.\d)")
_IPV6: Final = re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}(?:[\d.]{7,15}|[0-9a-f]{0,4})(?![\w:])", re.IGNORECASE)
_PHONE: Final = re.compile(
    r"(?<![\w.+\-/])(?:(?:\+|00)\d{1,3}[ .\-/]?)?(?:\(\d{1,5}\)[ .\-/]?)?\d{1,14}(?:[ .\-/]\d{2,14}){0,5}(?![\w\-/])(?!\.\d)"
)
_DATE: Final = re.compile(r"\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(?:\d{4}|\d{2})")
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:([ .])\d{3})(?:\1\d{3})*")
_DECIMAL: Final = re.compile(r"\d+\.\d+")
_KEY: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-[\w\-]{16,}|[sr]k_(?:live|test)_\w{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{30,}|github_pat_\w{22,}"
    r"|glpat-[\w\-]{20,}|xox[abeoprs]-[\w\-]{10,}|xapp-[\w\-]{10,}|AIza[\w\-]{35}|hf_\w{30,}|npm_\w{36}|pypi-[\w\-]{16,}"
    r"|gsk_\w{20,}|xai-\w{20,}|eyJ[\w\-]{8,}\.eyJ[\w\-]{8,}\.[\w\-]{4,})"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{0,20000}(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
)
# The name stays, what it is set to goes.
_SECRET: Final = re.compile(
    r"((?:\bbearer\s+)|(?:api[_\-]?key|access[_\-]?token|secret(?:[_\-]?key)?|passw(?:or)?d|client[_\-]?secret)"
    r"[\"']?\s{0,4}[=:]\s{0,4}[\"']?)([\w.~+/\-]{8,}=*)",
    re.IGNORECASE,
)
# Digits of a card number, by its first.
_CARD_LENGTHS: Final = {"2": (16,), "3": (14, 15, 16), "4": (13, 16, 19), "5": (16,), "6": (16, 17, 18, 19)}
# Characters of an IBAN, by country (ISO 13616 registry).
_IBAN_LENGTHS: Final = {
    code: int(length)
    for length, codes in (
        ("15", "NO"), ("16", "BE"), ("18", "DK FI FO GL NL FK SD"), ("19", "MK SI"),
        ("20", "AT BA EE KZ LT LU XK MN"), ("21", "CH HR LI LV"), ("22", "BG BH CR DE GB GE IE ME RS VA"),
        ("23", "AE GI IL IQ OM TL SO"), ("24", "AD CZ ES MD PK RO SA SE SK TN VG"), ("25", "LY PT ST"),
        ("26", "IS TR"), ("27", "BI DJ FR GR IT MC MR SM"), ("28", "AL AZ BY CY DO GT HU LB NI PL SV"),
        ("29", "BR EG PS QA UA"), ("30", "JO KW MU YE"), ("31", "MT SC"), ("33", "LC RU"),
    )
    for code in codes.split()
}  # fmt: skip


def _marked(name: str) -> str:
    return f"[redacted:{name}]"


def _email(text: str) -> str:
    return _EMAIL.sub(_marked("email"), text) if "@" in text or "%40" in text else text


def _card(text: str) -> str:
    return _CARD.sub(_card_in, text)


def _card_in(match: re.Match[str]) -> str:
    """Redact the card numbers in a run of digits: whole groups of as many digits as a card has, that pass Luhn's check."""
    run = match[0]
    groups = list(re.finditer(r"\d+", run))
    for first, group in enumerate(groups):
        lengths = _CARD_LENGTHS.get(group[0][0])
        if not lengths:
            continue
        digits = ""
        for following in groups[first:]:
            digits += following[0]
            if len(digits) in lengths and _luhn(digits):
                return run[: group.start()] + _marked("card") + _card(run[following.end() :])
    return run


def _luhn(digits: str) -> bool:
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(value - 9 if value > 9 else value for value in doubled)) % 10 == 0


def _iban(text: str) -> str:
    return _IBAN.sub(_iban_in, text)


def _iban_in(match: re.Match[str]) -> str:
    found = match[0]
    length = _IBAN_LENGTHS.get(found[:2].upper(), 0)
    ends = [index + 1 for index, character in enumerate(found) if character.isalnum()]
    if not length or len(ends) < length:
        return found
    end = ends[length - 1]
    plain = re.sub(r"[ \-]", "", found[:end]).upper()
    number = "".join(str(int(character, 36)) for character in plain[4:] + plain[:4])
    return _marked("iban") + found[end:] if int(number) % 97 == 1 else found


def _ip(text: str) -> str:
    if ":" in text:
        text = _IPV6.sub(_ipv6_in, text)
    return _IPV4.sub(_marked("ip"), text)


def _ipv6_in(match: re.Match[str]) -> str:
    import ipaddress  # not needed by most

    try:
        address = ipaddress.IPv6Address(match[0])
    except ValueError:
        return match[0]
    # `a::b` is more often written by programmers than by routers.
    named = len(re.findall(r"[0-9a-f]+", match[0], re.IGNORECASE))
    return _marked("ip") if int(address) and (named > 2 or re.search(r"\d", match[0])) else match[0]


def _phone(text: str) -> str:
    return _PHONE.sub(_phone_in, text)


def _phone_in(match: re.Match[str]) -> str:
    found = match[0]
    digits = sum(character.isdigit() for character in found)
    groups = len(re.findall(r"\d+", found))
    international = found.startswith(("+", "00"))
    if not (8 if groups > 1 or international else 10) <= digits <= 15:
        return found
    if groups == 1 and not found.startswith(("+", "0")):
        return found  # a bare number: nobody can tell
    if not international and "(" not in found and groups < 3 and not found.startswith("0"):
        return found
    if any(other.fullmatch(found) for other in (_DATE, _THOUSANDS, _DECIMAL, _IPV4)):
        return found
    return _marked("phone")


def _api_key(text: str) -> str:
    return _SECRET.sub(rf"\1{_marked('api_key')}", _KEY.sub(_marked("api_key"), text))


# In this order: the more particular first, so that a card number is not taken for that of a telephone.
BUILT_IN: Final[Mapping[str, Redactor]] = {
    "api_key": _api_key,
    "email": _email,
    "iban": _iban,
    "card": _card,
    "ip": _ip,
    "phone": _phone,
}


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """What is done to a span before it is sent.

    Attributes
    ----------
    own, built_in : tuple of callable or pattern
        Rules applied to every text, one after the other. Names of machines are spared by the built-in ones.
    salt : str or None
        Of the hash that user ids are replaced by; None leaves them as they are.
    capture_content : bool
        Whether attributes that hold prompts and completions are sent.
    """

    own: tuple[Rule, ...] = ()
    built_in: tuple[Rule, ...] = ()
    salt: str | None = field(default=None, repr=False)
    capture_content: bool = False

    @property
    def _rules(self) -> tuple[Rule, ...]:
        return (*self.own, *self.built_in)

    @property
    def _passes_all(self) -> bool:
        return self.capture_content and self.salt is None and not self._rules

    def text(self, text: str) -> str:
        """A text without what the rules find. In JSON, only values are looked at, so that it stays JSON."""
        rules = self._rules
        return str(_cleaned(text, rules)) if rules and text else text

    def attributes(
        self, attributes: Mapping[str, Any] | None, *, is_said: Callable[[str], bool] = is_content
    ) -> dict[str, Any]:
        """Attributes as they may be sent; `is_said` tells by the key which hold content."""
        if self._passes_all:
            return dict(attributes or {})
        found = {key: value for key, value in (attributes or {}).items() if self.capture_content or not is_said(key)}
        rules = self._rules
        if not rules and self.salt is None:
            return found
        return {_key(key, rules): self._value(key, value, rules) for key, value in found.items()}

    def bounded(self, attributes: Mapping[str, Any] | None, *, of_event: bool = False) -> BoundedAttributes:
        """The same of attributes that were cut to limits before; how many were dropped is not forgotten."""
        cleaned = BoundedAttributes(
            attributes=self.attributes(attributes, is_said=is_event_content if of_event else is_content)
        )
        cleaned.dropped += getattr(attributes, "dropped", 0)
        return cleaned

    def events(self, events: Sequence[Event]) -> list[Event]:
        """Events as they may be sent."""
        return [
            Event(self.text(event.name), self.bounded(event.attributes, of_event=True), event.timestamp)
            for event in events
        ]

    def links(self, links: Sequence[Link]) -> list[Link]:
        """Links as they may be sent."""
        return [Link(link.context, self.bounded(link.attributes)) for link in links]

    def scope(self, scope: InstrumentationScope | None) -> InstrumentationScope | None:
        """The instrumentation scope as it may be sent."""
        if scope is None or not scope.attributes or self._passes_all:
            return scope
        return InstrumentationScope(scope.name, scope.version, scope.schema_url, self.attributes(scope.attributes))

    def status(self, status: Status) -> Status:
        """The status as it may be sent."""
        return Status(status.status_code, self.text(status.description)) if status.description else status

    def _value(self, key: str, value: Any, rules: tuple[Rule, ...]) -> Any:
        if self.salt is not None:
            # Of the whole value, and before redaction, which would make one user of many.
            if key in _USER_KEYS:
                plain = as_text(value)
                return hashed(plain, self.salt) if plain else value
            if isinstance(value, str) and _parameters.search(key):
                value = _user_in_json.sub(semconv.USER_HIDDEN, value)
        if isinstance(value, int | float) and key.startswith(_MEASURED):
            return value
        return _cleaned(value, self.own if key in EXEMPT else rules)


def _key(key: str, rules: tuple[Rule, ...]) -> str:
    return key if key in EXEMPT or key in _USER_KEYS or key.startswith(_NAMED) else str(_cleaned(key, rules))


def _cleaned(value: Any, rules: tuple[Rule, ...]) -> Any:
    if not rules:
        return value
    try:
        return _nested(value, rules, 0)
    except Exception:  # of a user's rule
        once("redaction", logging.ERROR, "monitor: a redaction rule failed; what it was given is not sent", True)
        return FAILED


def _nested(value: Any, rules: tuple[Rule, ...], depth: int) -> Any:
    """Redact texts at any depth; what holds nothing to redact keeps its type."""
    if value is None or isinstance(value, bool):
        return value
    if depth >= _DEPTH_MAX:
        return REDACTED
    if isinstance(value, str):
        parsed = _json(value)
        if parsed is None:
            return _plain(value, rules)
        cleaned = _nested(parsed, rules, depth + 1)
        return value if cleaned == parsed else json.dumps(cleaned, ensure_ascii=False)
    if isinstance(value, bytes | bytearray):
        # Byte for byte, and back.
        text = _plain(bytes(value).decode("utf-8", "surrogateescape"), rules)
        return text.encode("utf-8", "surrogateescape")
    if isinstance(value, int | float):
        text = as_text(value)
        redacted = _plain(text, rules)
        return value if redacted == text else redacted
    if isinstance(value, Mapping):
        return {
            _nested(key, rules, depth + 1) if isinstance(key, str) else key: _nested(item, rules, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, Sequence):
        return [_nested(item, rules, depth + 1) for item in value]
    return _plain(str(value), rules)


def _plain(text: str, rules: tuple[Rule, ...]) -> str:
    for rule in rules:
        text = rule.sub(REDACTED, text) if isinstance(rule, re.Pattern) else rule(text)
        if not isinstance(text, str):
            raise TypeError(f"a redaction rule returned {type(text).__name__} instead of a string")
    return text


def hashed(user: str, salt: str) -> str:
    """The pseudonym of a user: 64 hexadecimal digits, the same that the collector makes with the same salt.

    Examples
    --------
    >>> hashed("u1", "pepper")[:16]
    'f1a7ee0185dc7865'
    """
    return hashlib.sha256((salt + user).encode("utf-8", "surrogatepass")).hexdigest()


def as_text(value: Any) -> str:
    """A value as the store writes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return json.dumps(list(value), ensure_ascii=False, separators=(",", ":"), default=str)
    return str(value)


def read_privacy(redact: Rules, hash_user_ids: object, salt: object, *, capture_content: bool) -> Privacy:
    """Check the arguments of `init`.

    Raises
    ------
    ConfigError
        If one is wrong: a rule that does not do what it was meant to is worse than none.
    """
    if salt is None:
        salt = os.environ.get("MONITOR_PRIVACY__SALT") or None
    if salt is not None and not isinstance(salt, str):
        raise ConfigError(f"monitor.init: salt must be a string, got {type(salt).__name__}.")
    if not isinstance(hash_user_ids, bool):
        raise ConfigError(f"monitor.init: hash_user_ids must be True or False, got {hash_user_ids!r}.")
    if hash_user_ids and not salt:
        raise ConfigError(
            "monitor.init: hash_user_ids needs a salt, or anybody could try all ids: give salt, or set"
            " MONITOR_PRIVACY__SALT to a long random text (the same everywhere, so that a user stays one user)."
        )
    own, built_in = read_rules(redact)
    kept_salt = salt if hash_user_ids else None
    return Privacy(own=own, built_in=built_in, salt=kept_salt, capture_content=capture_content)


def read_rules(redact: Any) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """Rules of the user's own, and ours in their own order."""
    if redact is None or redact is False:
        return (), ()
    if redact is True:
        return (), tuple(BUILT_IN.values())
    given = [redact] if isinstance(redact, str | re.Pattern) or callable(redact) else redact
    if not isinstance(given, Iterable) or isinstance(given, Mapping):
        raise ConfigError(
            f"monitor.init: redact must be True or a list of {', '.join(BUILT_IN)}, regular expressions and functions;"
            f" got {type(redact).__name__}."
        )
    asked = list(given)
    own = tuple(_own(rule) for rule in asked if not (isinstance(rule, str) and rule in BUILT_IN))
    return own, tuple(rule for name, rule in BUILT_IN.items() if name in asked)


def _own(rule: object) -> Rule:
    if isinstance(rule, re.Pattern):
        if not isinstance(rule.pattern, str):
            raise ConfigError(
                f"monitor.init: the redaction pattern {rule.pattern!r} is one for bytes; write it for text."
            )
        return rule
    if callable(rule):
        return rule
    if not isinstance(rule, str) or not rule:
        raise ConfigError(f"monitor.init: {rule!r} is no redaction rule; give a regular expression or a function.")
    near = difflib.get_close_matches(rule.lower(), BUILT_IN, n=1, cutoff=0.7) if rule.isidentifier() else []
    if near:
        raise ConfigError(
            f"monitor.init: redact={rule!r} is not one of {', '.join(BUILT_IN)}; did you mean {near[0]!r}?"
        )
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise ConfigError(f"monitor.init: redact={rule!r} is not a regular expression: {error}.") from None
    if pattern.match(""):
        raise ConfigError(
            f"monitor.init: redact={rule!r} also matches nothing at all, hence everywhere; make it demand a character."
        )
    return pattern


def _json(text: str) -> Any:
    """The list or object that a text is; None if it is none."""
    if not text.startswith(("[", "{")):
        return None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict | list) else None


_parameters = re.compile(semconv.PARAMETER_KEYS)
_user_in_json = re.compile(semconv.USER_IN_JSON)
