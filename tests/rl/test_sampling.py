"""Samples are of the weights that are trained, token for token, and why a group teaches nothing is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_recipe import run_quietly
from tiny_rl import log_of

from tutelage.chat import make_renderer
from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.hub import Checkpoint, load_model
from tutelage.records import Conversation, Example, Schema, Stream, Task, message
from tutelage.rl.figures import no_signal_reason, rollout_figures
from tutelage.rl.prompts import DrawnPrompt, Prompt, draw_prompts, read_cursors, write_cursors
from tutelage.rl.reward_settings import LengthReward
from tutelage.rl.rewards import Rewards, Sources
from tutelage.rl.rollout_files import digest_of, from_tensors, to_tensors
from tutelage.rl.sampling import Sampler, SamplerMismatch, SampleRow, check_weights, opened_reasoning
from tutelage.runner import Run

MakeRun = Callable[..., Run]


@pytest.fixture(scope="module")
def chat(tales_run: Run) -> Checkpoint:
    return load_model(tales_run.folder / "chat")


def sampler(checkpoint: Checkpoint, **settings: float) -> Sampler:
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    sampling = SamplingSettings(**{"temperature": 1.0, "max_tokens": 30, **settings})  # type: ignore[arg-type]
    return Sampler(renderer, Rewards({"short": LengthReward()}, Sources()), sampling, 3)


def drawn(checkpoint: Checkpoint, *texts: str) -> list[DrawnPrompt]:
    made = []
    for number, text in enumerate(texts):
        task = Task((message("user", text),), None, f"q:{number}")
        renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
        (rendered,) = renderer.render_prompts([Conversation(task.prompt, task.id)])
        made.append(DrawnPrompt("q", Prompt(task, rendered.ids, rendered.roles, number), number))
    return made


def test_pains_1_and_3_every_sampled_token_is_there_once_the_stop_token_included(chat: Checkpoint) -> None:
    """nanochat #810: the stop was never rewarded. TRL #5224: answers were decoded and encoded again."""
    one = sampler(chat)
    groups = one.groups(chat.model, drawn(chat, "who sees the fox?", "who likes the hen?"))
    rows = [row for group in groups for row in group]
    assert [len(group) for group in groups] == [3, 3]
    ended = [row for row in rows if row.finish_reason == "stop"]
    assert ended
    for row in rows:
        assert len(row.tokens) == len(row.logprobs)
        assert (row.tokens[-1] in one.renderer.stop_ids) == (row.finish_reason == "stop")
        assert row.text == one.renderer.parse([t for t in row.tokens if t not in one.renderer.stop_ids]).text


def test_pain_45_samples_depend_on_seed_prompt_and_number_alone(chat: Checkpoint) -> None:
    """vLLM #11953: all replicas shared a seed. In a crowd, in another order and alone the samples are the same."""
    one, prompts = sampler(chat), drawn(chat, "who sees the fox?", "who likes the hen?", "who hears the owl?")
    together = one.groups(chat.model, prompts)
    tokens = [row.tokens for group in together for row in group]
    assert len({tuple(row) for row in tokens}) > 3
    for prompt, group in zip(prompts, together, strict=True):
        (alone,) = one.groups(chat.model, [prompt])
        assert [row.tokens for row in alone] == [row.tokens for row in group]
    other = sampler(chat, seed=1).groups(chat.model, prompts)
    assert [row.tokens for group in other for row in group] != tokens


def test_pain_44_samples_of_other_weights_are_refused() -> None:
    """TRL #5312: weights that were not sent again, or requests that ran during an update."""
    check_weights([Generation(weights="abc")], "abc")
    with pytest.raises(SamplerMismatch, match="written by the weights old, and the weights that are trained are new"):
        check_weights([Generation(weights="new"), Generation(weights="old")], "new")


def test_pain_43_after_the_weights_have_changed_samples_are_of_the_new_ones(chat: Checkpoint) -> None:
    """TRL #3024: a cache keyed by text alone served keys of old weights."""
    checkpoint = replace(chat, model=load_model(chat.source).model)  # type: ignore[arg-type]
    one, prompts = sampler(checkpoint), drawn(checkpoint, "who sees the fox?")
    before = one.groups(checkpoint.model, prompts)[0]
    with torch.no_grad():
        checkpoint.model.embedding.weight.mul_(1.5)
    after = one.groups(checkpoint.model, prompts)[0]
    assert [row.logprobs for row in before] != [row.logprobs for row in after]


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [("user\nhi<think>\n", "<think>\n"), ("<think>a</think> b", ""), ("hi", ""), ("say <think> please", "")],
)
def test_reasoning_that_the_prompt_opens_belongs_to_the_answer(prompt: str, opened: str) -> None:
    class Decodes:
        def decode(self, ids: object) -> str:
            return prompt

    class Renders:
        tokenizer = Decodes()

    assert opened_reasoning(Renders(), np.zeros(1)) == opened  # type: ignore[arg-type]


