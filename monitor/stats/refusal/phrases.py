"""How models refuse, by language: what an answer begins with when it declines.

Each pattern is looked for near the beginning of an answer (`rules.START_CHARACTERS`), in small letters, with straight
apostrophes and single spaces. Patterns say that *this request* is declined, not that something is impossible in general:
"I cannot find an error in your code" is an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# What is declined: helping, writing, saying … A refusal names such a word soon after "cannot".
_DO_EN: Final = (
    r"(help|assist|provide|fulfill?|comply|do that|do this|answer|discuss|engage|create|generate|write|produce|"
    r"share|give|support|participate|continue|offer|respond|recommend|say|talk about)"
)

PHRASES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "en": (
            (
                rf"\bi('m| am)? ?(can(no|')t|can not|won't|will not|am not able to|'m not able to|not able to|'m unable to|am unable to|"
                rf"unable to|must decline to|decline to|refuse to|shouldn't|should not|couldn't|could not in good conscience|"
                rf"'m not comfortable|am not comfortable|'d rather not|would rather not|don't feel comfortable)"
                rf"( \w+){{0,3}}? {_DO_EN}"
            ),
            r"\bi must (respectfully )?(decline|refuse)\b",
            r"\bi have to (decline|refuse)\b",
            r"^(i'm |i am )?(very |so |truly )?sorry,? but (i|that|this|we)\b.{0,20}\b(can't|cannot|can not|won't|not able|unable)",
            r"^(i )?apologi[sz]e,? but (i|that|this|we)\b.{0,20}\b(can't|cannot|can not|won't|not able|unable)",
            r"^as an ai\b.{0,60}\b(can't|cannot|can not|won't|not able|unable|not appropriate)",
            r"\b(it|that) (would be|is|wouldn't be|isn't) (in)?appropriate for me to\b",
            r"\b(this|your) request (goes against|violates|is against|conflicts with)\b",
            r"^(this content|your request|this request|the prompt) (was|has been|is) (blocked|filtered|flagged|refused)",
        ),
        "de": (
            (
                r"\b(ich|wir) (kann|können|darf|dürfen|werde|werden|möchte|möchten)\b.{0,60}\bnicht (\w+ ){0,3}"
                r"(helfen|weiterhelfen|unterstützen|beantworten|erfüllen|bereitstellen|geben|behilflich|schreiben|erstellen|dienen|nachkommen)"
            ),
            (
                r"^(es )?(tut mir leid|bedaure|bedauere|entschuldigung|leider)\b.{0,80}\b(nicht|kein|keine|keinen)\b.{0,60}"
                r"(helfen|weiterhelfen|unterstützen|beantworten|erfüllen|bereitstellen|geben|behilflich|schreiben|erstellen|dienen)"
            ),
            r"\b(ich|wir) (muss|müssen)\b.{0,40}\bablehnen\b",
            r"\b(ich|wir) lehne?n?\b.{0,40}\bab\b",
        ),
        "fr": (
            (
                r"\bje (ne peux|ne puis|ne suis|ne vais|ne pourrai)\b.{0,30}\b(pas|point)\b.{0,60}"
                r"(aider|répondre|fournir|assister|écrire|créer|générer|donner|satisfaire|en mesure|accéder)"
            ),
            r"^(je suis |)(désolée?|navrée?)\b.{0,80}\b(ne peux|ne puis|ne suis)\b",
            r"\bje (dois|me vois contrainte? de) (décliner|refuser)\b",
        ),
        "es": (
            (
                r"\bno (puedo|podré|podemos|me es posible|estoy en condiciones de|debo)\b.{0,40}"
                r"(ayudar|ayudarte|ayudarle|responder|proporcionar|cumplir|asistir|escribir|crear|generar|dar|ofrecer)"
            ),
            r"^(lo siento|lo lamento|disculpa|disculpe)\b.{0,40}\bno (puedo|podemos|me es posible)\b",
            r"\b(debo|tengo que) (rechazar|declinar)\b",
        ),
        "it": (
            (
                r"\bnon (posso|possiamo|sono in grado di|mi è possibile)\b.{0,40}"
                r"(aiutar\w*|rispondere|fornir\w*|assister\w*|scrivere|creare|generare|dare|soddisfare)"
            ),
            r"^(mi dispiace|spiacente|mi scuso)\b.{0,40}\bnon (posso|possiamo|sono in grado)\b",
            r"\bdevo (rifiutare|declinare)\b",
        ),
        "pt": (
            (
                r"\bnão (posso|podemos|consigo|me é possível|sou capaz de)\b.{0,40}"
                r"(ajud\w*|responder|fornecer|atender|escrever|criar|gerar|dar|oferecer|auxiliar)"
            ),
            r"^(sinto muito|desculpe|desculpa|lamento)\b.{0,40}\bnão (posso|podemos|consigo)\b",
            r"\b(devo|tenho que|preciso) (recusar|declinar)\b",
        ),
        "nl": (
            r"\bik (kan|mag|zal|wil)\b.{0,50}\bniet (\w+ ){0,3}(helpen|assisteren|beantwoorden|geven|schrijven|voldoen|maken)",
            r"^(het spijt me|sorry|helaas)\b.{0,60}\b(kan|mag|zal)\b.{0,40}\b(niet|geen)\b",
        ),
        "pl": (
            r"\bnie (mogę|możemy|jestem w stanie)\b.{0,40}(pomóc|odpowiedzieć|udzielić|napisać|spełnić|stworzyć|podać)",
            r"^(przepraszam|przykro mi|niestety)\b.{0,40}\bnie (mogę|możemy|jestem w stanie)\b",
        ),
        "ru": (
            r"\bя не (могу|можем|буду|в состоянии)\b.{0,40}(помочь|ответить|предоставить|написать|выполнить|создать|помогать)",
            r"^(извините|простите|к сожалению|сожалею|мне жаль)\b.{0,40}\bне (могу|можем|смогу)\b",
        ),
        "tr": (
            r"^(üzgünüm|maalesef|özür dilerim)\b.{0,100}(yardımcı olamam|edemem|yapamam|veremem|yazamam|olamıyorum|sağlayamam)",
            r"\bbu (isteğe|konuda|talebe)\b.{0,40}(yardımcı olamam|yanıt veremem|olamıyorum)",
        ),
        "ar": (
            r"(لا أستطيع|لا يمكنني|لن أتمكن|لا أقدر).{0,40}(مساعد|تقديم|الإجابة|كتابة|المساعدة|تلبية)",
            r"^(آسف|عذرا|عذرًا|أعتذر|للأسف).{0,40}(لا أستطيع|لا يمكنني|لن أتمكن)",
        ),
        "hi": (
            r"(क्षमा करें|माफ़ करें|माफ करें|मुझे खेद है).{0,80}(नहीं कर सकत|नहीं दे सकत|असमर्थ|नहीं लिख सकत)",
            r"मैं.{0,60}(मदद|सहायता).{0,20}नहीं कर सकत",
        ),
        "zh": (
            r"^.{0,12}(抱歉|对不起|對不起|很遗憾|不好意思).{0,24}(不能|无法|無法|不会|没办法|沒辦法)",
            r"^.{0,6}我(不能|无法|無法|没办法|沒辦法).{0,16}(帮助|幫助|协助|協助|提供|回答|满足|滿足|生成|撰写|编写|写)",
        ),
        "ja": (
            r"(申し訳|すみません|ごめんなさい|恐れ入り).{0,60}(できません|できかね|お答えできません|お手伝いできません|いたしかね|致しかね)",
            r"(お手伝い|お答え|ご提供|提供|対応|回答)(する(こと|の)は|することが|は|が)?(でき(ません|ない)|いたしかね|致しかね)",
        ),
        "ko": (
            r"(죄송|미안|유감).{0,60}(수 없습니다|수 없어요|어렵습니다|드릴 수 없|못합니다)",
            r"(도와|도움을|답변|제공|작성).{0,16}(수 없습니다|수 없어요|드릴 수 없)",
        ),
    }
)
