"""Placeholders that were never filled, such as `{{name}}`."""

from __future__ import annotations

import re

from tutelage.chat.audit.check import Check, Exchange, flagged
from tutelage.text.contains import contains_any

_TEMPLATE_WORDS = (
    "jinja",
    "template",
    "placeholder",
    "handlebars",
    "mustache",
    "vue",
    "angular",
    "ansible",
    "helm",
    "liquid",
)
_PLACEHOLDER = re.compile(r"\{\{ ?[A-Za-z_]\w*(?:\.\w+)* ?\}\}|\$\{(?:name|author|user|company)\}|<(?:NAME|AUTHOR)>")


def find_placeholder(exchange: Exchange) -> int:
    """`{{name}}` and the like, where neither question nor answer is about templates."""
    answer = exchange.answer
    if "{{" not in answer and "${" not in answer and "<NAME>" not in answer:
        return -1
    question = exchange.question.lower()
    if "{{" in question or "```" in answer:
        return -1
    if contains_any(question, _TEMPLATE_WORDS) or contains_any(exchange.lower, _TEMPLATE_WORDS):
        return -1
    match = _PLACEHOLDER.search(answer)
    return match.start() if match else -1


PLACEHOLDER = Check(
    "placeholder",
    "warning",
    "unfilled placeholders",
    "Fill them in, or the model will write them.",
    flagged("placeholder"),
    auto_fixable=True,
    in_answer=find_placeholder,
)
