"""Prompts and completions of the demo, composed from a few short templates by topic and language."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

from collectors.simulate.wire import attribute
from monitor import semconv

LANGUAGES: Final = ("en", "de", "fr", "es")
TOPICS: Final = ("orders", "account", "coding", "travel", "cooking")
NEW_TOPIC: Final = "customs"

SUBJECTS: Final = {
    "orders": ("parcel", "order", "delivery", "voucher", "size", "return label"),
    "account": ("password", "profile", "mail address", "subscription", "login", "newsletter"),
    "coding": ("loop", "function", "index", "unit test", "regular expression", "branch"),
    "travel": ("train", "hotel", "museum", "ferry", "luggage", "airport"),
    "cooking": ("bread", "soup", "lentils", "oven", "sauce", "pasta"),
    NEW_TOPIC: ("customs declaration", "import duty", "tariff code", "commercial invoice", "VAT refund", "export licence"),
}  # fmt: skip
_ASKED: Final = {
    "en": (
        "How do I change my {a} when the {b} is already there?",
        "My {a} does not work any more since the {b} was changed. What now?",
        "Please explain in short words what a {a} has to do with a {b}.",
        "Give me three steps for a {a}, and say what to watch with the {b}.",
    ),
    "de": (
        "Wie ändere ich {a}, wenn {b} schon da ist?",
        "Seit {b} geändert wurde, geht {a} nicht mehr. Was nun?",
        "Erkläre mir bitte kurz, was {a} mit {b} zu tun hat.",
        "Nenne drei Schritte für {a} und sage, worauf ich bei {b} achten muss.",
    ),
    "fr": (
        "Comment changer {a} quand {b} est déjà là ?",
        "Depuis que {b} a changé, {a} ne marche plus. Que faire ?",
        "Explique en quelques mots le lien entre {a} et {b}.",
        "Donne trois étapes pour {a}, et ce qu'il faut surveiller pour {b}.",
    ),
    "es": (
        "¿Cómo cambio {a} si {b} ya está?",
        "Desde que cambió {b}, {a} ya no funciona. ¿Qué hago?",
        "Explica en pocas palabras qué tiene que ver {a} con {b}.",
        "Dame tres pasos para {a}, y di qué cuidar con {b}.",
    ),
}
_ANSWERED: Final = {
    "en": "Look at the {a} first, then set the {b} anew and save it. If that does not help, write to us.",
    "de": "Sieh zuerst {a} an, stelle dann {b} neu ein und speichere. Hilft das nicht, schreibe uns.",
    "fr": "Regarde d'abord {a}, puis règle {b} de nouveau et enregistre. Sinon, écris-nous.",
    "es": "Mira primero {a}, luego ajusta {b} de nuevo y guarda. Si no ayuda, escríbenos.",
}
_REFUSED: Final = {
    "en": "I am sorry, but I cannot help with that.",
    "de": "Das tut mir leid, dabei kann ich nicht helfen.",
    "fr": "Je suis désolé, je ne peux pas aider pour cela.",
    "es": "Lo siento, no puedo ayudar con eso.",
}
# So many different texts there are of one topic and language.
CHOICES: Final = 6 * 6 * 4


@lru_cache(maxsize=8192)
def prompt(topic: str, language: str, choice: int) -> str:
    """One of `CHOICES` questions about a topic."""
    first, second, form = _picked(topic, choice)
    return _ASKED[language][form].format(a=first, b=second)


@lru_cache(maxsize=8192)
def completion(topic: str, language: str, choice: int, refused: bool) -> str:
    """The answer to that question."""
    first, second, _ = _picked(topic, choice)
    return _REFUSED[language] if refused else _ANSWERED[language].format(a=first, b=second)


@lru_cache(maxsize=16384)
def content(field: int, topic: str, language: str, choice: int, refused: bool) -> bytes:
    """Prompt and completion as attributes of a span, in OpenTelemetry's form, the span's field for attributes being `field`."""
    asked = _messages("user", prompt(topic, language, choice))
    answered = _messages("assistant", completion(topic, language, choice, refused))
    return attribute(field, semconv.INPUT_MESSAGES, asked) + attribute(field, semconv.OUTPUT_MESSAGES, answered)


def _picked(topic: str, choice: int) -> tuple[str, str, int]:
    subjects = SUBJECTS[topic]
    first, rest = divmod(choice % CHOICES, 24)
    second, form = divmod(rest, 4)
    return subjects[first], subjects[(first + 1 + second % 5) % 6], form


def _messages(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}], ensure_ascii=False)
