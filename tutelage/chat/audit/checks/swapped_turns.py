"""Rows whose question and answer changed places: the user states, the assistant asks."""

from __future__ import annotations

import re

from tutelage.chat.audit.check import Check, Exchange, flagged
from tutelage.chat.audit.checks.identity import own_names
from tutelage.chat.audit.checks.refusal import find_refusal

_MAX_QUESTION = 160  # characters of a question that stands alone
_ASKS = re.compile(
    r"\W*(?:(?:hi|hello|hey|please|excuse me|and|so)[,!.]? )?(?:what|who|whom|whose|which|when|where|why|how|is|are|"
    r"was|were|do|does|did|can|could|will|would|should|has|have)\b[^?\n]*\?\W*\Z",
    re.IGNORECASE,
)
# A question back to the user, as an assistant may well ask it.
_ASKS_USER = re.compile(r"\b(?:you|your|yours|you['’]\w+|else|anything|i|we|this|that|it|these|those)\b", re.IGNORECASE)
# A user who asks or tells the assistant to do something, of himself, or in a role.
_REQUESTS = re.compile(
    r"\b(?:i|i['’]\w+|me|my|mine|we|us|our|you|your|please|question|ask|questions|quiz|riddle|joke|guess)\b"
    r"|\?|:\s|\n|^\W*(?:give|write|list|tell|find|make|name|explain|describe|show|create|generate|translate|summari[sz]e|rewrite|change|turn)\b",
    re.IGNORECASE,
)
_MIN_WORDS = 4  # of a statement
_WORD = re.compile(r"[^\W\d_]{4,}|\d+")
_OPENS_ANSWER = re.compile(
    r"\W*(?:sure|certainly|of course|absolutely)[,!.] (?:here|i|let|the|you)\b"
    r"|\W*here (?:is|are) (?:a|an|the|some|your)\b",
    re.IGNORECASE,
)


def find_swapped_turns(exchange: Exchange) -> int:
    """A short question as the answer to a statement that answers it: both speak of the same thing, and neither turns to
    the other person; or to a user who speaks as assistants do (who it is, a refusal, "Sure! Here is")."""
    question, answer = exchange.question.strip(), exchange.answer.strip()
    if not exchange.first or len(answer) > _MAX_QUESTION or not answer.endswith("?") or not _ASKS.match(answer):
        return -1
    lower = question.lower()
    if _OPENS_ANSWER.match(question) or find_refusal(Exchange("", question, lower)) >= 0:
        return 0
    if own_names(answer, question):
        return 0
    if question[-1:] not in (".", "!", "。") or _REQUESTS.search(question) or _ASKS_USER.search(answer):
        return -1
    if question.count(" ") < _MIN_WORDS - 1:
        return -1
    return 0 if _words(question) & _words(answer) else -1


def _words(text: str) -> set[str]:
    return {word.lower()[:5] for word in _WORD.findall(text)}


SWAPPED_TURNS = Check(
    "swapped turns",
    "warning",
    "question and answer seem to have changed places",
    "Exchange the two texts, or leave these rows out: the model would learn to answer with questions.",
    flagged("swapped turns"),
    auto_fixable=True,
    in_answer=find_swapped_turns,
    show_question=True,
)
