"""Renders with the chat template that a checkpoint came with, and verifies every example."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tutelage.chat.render import RENDERING
from tutelage.chat.render.assemble import assemble, examples
from tutelage.chat.render.call_format import CallFormat, learn_call_format, probe_conversations
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.encoding import Encoded, TemplateEncoder
from tutelage.chat.render.hf_template import HFTemplate
from tutelage.chat.render.layout import HistoryDependentTemplate, Layout, VerificationError, concatenate, with_name
from tutelage.chat.render.renderer import Explanation, Rendered, TrainedTurn, TrainOn, check_train_on
from tutelage.chat.render.template import check, check_answers, check_marks, parse_call
from tutelage.chat.render.verify import verify
from tutelage.config import fingerprint
from tutelage.records import Conversation, Message, Part, Reasoning, Text, message, trained_turns
from tutelage.tokenizer import Tokenizer

_MAX_TAILS = 4096
_AT_ONCE = 64  # texts verified end to end: enough for arrays to pay off, few enough to stay in the cache
_THOUGHT = re.compile(r"\s*<think>\n?(.*?)\n?(?:</think>\s*|\Z)", re.DOTALL)
_CALL = re.compile(r"\s*<tool_call>\s*(.*?)\s*</tool_call>\s*", re.DOTALL)
_OPENING = "the first turn is the assistant's, so it answers nobody, and the chat template cannot write it"
_CROSSES_START = "a token crosses the start of an answer"


@dataclass(frozen=True)
class _Job:
    """A text to encode.

    row:    the conversation it belongs to.
    last:   whether only its last turn is trained.
    cached: whether the render cache was hit.
    notes:  what was changed so that the template has a place for it.
    """

    row: int
    conversation: Conversation
    layout: Layout
    last: bool
    cached: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class HFRenderer:
    """Renders with a checkpoint's own template.

    cache: whether conversations of one structure may be rendered without running the template again (cache.py); it
           changes no token.

    ValueError where the template cannot even write one question and one answer in a way that can be verified.
    """

    tokenizer: Tokenizer
    config: ChatConfig
    cache: bool = True

    def __post_init__(self) -> None:
        try:
            assert self.stop_ids
        except VerificationError as error:
            raise ValueError(
                f"this checkpoint's chat template cannot be used: {error}; give the folder another "
                "chat_template.jinja, or none, and Tutelage's own is used"
            ) from error

    def __reduce__(self) -> tuple[type[HFRenderer], tuple[Tokenizer, ChatConfig, bool]]:
        # What has been learned of the template is compiled code; another process learns it again.
        return HFRenderer, (self.tokenizer, self.config, self.cache)

    @cached_property
    def template(self) -> HFTemplate:
        return HFTemplate(self.config, self.tokenizer.special_tokens, self.cache)

    @cached_property
    def encoder(self) -> TemplateEncoder:
        return TemplateEncoder(self.tokenizer)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        ids = [self.tokenizer.backend.token_to_id(name) for name in self.template.turn_ends()]
        return frozenset(token for token in ids if token is not None)

    @cached_property
    def header_ids(self) -> frozenset[int]:
        (prompt,) = self.render_prompts([Conversation((message("user", "word"),))])
        bos = self.tokenizer.backend.token_to_id(self.config.token("bos_token"))
        special = set(self.tokenizer.special_tokens.values())
        return frozenset(special.intersection(prompt.ids.tolist()) - self.stop_ids - {bos})

    @cached_property
    def call_format(self) -> CallFormat | None:
        """How the template writes calls; None where it shows none, or in a way that cannot be read back."""
        turns = []
        for conversation in probe_conversations():
            try:
                layout = self._job(0, self.template.source.adapted(conversation)[0], True, ()).layout
            except ValueError:
                turns.append("")
                continue
            _, start, stop = layout.turns_K3.tolist()[-1]
            text = layout.text[start:stop]
            turns.append(text.removesuffix(max(filter(text.endswith, self.template.turn_ends()), key=len, default="")))
        return learn_call_format(*turns)

    def fingerprint(self) -> str:
        tokens = {name: self.config.token(name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
        settings = (self.config.settings.template_settings, self.config.settings.fold_system)
        return fingerprint(RENDERING, self.tokenizer.fingerprint(), self.config.template, tokens, settings)

    def render_rows(
        self, conversations: Sequence[Conversation], train_on: TrainOn = "assistant", spans: bool = False
    ) -> list[list[Rendered] | ValueError]:
        """For each conversation its verified examples, or why it cannot be trained on; several where the template
        writes a turn differently once others follow, so that each turn is trained by itself."""
        check_train_on(train_on)
        rows: list[list[Rendered] | ValueError] = [[] for _ in conversations]
        jobs: list[_Job] = []
        for row, conversation in enumerate(conversations):
            try:
                check_marks(conversation, train_on)
                jobs += self._jobs(row, conversation, train_on == "last_assistant")
            except ValueError as error:
                rows[row] = error
        while jobs:
            finished = zip(jobs, self._examples(jobs, train_on, spans), strict=True)
            jobs = []
            for job, job_examples in finished:
                row_examples = rows[job.row]
                if isinstance(row_examples, ValueError):
                    continue
                try:
                    if isinstance(job_examples, HistoryDependentTemplate):
                        jobs += self._per_turn(job.row, job.conversation, job.notes)
                    elif isinstance(job_examples, ValueError):
                        rows[job.row] = job_examples
                    else:
                        row_examples += job_examples
                except ValueError as error:
                    rows[job.row] = error
        named = zip(rows, conversations, strict=True)
        return [with_name(row, conversation) if isinstance(row, ValueError) else row for row, conversation in named]

    def _jobs(self, row: int, conversation: Conversation, last: bool) -> list[_Job]:
        check(conversation)
        check_answers(conversation)
        answers = trained_turns(conversation)
        if not answers:
            raise VerificationError("no assistant message to train on")
        if last:
            conversation = replace(conversation, messages=conversation.messages[: answers[-1] + 1])
        conversation, notes = self.template.source.adapted(conversation)
        try:
            try:
                return [self._job(row, conversation, last, notes)]
            except HistoryDependentTemplate:
                return self._per_turn(row, conversation, notes)
        except VerificationError as error:
            first = next(turn.role for turn in conversation.messages if turn.role != "system")
            if first != "assistant":
                raise
            raise VerificationError(_OPENING, str(error), error.text) from error

    def _job(self, row: int, conversation: Conversation, last: bool, notes: tuple[str, ...]) -> _Job:
        layout, cached = self.template.layout(conversation, last)
        return _Job(row, conversation, layout, last, cached, notes)

    def _per_turn(self, row: int, conversation: Conversation, notes: tuple[str, ...]) -> list[_Job]:
        """Each trained turn as the last of a conversation of its own."""
        return [
            self._job(row, replace(conversation, messages=conversation.messages[: number + 1]), True, notes)
            for number in trained_turns(conversation)
        ]

    def _examples(self, jobs: Sequence[_Job], train_on: TrainOn, spans: bool) -> Iterator[list[Rendered] | ValueError]:
        """The verified examples of each job, or why there are none.

        Many texts are encoded and verified end to end; where that is impossible or fails, each alone."""
        for start in range(0, len(jobs), _AT_ONCE):
            chunk = jobs[start : start + _AT_ONCE]
            together = self._examples_together(chunk, train_on, spans)
            if together is not None:
                yield from together
                continue
            for job, encoded in zip(chunk, self.encoder.encode([job.layout.text for job in chunk]), strict=True):
                try:
                    yield self._examples_alone(job, encoded, train_on, spans)
                except ValueError as error:
                    yield error

    def _examples_together(self, jobs: Sequence[_Job], train_on: TrainOn, spans: bool) -> list[list[Rendered]] | None:
        encoded = self.encoder.encode_concatenated([job.layout.text for job in jobs])
        layout = concatenate([job.layout for job in jobs])
        if encoded is None or not self._prompts_agree(layout, encoded):
            return None
        try:
            return self._verified(jobs, layout, encoded, train_on, spans)
        except VerificationError:
            return None

    def _examples_alone(self, job: _Job, encoded: Encoded, train_on: TrainOn, spans: bool) -> list[Rendered]:
        layout = job.layout
        if not self._prompts_agree(layout, encoded):
            if not job.last:
                raise HistoryDependentTemplate(_CROSSES_START)
            if not self.encoder.splits_at_special:
                raise VerificationError(_CROSSES_START, "", layout.text)
            encoded = self.encoder.encode_split(layout.text, int(layout.turns_K3[0, 1]))
        return self._verified([job], layout, encoded, train_on, spans)[0]

    def _verified(
        self, jobs: Sequence[_Job], layout: Layout, encoded: Encoded, train_on: TrainOn, spans: bool
    ) -> list[list[Rendered]]:
        conversations = [job.conversation for job in jobs] if spans else None
        rendered = assemble(layout, encoded, train_on, conversations)
        verify(rendered, layout, encoded, self.encoder.table, self.stop_ids, train_on)
        rows = examples(rendered, layout, encoded, train_on)
        if any(job.notes for job in jobs):
            noted = zip(rows, jobs, strict=True)
            rows = [[replace(one, notes=job.notes) for one in row] if job.notes else row for row, job in noted]
        return rows

    def _prompts_agree(self, layout: Layout, encoded: Encoded) -> bool:
        """Whether the ids up to each answer are the ids of the prompt for it, and no token crosses the prompt's end.

        Where ids do not depend on what precedes a special token, only the tail of each prompt is encoded, from
        its last special token on: for "<|im_start|>assistant\\n" the tail "assistant\\n".
        """
        ids, starts_K = encoded.ids, layout.turns_K3[:, 1]
        places_K, firsts_K = encoded.places(starts_K), encoded.firsts(starts_K)
        if np.any(encoded.ends[firsts_K[firsts_K > 0] - 1] > places_K[firsts_K > 0]):
            return False
        if not self.encoder.splits_at_special:
            assert len(layout.rows_R) == 1, "a prompt is the beginning of a text"
            prompts = self.encoder.encode([layout.text[:start] for start in starts_K.tolist()])
            return all(np.array_equal(ids[:first], prompt.ids) for first, prompt in zip(firsts_K, prompts, strict=True))
        # The first token of the tail of each prompt: after the last special token or conversation start before it. With
        # those at edges [0, 5, 9] and answers that begin at tokens [7, 12], the tails are tokens 5 to 7 and 9 to 12.
        specials = np.flatnonzero(self.encoder.table.is_special[ids])
        edges = np.union1d(encoded.firsts(layout.rows_R), specials + 1)
        tails_K = edges[np.searchsorted(edges, firsts_K, side="right") - 1]
        begins_K = np.where(tails_K < firsts_K, encoded.begins[np.minimum(tails_K, len(ids) - 1)], places_K)
        tails = encoded.slices(begins_K.tolist(), places_K.tolist())
        bounds = zip(tails_K.tolist(), firsts_K.tolist(), strict=True)
        return all(
            ids[tail:first].tobytes() == self._tail_ids(text) for (tail, first), text in zip(bounds, tails, strict=True)
        )

    @cached_property
    def _tails(self) -> dict[str, bytes]:
        return {}

    def _tail_ids(self, tail: str) -> bytes:
        """The ids of the tail of a prompt; cached, because most templates always write the same one."""
        ids = self._tails.get(tail)
        if ids is None:
            ids = self.encoder.encode([tail])[0].ids.tobytes()
            if len(self._tails) < _MAX_TAILS:
                self._tails[tail] = ids
        return ids

    def render_prompts(self, conversations: Sequence[Conversation], spans: bool = False) -> list[Rendered]:
        """What generation continues from: the conversations so far and what the template opens an answer with."""
        layouts = []
        for conversation in conversations:
            try:
                check(conversation)
                layouts.append(self.template.prompt_layout(self.template.source.adapted(conversation)[0]))
            except ValueError as error:
                raise with_name(error, conversation) from error
        rows = self.encoder.encode([layout.text for layout in layouts])
        return [
            assemble(layout, encoded, "assistant", [conversation] if spans else None)
            for layout, encoded, conversation in zip(layouts, rows, conversations, strict=True)
        ]

    def explain(self, conversation: Conversation, train_on: TrainOn = "assistant") -> Explanation:
        last = train_on == "last_assistant"
        try:
            jobs = self._jobs(0, conversation, last)
            plans = [(job, self.template.plan(job.conversation, job.last)) for job in jobs]
        except ValueError as error:
            return Explanation("hf", refused=str(with_name(error, conversation)))
        turns = [
            TrainedTurn(turn.message, job.layout.text[header:start], turn.end_token, turn.end_rule)
            for job, plan in plans
            for turn, (header, start, _) in zip(plan.turns, job.layout.turns_K3.tolist(), strict=True)
        ]
        (row,) = self.render_rows([conversation], train_on)
        refused = str(row) if isinstance(row, ValueError) else ""
        outline, cached = jobs[-1].layout.outline(), all(job.cached for job in jobs)
        return Explanation("hf", outline, tuple(turns), cached, refused, jobs[-1].notes)

    def parse(self, ids: Sequence[int] | np.ndarray) -> Message:
        """Generated ids as an assistant message; reads up to the first end token, which may be missing. Reasoning is
        found by <think>, tool calls by <tool_call> or as the template writes them (call_format.py); what is written in
        another form stays text."""
        tokens = np.asarray(ids, np.int64).reshape(-1)
        ends = np.flatnonzero(np.isin(tokens, list(self.stop_ids)))
        text = self.tokenizer.decode(tokens[: ends[0]] if len(ends) else tokens)
        if self.template.source.opens_thought:
            text = f"<think>\n{text}"
        parts: list[Part] = []
        if thought := _THOUGHT.match(text):
            parts += [Reasoning(thought[1])] if thought[1].strip() else []
            text = text[thought.end() :]
        other = self.call_format
        if other is not None and not other.marker.startswith("<tool_call>") and (read := other.parse(text)):
            before, calls, after = read
            said = f"{before}{after}"
            return Message("assistant", (*parts, *([Text(said)] if said.strip() else []), *calls))
        position, calls = 0, []
        for written in _CALL.finditer(text):
            if call := parse_call(written[1]):
                parts += [Text(text[position : written.start()])] if text[position : written.start()].strip() else []
                calls.append(call)
                position = written.end()
        parts += [Text(text[position:])] if text[position:] else []
        return Message("assistant", (*parts, *calls))
