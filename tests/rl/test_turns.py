"""Samples of several turns: what was sampled is trained, each token once; what an environment says is context."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from tiny_recipe import run_quietly
from tiny_rl import first_step, log_of, once_more

from tutelage.batching.packing import collate
from tutelage.chat import make_renderer
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.hf import HFRenderer
from tutelage.config import SettingsError
from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.hub import Checkpoint, load_model
from tutelage.records import ROLE_STREAM, ROLES, Conversation, Example, Message, Reasoning, Task, Text, message
from tutelage.rl.prompts import DrawnPrompt, Prompt
from tutelage.rl.reward_settings import FunctionReward, LengthReward
from tutelage.rl.rewards import Rewards, Sample, Sources
from tutelage.rl.sampling import Group, Sampler
from tutelage.rl.turns import Environment, Written
from tutelage.runner import Run
from tutelage.stages.environment import load_environment
from tutelage.stages.grpo import Grpo
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.tools.environment import ToolLimits, ToolState, tool_environment
from tutelage.tools.inserted import REWRITTEN, HistoryRewritten, inserted_ids
from tutelage.tools.loop import TIMED_OUT
from tutelage.train.policy_losses import SAMPLED
from tutelage.world.guessing import GUESSES, HIGHEST, guessing_tasks, next_turn

MakeRun = Callable[..., Run]
ANSWERED = "tiny_rl:once_more"


@pytest.fixture(scope="module")
def chat(tales_run: Run) -> Checkpoint:
    return load_model(tales_run.folder / "chat")


def sampler(checkpoint: Checkpoint, turn: Callable[..., Any], seconds: float = 60.0, samples: int = 3) -> Sampler:
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    settings = SamplingSettings(temperature=1.0, max_tokens=40)
    rewards = Rewards({"short": LengthReward()}, Sources())
    return Sampler(renderer, rewards, settings, samples, environment=Environment(turn, seconds))


def drawn(checkpoint: Checkpoint, *texts: str) -> list[DrawnPrompt]:
    renderer, made = make_renderer(checkpoint.tokenizer, checkpoint.chat_config), []
    for number, text in enumerate(texts):
        task = Task((message("user", text),), text, f"q:{number}")
        (rendered,) = renderer.render_prompts([Conversation(task.prompt, task.id)])
        made.append(DrawnPrompt("q", Prompt(task, rendered.ids, rendered.roles, number), number))
    return made


def test_pain_4_every_sampled_token_is_trained_once_and_nothing_that_was_inserted(chat: Checkpoint) -> None:
    """NeMo-RL PR 2822: the previous answer was trained twice. The log-probabilities that the sampler recorded are those
    of the model on the whole row, so every token of it is where it was when it was read."""
    one = sampler(chat, once_more)
    (group,) = one.groups(chat.model, drawn(chat, "who?"))
    several = [row for row in group if row.inserted]
    assert several
    for row in several:
        tokens, weights, roles = row.columns()
        assert tokens[weights > 0].tolist() == row.tokens
        assert len(row.tokens) == len(row.logprobs)
        text = one.renderer.tokenizer.decode(tokens[weights == 0])
        assert text.count("who?") == 1 + len(row.inserted)
        assert {ROLES[role] for role in roles[weights > 0]} == {"assistant"}
        (inside,) = row.inserted
        assert "user" in {ROLES[role] for role in inside.roles}
        batch = collate([(Example(tokens, weights, streams={"roles": roles}),)], ROLE_STREAM)
        with torch.no_grad():
            np.testing.assert_allclose(chat.model(batch).numpy(), row.logprobs, atol=1e-4)
    again = msgspec.convert(msgspec.msgpack.decode(msgspec.msgpack.encode([group])), list[Group])
    assert again == [group]  # as other processes get it


def test_a_slow_environment_blocks_nobody(chat: Checkpoint) -> None:
    """The first answer is only given once all other samples are answered; with one row a queue would never end."""
    others, seen = threading.Event(), set[str]()

    def patient(conversation: Conversation, state: Task) -> tuple[Sequence[Message] | None, Any]:
        if state.gold == "who?":
            assert others.wait(30)
        seen.add(str(state.gold))
        if len(seen) == 2:
            others.set()
        return None, state

    one = replace(sampler(chat, patient, samples=1), settings=SamplingSettings(max_tokens=40))
    prompts = drawn(chat, "who?", "who sees the fox?", "who likes the hen?")
    groups = one.groups(chat.model, prompts)
    assert [row.finish_reason for (row,) in groups] == ["stop"] * 3
    assert seen == {"who?", "who sees the fox?", "who likes the hen?"}


def test_a_sample_whose_environment_times_out_has_no_reward(chat: Checkpoint) -> None:
    hang = threading.Event()

    def hanging(conversation: Conversation, state: Task) -> tuple[None, Any]:
        if state.gold == "who?":
            hang.wait(30)
        return None, state

    one = replace(sampler(chat, hanging, 0.05, samples=1), settings=SamplingSettings(max_tokens=40))
    first, second = one.groups(chat.model, drawn(chat, "who?", "who sees the fox?"))
    hang.set()
    assert (first[0].total, first[0].reason) == (None, TIMED_OUT)
    assert second[0].total is not None


def test_errors_of_an_environment_and_what_cannot_follow_an_answer_are_raised(chat: Checkpoint) -> None:
    def broken(conversation: Conversation, state: Task) -> Any:
        raise KeyError("no such tool")

    with pytest.raises(KeyError, match="no such tool"):
        sampler(chat, broken).groups(chat.model, drawn(chat, "who?"))
    for messages in ([], [message("assistant", "I say.")]):
        with pytest.raises(ValueError, match="no messages, or one of the assistant"):
            sampler(chat, lambda c, s, m=messages: (m, s)).groups(chat.model, drawn(chat, "who?"))
    common: dict[str, Any] = {"parent": "c", "data": {"q": 1.0}, "rewards": {"r": FunctionReward(name="a:b")}}
    with pytest.raises(SettingsError, match="environment: 'nowhere:f' cannot be imported"):
        load_environment(Grpo(**common, environment="nowhere:f"), {}, sampler(chat, broken).renderer)
    with pytest.raises(SettingsError, match="environment_seconds is 5.0; it belongs to environment, or tools"):
        Grpo(**common, environment_seconds=5.0)


def test_a_sample_without_room_for_what_is_inserted_was_cut_off(chat: Checkpoint) -> None:
    def long(conversation: Conversation, state: Task) -> tuple[Sequence[Message], Any]:
        return [message("user", "the cat sees the fox. " * 4)], state

    rows = [row for group in sampler(chat, long).groups(chat.model, drawn(chat, "who?")) for row in group]
    assert "context" in {row.finish_reason for row in rows}
    assert all(row.cut_off and not row.inserted for row in rows)


def test_rewards_see_the_last_answer_after_all_turns_before_it(chat: Checkpoint) -> None:
    one, (prompt,) = sampler(chat, once_more, samples=8), drawn(chat, "who?")
    (written,) = one.write(chat.model, [prompt])
    seen: list[tuple[Sample, Any]] = [
        (one.sample(prompt.prompt, answer), answer) for answer in written if answer.inserted
    ]
    assert seen
    for sample, answer in seen:
        assert [turn.role for turn in sample.prompt] == ["user", "assistant", "user"]
        assert sample.prompt[-1].text == "who?"
        assert sample.tokens == len(answer.generation.tokens)
        assert sample.text == one.renderer.parse(answer.answer).text


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.reasoning_content and keeps %}"
    "<think>{{ message.reasoning_content }}</think>{% endif %}{{ message.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize("keeps", [True, False])
def test_pain_4_a_template_that_drops_earlier_reasoning_is_no_prefix_of_itself(keeps: bool) -> None:
    """verl #6854. Two turns with reasoning: what the template keeps continues the sampled ids, however they were cut;
    what it drops would be another conversation than the one that was sampled."""
    tokenizer = train(["Why? So. Sure? Let me see."] * 4, TokenizerSettings(vocab=290), ("<|im_start|>", "<|im_end|>"))
    template = CHATML.replace("and keeps", "" if keeps else "and loop.last")
    renderer = HFRenderer(tokenizer, ChatConfig(template, {"eos_token": "<|im_end|>"}))
    question = message("user", "Why?")
    (prompt,) = renderer.render_prompts([Conversation((question,))])
    sampled = [*tokenizer.encode("<think>Let me").tolist(), *tokenizer.encode(" see.</think> So.").tolist()]
    so_far = [*prompt.ids.tolist(), *sampled, tokenizer.special("<|im_end|>")]
    answer = Message("assistant", (Reasoning("Let me see."), Text("So.")))
    talk = Conversation((question, answer, message("user", "Sure?")))
    if not keeps:
        with pytest.raises(HistoryRewritten, match=REWRITTEN):
            inserted_ids(renderer, talk, so_far)
        return
    ids, roles = inserted_ids(renderer, talk, so_far)
    spelled = b"".join(map(tokenizer.token_bytes, ids)).decode()
    assert spelled.split() == ["<|im_start|>", "user", "Sure?<|im_end|>", "<|im_start|>", "assistant"]
    assert {ROLES[role] for role in roles} == {"assistant", "user"}


def test_stages_train_and_evaluate_on_several_turns(rl_run: MakeRun) -> None:
    run = run_quietly(rl_run("grpo", f"environment='{ANSWERED}'", "max_tokens=36", "evaluate_every=3"), "grpo")
    log = log_of(run, "grpo")
    assert log[0]["ratio"] == pytest.approx(1, abs=1e-6)
    assert log[0]["mismatch"] == pytest.approx(0, abs=1e-6)
    assert log[0]["turns"] > 1
    assert "eval.reward" in log[-1]
    step, _, _ = first_step(rl_run("grpo", f"environment='{ANSWERED}'", "max_tokens=36", "prompts=12"), "grpo")
    for batch in step:
        assert torch.equal(batch.weights_N > 0, batch.streams[SAMPLED] != 0)


@pytest.mark.parametrize("number", range(1, HIGHEST + 1))
def test_the_guessing_game_is_won_by_halving(number: int) -> None:
    task = list(guessing_tasks())[number - 1]
    talk, state, low, high = Conversation(task.prompt), task, 1, HIGHEST
    for _ in range(GUESSES):
        guess = (low + high) // 2
        talk = replace(talk, messages=(*talk.messages, message("assistant", f"Is it {guess}?")))
        said, state = next_turn(talk, state)
        if said is None:
            break
        low, high = (guess + 1, high) if said[0].text == "higher" else (low, guess - 1)
        talk = replace(talk, messages=(*talk.messages, *said))
    assert str(guess) == task.gold
    assert next_turn(replace(talk, messages=(*talk.messages, message("assistant", "?"))), task)[0] is None


def test_a_turn_that_writes_a_result_itself_has_no_messages_to_keep(chat: Checkpoint) -> None:
    one = sampler(chat, once_more)
    special = chat.tokenizer.special
    tokens = [special("<|result|>"), *chat.tokenizer.encode("the cat").tolist(), special("<|/result|>")]
    assert one._turns(Written(Generation([*tokens, special("<|end|>")]))) == []
    plain = [*chat.tokenizer.encode("the cat").tolist(), special("<|end|>")]
    turns = one._turns(Written(Generation(plain), (message("user", "who?"),)))
    assert [(turn["role"], turn["content"].strip()) for turn in turns] == [("user", "who?"), ("assistant", "the cat")]


def test_tools_are_an_environment(chat: Checkpoint) -> None:
    """A sample without a call ends as it does without an environment."""
    one = sampler(chat, once_more)
    tools = tool_environment([], one.renderer, ToolLimits())
    with_tools = replace(one, environment=Environment(tools, 60.0, lambda task: ToolState()))
    plain = replace(one, environment=None)
    prompts = drawn(chat, "who?", "who sees the fox?")
    rows = [[(row.tokens, row.finish_reason) for group in s.groups(chat.model, prompts) for row in group]
            for s in (with_tools, plain)]  # fmt: skip
    assert rows[0] == rows[1]
