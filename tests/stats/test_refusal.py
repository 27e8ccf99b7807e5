"""Refusals by rules on answers in fifteen languages, and by the classifier on labelled ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monitor.stats.refusal import RefusalModel, find_refusal, train
from monitor.stats.refusal.phrases import PHRASES

REFUSALS = {
    "en": [
        "I’m sorry, but I can’t help with that.",
        "I cannot assist with this request.",
        "I'm unable to provide instructions for that.",
        "I won't be able to help with that.",
        "As an AI language model, I cannot give medical advice of that kind.",
        "Sorry, but I can't do that.",
        "I must decline this request.",
        "> **I'm sorry, but I cannot help with that.**",
    ],
    "de": ["Es tut mir leid, aber dabei kann ich nicht helfen.", "Ich kann Ihnen bei dieser Anfrage leider nicht weiterhelfen."],
    "fr": ["Je suis désolé, mais je ne peux pas vous aider avec cela.", "Je ne peux pas répondre à cette demande."],
    "es": ["Lo siento, pero no puedo ayudarte con eso.", "No puedo proporcionar esa información."],
    "it": ["Mi dispiace, ma non posso aiutarti con questa richiesta."],
    "pt": ["Sinto muito, mas não posso ajudar com isso."],
    "nl": ["Het spijt me, maar daar kan ik niet bij helpen."],
    "pl": ["Przepraszam, ale nie mogę pomóc w tej sprawie."],
    "ru": ["Извините, но я не могу помочь с этим."],
    "tr": ["Üzgünüm, bu konuda yardımcı olamam."],
    "ar": ["عذرًا، لا يمكنني المساعدة في هذا الطلب."],
    "hi": ["क्षमा करें, मैं इसमें आपकी मदद नहीं कर सकता।"],
    "zh": ["抱歉,我不能帮助你完成这个请求。"],
    "ja": ["申し訳ありませんが、そのご要望にはお答えできません。"],
    "ko": ["죄송하지만 그 요청은 도와드릴 수 없습니다."],
}  # fmt: skip
ANSWERS = [
    "I can't find an error in your code; here is why it works.",
    "Sure! Here is a poem about the sea.",
    "You can't divide by zero, because no number times zero gives one.",
    "I'm sorry to hear about your loss. Here are some words for the card.",
    "Sorry for the confusion. The right answer is 42.",
    "Unfortunately the flight is cancelled; you can rebook here.",
    "I cannot stress enough how important it is to back up your data.",
    "The company cannot help employees who refuse the training.",
    "Das kann ich gern erklären: nicht jede Zahl ist prim.",
    "Ich kann dir helfen, das nicht zu vergessen.",
    "Voici la réponse à votre question.",
    "No puedo creer lo bonito que es Madrid. La capital es Madrid.",
    "La risposta è semplice: non possiamo dividere per zero.",
    "申し訳ない気持ちを英語で言うと sorry です。",
    "抱歉的英文是 sorry。",
    "",
]


def test_each_language_is_known() -> None:
    assert set(REFUSALS) == set(PHRASES)
    for language, texts in REFUSALS.items():
        for text in texts:
            found = find_refusal(text)
            assert (found.refused, found.language) == (True, language), text
            assert found.phrase


@pytest.mark.parametrize("text", ANSWERS)
def test_what_only_sounds_like_one(text: str) -> None:
    assert not find_refusal(text).refused


def test_only_the_start_is_looked_at_and_no_text_takes_long() -> None:
    assert not find_refusal("word " * 100 + "I cannot help with that.").refused
    assert not find_refusal("ich kann " * 100_000).refused
    assert not find_refusal("i " * 5000 + "can't").refused


def labelled(n: int, *, seed: int, house: float = 0.5) -> tuple[list[str], list[bool]]:
    """Answers of a service whose model often refuses in words of its own, which the rules do not know."""
    rng = np.random.default_rng(seed)
    things = ["bread", "loans", "the weather", "chess", "a refund", "verbs", "a contract", "the sea"]
    texts, refused = [], []
    for _ in range(n):
        thing = things[rng.integers(len(things))]
        if rng.random() < 0.3:
            own = f"That topic is outside of what this assistant covers; please contact our desk about {thing}."
            texts.append(own if rng.random() < house else f"I'm sorry, but I can't help with {thing}.")
            refused.append(True)
        else:
            texts.append(f"Here is what to know about {thing}: step {rng.integers(9)}, then step {rng.integers(9)}.")
            refused.append(False)
    return texts, refused


def test_the_classifier_learns_what_the_rules_do_not_know() -> None:
    found = train(*labelled(300, seed=1))
    assert found.model is not None
    assert found.rules_accuracy is not None
    assert found.rules_accuracy < 0.8 < 0.97 < (found.accuracy or 0)
    texts, refused = labelled(400, seed=2)
    p = found.model.probabilities(texts)
    assert ((p >= 0.5) == np.array(refused)).mean() > 0.97
    # Calibrated: of what it calls so likely, so many are.
    noisy = [
        said if np.random.default_rng(i).random() > 0.15 else not said
        for i, said in enumerate(labelled(800, seed=3)[1])
    ]
    unsure = train(labelled(800, seed=3)[0], noisy).model
    assert unsure is not None
    p = unsure.probabilities(texts)
    # Of what is called a refusal, 85 % are labelled so in the long run.
    assert abs(p[np.array(refused)].mean() - 0.85) < 0.06
    assert abs(p[~np.array(refused)].mean() - 0.15) < 0.06


def test_a_model_comes_back_from_json_as_it_was() -> None:
    model = train(*labelled(200, seed=4)).model
    assert model is not None
    again = RefusalModel.from_json(model.to_json())
    texts = [*labelled(50, seed=5)[0], *ANSWERS, *(text for texts in REFUSALS.values() for text in texts)]
    assert again.probabilities(texts) == pytest.approx(model.probabilities(texts))
    assert train(*labelled(200, seed=4)).model == model  # the same labels give the same version
    assert model.probabilities([]).shape == (0,)
    for wrong in ("{}", "[]", json.dumps({"version": "x", "weights": {"a": 1}})):
        with pytest.raises(ValueError, match="no model of refusals"):
            RefusalModel.from_json(wrong)


def test_never_below_the_rules() -> None:
    few = train(*labelled(60, seed=6))
    assert few.model is None
    assert few.note.startswith("rules only: 60 labels")
    none = train([f"answer {i}" for i in range(300)], [False] * 300)
    assert none.model is None
    assert "0 of them refusals" in none.note
    # Words that say nothing, and rules that are right: the rules stay, or the model leans on them.
    rng = np.random.default_rng(8)
    refused = [bool(rng.random() < 0.5) for _ in range(200)]
    words = ["".join(chr(97 + c) for c in rng.integers(0, 26, 6)) for _ in range(400)]
    texts = [f"{'I cannot help with' if said else 'Here is'} {' '.join(rng.choice(words, 6))}" for said in refused]
    found = train(texts, refused)
    assert (found.accuracy or 0) >= (found.rules_accuracy or 0) or found.model is None
