"""Prompts that are too similar, and prompts that take most of the text."""

from __future__ import annotations

from collections.abc import Iterator

from tutelage.chat.audit.check import NO_ROWS, AuditedFile, Check, Hit

LARGEST_CLUSTER, SAME_OPENING, MIN_CONVERSATIONS = 0.5, 0.3, 50
MIN_ANSWER_SHARE = 0.1


def _few_prompts(file: AuditedFile) -> Iterator[Hit]:
    count, diversity = len(file.scan.features), file.diversity
    if count >= MIN_CONVERSATIONS and len(diversity.largest) >= LARGEST_CLUSTER * count:
        detail = f"as diverse as {diversity.effective_clusters:,.1f} equally frequent clusters"
        yield Hit(diversity.largest, detail=detail)


def _same_opening(file: AuditedFile) -> Iterator[Hit]:
    count = len(file.scan.features)
    if count >= MIN_CONVERSATIONS:
        (words, times) = file.scan.notes.openings.most_common(1)[0]
        if times >= SAME_OPENING * count:
            yield Hit(NO_ROWS, detail=f"“{words} …”", count=times)


def _mostly_prompt(file: AuditedFile) -> Iterator[Hit]:
    features = file.scan.features
    context_chars, answer_chars = int(features["context_chars"].sum()), int(features["assistant_chars"].sum())
    if len(features) and answer_chars < MIN_ANSWER_SHARE * (context_chars + answer_chars):
        share = answer_chars / (context_chars + answer_chars)
        yield Hit(NO_ROWS, detail=f"answers are {share:.1%} of the characters", count=len(features))


FEW_PROMPTS = Check(
    "few prompts",
    "warning",
    "prompts that are nearly all similar",
    "Add other kinds of prompts: a model trained on one kind does badly on all others.",
    _few_prompts,
)
SAME_OPENING_WORDS = Check(
    "same opening",
    "warning",
    "prompts that open with the same words",
    "Vary the wording of the prompts, or the model learns to expect these words.",
    _same_opening,
)
MOSTLY_PROMPT = Check(
    "mostly prompt",
    "warning",
    "few trained tokens",
    "Shorten the prompts if you can: every step reads them, but only the answers are trained.",
    _mostly_prompt,
)
