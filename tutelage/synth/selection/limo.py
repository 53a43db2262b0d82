"""LIMO's score of reasoning: length, checking, exploring and concluding words, as shares (2502.03387 v3, section 3)."""

from __future__ import annotations

import re

import numpy as np

from tutelage.chat.audit.fix import openai_row
from tutelage.records import Conversation
from tutelage.synth.selection.candidates import Candidates, Decision, best

WORDS = {  # what they show -> the words, and the weight of their share; length has the rest
    "checking": (re.compile(r"\b(?:check|verify)", re.I), 0.20),
    "exploring": (re.compile(r"\b(?:perhaps|might)\b", re.I), 0.25),
    "concluding": (re.compile(r"\b(?:therefore|since)\b", re.I), 0.25),
}
LENGTH = 0.30


def select(candidates: Candidates) -> Decision:
    """The best scores; each part is scaled by its largest value among the rows."""
    texts = [trace(row) for row in candidates.rows]
    words = np.array([len(text.split()) for text in texts], float)
    score = LENGTH * words / max(words.max(), 1)
    for pattern, weight in WORDS.values():
        shares = np.array([len(pattern.findall(text)) for text in texts]) / np.maximum(words, 1)
        score += weight * shares / max(float(shares.max()), 1e-12)
    return best(score, candidates.keep)


def trace(row: Conversation) -> str:
    """The assistant's reasoning and answers."""
    turns = [turn for turn in openai_row(row)["messages"] if turn["role"] == "assistant"]
    return "\n".join(f"{turn.get('reasoning_content', '')}\n{turn.get('content') or ''}" for turn in turns)
