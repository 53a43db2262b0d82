"""One pass over the conversations: a few numbers and two signatures of each are kept, and none of its text."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from tutelage.chat.audit.check import Exchange
from tutelage.chat.audit.checks import CHECKS
from tutelage.chat.audit.checks.identity import identity_claims
from tutelage.chat.audit.checks.personal_data import without_secrets
from tutelage.chat.audit.checks.refusal import REFUSAL, find_refusal
from tutelage.chat.audit.checks.special_token import SPECIAL_TOKEN, TemplateMarkers
from tutelage.chat.audit.checks.truncated import (
    NO_TERMINAL_PUNCTUATION,
    TRUNCATED,
    ends_with_name,
    ends_with_punctuation,
    is_prose,
)
from tutelage.chat.audit.final_answers import REFUSED, AnswerIndex, final_answer
from tutelage.chat.audit.scan_result import FEATURES, FileNotes, ScanResult, excerpt
from tutelage.chat.audit.tokens import TokenCounts
from tutelage.chat.render.template import part_text
from tutelage.io.batches import batches
from tutelage.records import Conversation, Message, Text, ToolCall
from tutelage.text.characters import MARKS
from tutelage.text.language import HEAD, PURE, SCRIPTS, script_of
from tutelage.text.minhash import signatures
from tutelage.text.ngrams import ItemIndex, most_covered, text_hashes
from tutelage.text.words import hash_words

CHUNK = 128  # conversations; more do not fit into a processor's cache
SAMPLE, SAMPLE_CHARS = 200, 500  # answers whose language is identified, and characters of each
_OPENING_WORDS = 3
_OPENINGS_KEPT = 50_000

_ANSWER_CHECKS = [(check, check.in_answer) for check in CHECKS if check.in_answer]
_TEXT_CHECKS = [(check, check.in_text) for check in CHECKS if check.in_text]
FLAGS = (
    *(check.name for check, _ in (*_ANSWER_CHECKS, *_TEXT_CHECKS)),
    SPECIAL_TOKEN.name,
    NO_TERMINAL_PUNCTUATION,
)
_BIT = {name: 1 << number for number, name in enumerate(FLAGS)}


def scan(
    conversations: Iterable[Conversation],
    markers: TemplateMarkers | None = None,
    benchmark: ItemIndex | None = None,
    tokens: TokenCounts | None = None,
) -> ScanResult:
    """Read every conversation once. `benchmark` holds the n-grams of benchmark texts; `tokens` renders for a model and
    counts."""
    markers, notes, generator = markers or TemplateMarkers(), FileNotes(), random.Random(0)
    features, users, assistants = [np.empty(0, FEATURES)], [_no_signatures()], [_no_signatures()]
    answers = [np.empty((0, 3), np.int64)]
    row = 0
    for chunk in batches(conversations, CHUNK):
        texts: list[str] = []
        chunk_features = []
        chunk_answers: list[tuple[int, int, int]] = []
        for number, conversation in enumerate(chunk, row):
            sides = _sides(conversation)
            texts += sides
            chunk_features.append(_features(conversation, number, *sides, markers, notes, chunk_answers))
            _sample(notes, sides[1], number, generator)
        _count_openings(notes.openings, texts[::2])
        features.append(np.array(chunk_features, FEATURES))
        answers.append(np.array(chunk_answers, np.int64).reshape(-1, 3))
        words = hash_words(texts, MARKS)
        features[-1]["prompt_hash"] = text_hashes(words)[::2].view(np.int64)
        chunk_signatures = signatures(words)
        users.append(chunk_signatures[::2].copy())
        assistants.append(chunk_signatures[1::2].copy())
        if benchmark:
            overlap, overlap_text = most_covered(hash_words(texts), benchmark)
            higher = np.arange(0, len(texts), 2) + (overlap[1::2] > overlap[::2])
            features[-1]["overlap"], features[-1]["overlap_text"] = overlap[higher], overlap_text[higher]
        if tokens:
            tokens.add(chunk)
        row += len(chunk)
    rows, contexts, final = np.concatenate(answers).T
    # One list of chunks after the other is freed, so that no more than one is in memory twice.
    arrays = [np.concatenate(chunks) for chunks in _emptied(features, users, assistants)]
    return ScanResult(arrays[0], arrays[1], arrays[2], AnswerIndex(rows, contexts, final), notes, FLAGS)


def _no_signatures() -> np.ndarray:
    return np.empty((0, 64), np.uint16)


def _emptied(*lists: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    for chunks in lists:
        yield chunks
        chunks.clear()


def text_of(message: Message) -> str:
    """`Message.text`, without its loop where there is one part only."""
    content = message.content
    return content[0].text if len(content) == 1 and isinstance(content[0], Text) else message.text


def _sides(conversation: Conversation) -> tuple[str, str]:
    """The users' text and the assistant's. The system message is left out: many rows share it, and it must not decide
    whether two conversations are similar."""
    questions = [text_of(message) for message in conversation.messages if message.role == "user"]
    answers = []
    for message in conversation.messages:
        if message.role == "assistant":
            answers.append(text_of(message))
            if len(message.content) > 1 or isinstance(message.content[0], ToolCall):
                answers += [part_text(part) for part in message.content if isinstance(part, ToolCall)]
    return "\n".join(questions), "\n".join(answers)


def _features(
    conversation: Conversation,
    row: int,
    users: str,
    assistant: str,
    markers: TemplateMarkers,
    notes: FileNotes,
    answers: list[tuple[int, int, int]],
) -> tuple[int, int, int, int, int, int, int, int, float, int]:
    """The FEATURES of one conversation, without those that `scan` computes for a whole chunk. Adds (row, hash of the
    context, hash of the final answer) to `answers` for each of its answers."""
    flags = context_chars = 0
    context = hash(conversation.tools)
    question = ""
    for message in conversation.messages:
        text = text_of(message)
        if (at := markers.find(text)) >= 0:
            flags |= _BIT[SPECIAL_TOKEN.name]
            notes.add_example(SPECIAL_TOKEN.name, row, conversation.id, text, at)
        for check, find in _TEXT_CHECKS:
            if (at := find(text)) >= 0:
                flags |= _BIT[check.name]
                notes.add_example(check.name, row, conversation.id, without_secrets(text), at)
        if message.role == "assistant":
            calls = isinstance(message.content[-1], ToolCall)
            exchange = Exchange(question, text, text.lower(), calls, users.startswith(question))
            answer_flags = _answer_flags(exchange, row, conversation.id, notes)
            answer = REFUSED if answer_flags & _BIT[REFUSAL.name] else final_answer(text)
            answers.append((row, context, hash(answer) if answer else 0))
            flags, question = flags | answer_flags, ""
        else:
            question = text if message.role == "user" else ""
            context_chars += len(text)
        context = hash((context, message.role, message.content))
    script = "Latin" if users.isascii() and assistant.isascii() else _common_script(users, assistant)
    unterminated = 0 if not text or ends_with_punctuation(text) else len(text)
    lengths = (context_chars, len(users), len(assistant), unterminated)
    return context, 0, flags, SCRIPTS.index(script), *lengths, 0.0, -1


def _answer_flags(exchange: Exchange, row: int, place: str, notes: FileNotes) -> int:
    """The flags of one answer."""
    notes.answers += 1
    question, text = exchange.question, exchange.answer
    if not text:
        return 0
    flags = 0
    for check, find in _ANSWER_CHECKS:
        if (at := find(exchange)) >= 0:
            flags |= _BIT[check.name]
            shown = f"{excerpt(question)} -> {text}" if check.show_question else text
            notes.add_example(check.name, row, place, shown, at)
    for claim in identity_claims(exchange):
        notes.add_identity(row, claim)
    if is_prose(text):
        notes.prose_answers += 1
        if ends_with_punctuation(text):
            notes.terminated_answers += 1
        elif not flags & _BIT[TRUNCATED.name] and not ends_with_name(text):
            flags |= _BIT[NO_TERMINAL_PUNCTUATION]
            notes.add_example(NO_TERMINAL_PUNCTUATION, row, place, text, max(0, len(text) - 100))
    return flags


def _common_script(users: str, assistant: str) -> str:
    # At both ends: a conversation may change its language.
    scripts = {script_of(text, PURE) for text in (users, assistant, users[-HEAD:], assistant[-HEAD:])}
    return scripts.pop() if len(scripts) == 1 else ""


def _sample(notes: FileNotes, text: str, row: int, generator: random.Random) -> None:
    """Reservoir sampling: every conversation is in the sample with equal probability."""
    if row < SAMPLE:
        notes.sample.append(text[:SAMPLE_CHARS])
    elif (place := generator.randrange(row + 1)) < SAMPLE:
        notes.sample[place] = text[:SAMPLE_CHARS]


def _count_openings(openings: Counter[str], prompts: list[str]) -> None:
    for prompt in prompts:
        words = prompt[:200].split(None, _OPENING_WORDS)[:_OPENING_WORDS]
        openings[" ".join(words).lower()] += 1
    if len(openings) > 2 * _OPENINGS_KEPT:  # bounds the memory; the rare ones do not matter
        kept = openings.most_common(_OPENINGS_KEPT)
        openings.clear()
        openings.update(dict(kept))


def final_answers(conversation: Conversation) -> Iterator[str]:
    """The final answer of each reply of a conversation, in order; "" where its prompt is open-ended."""
    question = ""
    for message in conversation.messages:
        text = text_of(message)
        if message.role == "assistant":
            refused = bool(text) and find_refusal(Exchange(question, text, text.lower())) >= 0
            yield REFUSED if refused else final_answer(text, question)
        question = text if message.role == "user" else ""