def row(total: float | None, outcome: str = "", finish_reason: str = "stop", reason: str = "") -> SampleRow:
    parts = {"exact": (total, outcome)}
    return SampleRow("q", [1], [2], [2, 3], [-1.0, -1.0], finish_reason, "x", "x", total, parts, reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ([row(1, "right"), row(0, "wrong")], ""),
        ([row(1, "right"), row(1, "right")], "solved"),
        ([row(0, "wrong"), row(0, "wrong")], "unsolved"),
        ([row(0, "unparsable"), row(0, "unparsable")], "parse"),
        ([row(0, "unparsable", "length"), row(0, "wrong", "length")], "cap"),
        ([row(0, "unparsable"), row(0, "wrong")], "equal"),
        ([row(1, "right"), row(None, "timed out")], "abstained"),
    ],
)
def test_pain_57_why_a_group_has_no_signal(group: list[SampleRow], reason: str) -> None:
    """CoursIA #10603: 70% of the groups were dead, and nothing said why."""
    assert no_signal_reason(group) == reason
    figures = rollout_figures([group, [row(1, "right"), row(0, "wrong")]], "a prompt", 0.5)
    assert figures["no_signal"] == (0.5 if reason else 0)
    assert figures.get(f"no_signal.{reason}", 0) == (0.5 if reason else 0)
    assert figures["groups"] == 2


def test_pain_57_a_cap_that_cuts_every_answer_is_counted_as_such(rl_run: MakeRun) -> None:
    log = log_of(run_quietly(rl_run("grpo", "max_tokens=3", "steps=2"), "grpo"), "grpo")
    assert log[0]["finish.length"] == 1
    assert log[0]["no_signal.cap"] == log[0]["no_signal"] > 0


def test_a_run_of_which_no_sample_has_a_reward_says_why(rl_run: MakeRun) -> None:
    part = "{ kind = 'function', name = 'tiny_rl:never' }"
    with pytest.raises(ValueError, match=r"no sample of \d+ prompts has a reward \(mine: abstained\)"):
        run_quietly(rl_run("grpo", f"rewards={{ mine = {part} }}"), "grpo")


def test_pain_53_a_sample_without_a_reward_leaves_its_group(rl_run: MakeRun) -> None:
    """TRL #2737: one None made every advantage NaN. Here it is counted, and moves no baseline (pain 52)."""
    part = "{ kind = 'function', name = 'tiny_rl:now_and_then' }"
    log = log_of(run_quietly(rl_run("grpo", f"rewards={{ mine = {part} }}", "steps=2"), "grpo"), "grpo")
    assert 0 < log[0]["samples_abstained"] < 1
    assert all(np.isfinite(line["loss"]) for line in log)


def prompts_of(count: int) -> Sequence[Prompt]:
    return [Prompt(Task((), None, f"q:{n}"), np.zeros(1, np.int32), np.zeros(1, np.uint8), n) for n in range(count)]


@given(st.integers(1, 7), st.integers(1, 5), st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 3))
def test_prompts_are_drawn_by_seed_and_cursor_alone(first: int, second: int, counts: list[int], cut: int) -> None:
    sets = {"a": prompts_of(first), "b": prompts_of(second)}
    shares = {"a": 2.0, "b": 1.0}
    cursors, whole = read_cursors(None, sets), []
    for place, count in enumerate(counts):
        if place == cut:  # as after a resume
            cursors = read_cursors(write_cursors(cursors), sets)
        more, cursors = draw_prompts(sets, shares, count, 3, cursors)
        whole += more
    at_once, _ = draw_prompts(sets, shares, sum(counts), 3, read_cursors(None, sets))
    assert [(one.data, one.prompt.number, one.id) for one in at_once] == [
        (one.data, one.prompt.number, one.id) for one in whole
    ]
    assert len({one.id for one in whole}) == len(whole)
    own = [one.prompt.number for one in whole if one.data == "a"]
    assert sorted(own[:first]) == sorted(set(own[:first]))


def test_samples_on_disk_are_the_samples() -> None:
    schema = Schema({"advantage": Stream("float32")}, {"response": 0.0})
    examples = [
        Example(
            np.arange(n, dtype=np.int32), np.ones(n, np.float32), None,
            {"advantage": np.full(n, 0.1 * n, np.float32)}, {"response": 1.0},
        )
        for n in (3, 1, 5)
    ]  # fmt: skip
    again = from_tensors(to_tensors(examples, schema), schema)
    assert digest_of(again) == digest_of(examples)
    assert [one.scalars for one in again] == [one.scalars for one in examples]
    assert digest_of(examples[:2]) != digest_of(examples)
