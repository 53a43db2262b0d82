"""Renders with a checkpoint's own template, proving every example: see `imported`. Has what `renderer.Renderer` has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np

from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.encoding import Encoded, TemplateEncoder
from tutelage.chat.render.hf_template import HFTemplate
from tutelage.chat.render.layout import HistoryDependentTemplate, Layout, VerificationError, end_to_end
from tutelage.chat.render.native import NativeRenderer, Rendered, TrainOn
from tutelage.chat.render.template import END, NATIVE_JINJA, TEMPLATE_TOKENS, check, check_answers, named, parse_call
from tutelage.chat.render.verify import assembled, prove, prove_tokens, responses
from tutelage.config import fingerprint
from tutelage.records import Conversation, Message, Part, Reasoning, Text, message
from tutelage.tokenizer import Tokenizer

_TAILS_KEPT = 4096
_AT_ONCE = 64  # texts proven end to end: enough for arrays to pay off, few enough to stay in the cache
_THOUGHT = re.compile(r"\s*<think>\n?(.*?)\n?(?:</think>\s*|\Z)", re.DOTALL)
_CALL = re.compile(r"\s*<tool_call>\s*(.*?)\s*</tool_call>\s*", re.DOTALL)


@dataclass(frozen=True)
class _Job:
    """A text to encode: of which conversation, and whether only its last turn is graded."""

    row: int
    conversation: Conversation
    layout: Layout
    last: bool


@dataclass(frozen=True, eq=False)
class HFRenderer:
    """Renders with the template that a checkpoint came with.

    ValueError where that template cannot even say one question and one answer in a way that can be proven.
    """

    tokenizer: Tokenizer
    source: ChatConfig

    def __post_init__(self) -> None:
        try:
            assert self.stop_ids
        except VerificationError as error:
            raise ValueError(
                f"this checkpoint's chat template cannot be used: {error}; give the folder another "
                "chat_template.jinja, or none, and Tutelage's own is used"
            ) from error

    @cached_property
    def template(self) -> HFTemplate:
        return HFTemplate(self.source, frozenset(self.tokenizer.special_tokens))

    @cached_property
    def encoder(self) -> TemplateEncoder:
        return TemplateEncoder(self.tokenizer)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an assistant's turn: exactly those that training grades as ends."""
        numbers = [self.tokenizer.backend.token_to_id(name) for name in self.template.turn_ends()]
        return frozenset(number for number in numbers if number is not None)

    @cached_property
    def header_ids(self) -> frozenset[int]:
        """The special tokens that the template writes before a turn: an answer that holds one speaks for somebody."""
        asked = self.render_prompt(Conversation((message("user", "word"),))).ids
        opening = self.tokenizer.backend.token_to_id(self.source.token("bos_token"))
        special = set(self.tokenizer.special_tokens.values())
        return frozenset(special.intersection(asked.tolist()) - self.stop_ids - {opening})

    def fingerprint(self) -> str:
        """A hexadecimal hash of all that decides how a conversation is rendered."""
        tokens = {name: self.source.token(name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
        return fingerprint(self.tokenizer.fingerprint(), self.source.template, tokens)

    def render_rows(
        self, conversations: Sequence[Conversation], train_on: TrainOn = "assistant", spans: bool = False
    ) -> list[list[Rendered] | ValueError]:
        """Of each conversation its examples, or why it cannot be trained on. It has several where each turn must be
        trained by itself, because the template writes a turn otherwise once others follow."""
        found: list[list[Rendered] | ValueError] = [[] for _ in conversations]
        jobs: list[_Job] = []
        for row, conversation in enumerate(conversations):
            try:
                check(conversation)
                check_answers(conversation)
                jobs += self._jobs(row, conversation, train_on == "last_assistant")
            except ValueError as error:
                found[row] = error
        while jobs:
            made = zip(jobs, self._examples_of(jobs, train_on, spans), strict=True)
            jobs = []
            for job, examples in made:
                before = found[job.row]
                if isinstance(before, ValueError):
                    continue
                try:
                    if isinstance(examples, HistoryDependentTemplate):
                        jobs += self._unrolled(job.row, job.conversation)
                    elif isinstance(examples, ValueError):
                        found[job.row] = examples
                    else:
                        before += examples
                except ValueError as error:
                    found[job.row] = error
        return [
            _named(one, c) if isinstance(one, ValueError) else one for one, c in zip(found, conversations, strict=True)
        ]

    def _jobs(self, row: int, conversation: Conversation, last: bool) -> list[_Job]:
        if all(one.role != "assistant" for one in conversation.messages):
            raise VerificationError("no assistant message to train on")
        if last:
            answers = [n for n, one in enumerate(conversation.messages) if one.role == "assistant"]
            conversation = replace(conversation, messages=conversation.messages[: answers[-1] + 1])
        try:
            return [_Job(row, conversation, self.template.lay_out(conversation, last), last)]
        except HistoryDependentTemplate:
            return self._unrolled(row, conversation)

    def _unrolled(self, row: int, conversation: Conversation) -> list[_Job]:
        """Each answer as the last of a conversation of its own."""
        cut = [
            replace(conversation, messages=conversation.messages[: number + 1])
            for number, one in enumerate(conversation.messages)
            if one.role == "assistant"
        ]
        return [_Job(row, one, self.template.lay_out(one, last=True), last=True) for one in cut]

    def _examples_of(
        self, jobs: Sequence[_Job], train_on: TrainOn, spans: bool
    ) -> Iterator[list[Rendered] | ValueError]:
        """The proven examples of each job, or why there are none.

        Texts are proven end to end, many at once; where that fails or cannot be, one by one."""
        for some in (jobs[start : start + _AT_ONCE] for start in range(0, len(jobs), _AT_ONCE)):
            together = None if spans else self._proven_together(some, train_on)
            if together is not None:
                yield from together
                continue
            for job, encoded in zip(some, self.encoder.encode([job.layout.text for job in some]), strict=True):
                try:
                    yield self._proven_alone(job, encoded, train_on, spans)
                except ValueError as error:
                    yield error

    def _proven_together(self, jobs: Sequence[_Job], train_on: TrainOn) -> list[list[Rendered]] | None:
        encoded = self.encoder.encode_end_to_end([job.layout.text for job in jobs])
        layout = end_to_end([job.layout for job in jobs])
        if encoded is None or not self._prompts_agree(layout, encoded):
            return None
        try:
            whole = self._proven(layout, encoded, train_on)
        except VerificationError:
            return None
        firsts = encoded.firsts(layout.rows_R).tolist()
        rows = [whole.part(first, last) for first, last in zip(firsts, [*firsts[1:], len(whole.ids)], strict=True)]
        if train_on != "response_only":
            return [[row] for row in rows]
        answers = iter(responses(whole, layout, encoded))
        return [list(islice(answers, len(job.layout.turns_K3))) for job in jobs]

    def _proven_alone(self, job: _Job, encoded: Encoded, train_on: TrainOn, spans: bool) -> list[Rendered]:
        layout = job.layout
        if not self._prompts_agree(layout, encoded):
            if not job.last:
                raise HistoryDependentTemplate("tokens run over the beginning of an answer")
            if not self.encoder.cuts_at_special:
                raise VerificationError("tokens run over the beginning of an answer", "", layout.text)
            encoded = self.encoder.encode_apart(layout.text, int(layout.turns_K3[0, 1]))
        rendered = self._proven(layout, encoded, train_on, job.conversation if spans else None)
        return responses(rendered, layout, encoded) if train_on == "response_only" else [rendered]

    def _proven(
        self, layout: Layout, encoded: Encoded, train_on: TrainOn, conversation: Conversation | None = None
    ) -> Rendered:
        rendered = assembled(layout, encoded, train_on == "all_tokens", conversation)
        if train_on == "all_tokens":
            prove_tokens(rendered.ids, encoded.begins, layout, encoded, self.encoder)
        else:
            prove(rendered, layout, encoded, self.encoder, self.stop_ids)
        return rendered

    def _prompts_agree(self, layout: Layout, encoded: Encoded) -> bool:
        """Whether the ids up to each answer are the very ids of the prompt for it, and no token runs over its end."""
        ids, starts_K = encoded.ids, layout.turns_K3[:, 1]
        places_K, firsts_K = encoded.places(starts_K), encoded.firsts(starts_K)
        if np.any(encoded.ends[firsts_K[firsts_K > 0] - 1] > places_K[firsts_K > 0]):
            return False
        if not self.encoder.cuts_at_special:
            assert len(layout.rows_R) == 1, "a prompt is the beginning of a text"
            prompts = self.encoder.encode([layout.text[:start] for start in starts_K.tolist()])
            return all(np.array_equal(ids[:first], one.ids) for first, one in zip(firsts_K, prompts, strict=True))
        # What stands before a special token changes no id after it, so the ids of the prompts' last words can be kept.
        specials = np.flatnonzero(self.encoder.is_special[ids])
        edges = np.union1d(encoded.firsts(layout.rows_R), specials + 1)
        afters_K = edges[np.searchsorted(edges, firsts_K, side="right") - 1]
        begins_K = np.where(afters_K < firsts_K, encoded.begins[np.minimum(afters_K, len(ids) - 1)], places_K)
        tails = encoded.parts(begins_K.tolist(), places_K.tolist())
        within = zip(afters_K.tolist(), firsts_K.tolist(), strict=True)
        return all(
            ids[after:first].tobytes() == self._tail_ids(tail)
            for (after, first), tail in zip(within, tails, strict=True)
        )

    @cached_property
    def _tails(self) -> dict[str, bytes]:
        return {}

    def _tail_ids(self, tail: str) -> bytes:
        """The ids of the end of a prompt; kept, for most templates write the same one again and again."""
        ids = self._tails.get(tail)
        if ids is None:
            ids = self.encoder.encode([tail])[0].ids.tobytes()
            if len(self._tails) < _TAILS_KEPT:
                self._tails[tail] = ids
        return ids

    def render_prompts(self, conversations: Sequence[Conversation], spans: bool = False) -> list[Rendered]:
        """The conversations so far and what the template opens the assistant's turn with: what generation continues
        from. Nothing is graded. ValueError, naming the conversation, where the template cannot say it."""
        layouts = []
        for conversation in conversations:
            try:
                check(conversation)
                layouts.append(self.template.lay_out_prompt(conversation))
            except ValueError as error:
                raise _named(error, conversation) from error
        rows = self.encoder.encode([layout.text for layout in layouts])
        return [
            assembled(layout, encoded, False, conversation if spans else None)
            for layout, encoded, conversation in zip(layouts, rows, conversations, strict=True)
        ]

    def render_prompt(self, conversation: Conversation, spans: bool = False) -> Rendered:
        """`render_prompts` of one."""
        return self.render_prompts([conversation], spans)[0]

    def parse(self, ids: Sequence[int] | np.ndarray) -> Message:
        """Generated ids as an assistant message; reads up to the first end token, which may be missing. Reasoning and
        tool calls are told by <think> and <tool_call>; what is written otherwise stays text."""
        tokens = np.asarray(ids, np.int64).reshape(-1)
        ends = np.flatnonzero(np.isin(tokens, list(self.stop_ids)))
        text = self.tokenizer.decode(tokens[: ends[0]] if len(ends) else tokens)
        parts: list[Part] = []
        if thought := _THOUGHT.match(text):
            parts += [Reasoning(thought[1])] if thought[1].strip() else []
            text = text[thought.end() :]
        position, calls = 0, []
        for found in _CALL.finditer(text):
            if call := parse_call(found[1]):
                parts += [Text(text[position : found.start()])] if text[position : found.start()].strip() else []
                calls.append(call)
                position = found.end()
        parts += [Text(text[position:])] if text[position:] else []
        return Message("assistant", (*parts, *calls))


# What training, chat, evaluation and serving all render with.
Renderer = NativeRenderer | HFRenderer


def make_renderer(tokenizer: Tokenizer, source: ChatConfig) -> Renderer:
    """The renderer for a model: with the template it came with, or with Tutelage's own where it has none.

    ValueError where its template cannot be used, or where its tokenizer lacks the tokens of Tutelage's own.
    """
    return HFRenderer(tokenizer, source) if has_own_template(source) else NativeRenderer(tokenizer)


def chat_tokenizer(tokenizer: Tokenizer, source: ChatConfig) -> Tokenizer:
    """The tokenizer a model chats with: as it is where the model has a template, else with the tokens of Tutelage's."""
    return tokenizer if has_own_template(source) else tokenizer.extend(TEMPLATE_TOKENS)


def has_own_template(source: ChatConfig) -> bool:
    """Whether a model came with a template that is not Tutelage's."""
    return source.template is not None and source.template != NATIVE_JINJA


def taught(source: ChatConfig, renderer: Renderer) -> ChatConfig:
    """What a fine-tuned model's folder is to say: the template it was trained with, and that generation stops at the
    tokens that it was taught as ends."""
    ends = sorted(renderer.stop_ids)
    generation = {**source.generation_config, "eos_token_id": ends if len(ends) > 1 else ends[0]}
    config = dict(source.tokenizer_config)
    if not has_own_template(source):
        config = {"tokenizer_class": "PreTrainedTokenizerFast", **config, "eos_token": END}
    return ChatConfig(source.template or NATIVE_JINJA, config, generation)


def _named(error: ValueError, conversation: Conversation) -> ValueError:
    """The same error, saying which conversation it is about."""
    name = named(conversation)
    if name in str(error):
        return error
    if isinstance(error, VerificationError):
        return VerificationError(f"{name}: {error}", reason=error.reason, text=error.text)
    return ValueError(f"{name}: {error}")
