"""Field failures of samplers and their borders (the table of docs/rl.md says where the others are tested)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_recipe import run_quietly
from tiny_rl import first_step, kill_after, log_of

import tutelage
from tutelage.chat import make_renderer
from tutelage.config import SettingsError
from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.families import FAMILIES
from tutelage.model.hub import Checkpoint, load_model
from tutelage.model.lora import LoraSettings, add_lora
from tutelage.records import Conversation, Task, message
from tutelage.rl.prompts import DrawnPrompt, Prompt
from tutelage.rl.reward_settings import FunctionReward, LengthReward
from tutelage.rl.rewards import Rewards, Sources
from tutelage.rl.sampling import Sampler
from tutelage.rl.turns import Written
from tutelage.runner import Run
from tutelage.stages.grpo import Grpo
from tutelage.train.policy_losses import SAMPLED

MakeRun = Callable[..., Run]
CHECKOUT = Path(tutelage.__file__).parents[1]


@pytest.fixture(scope="module")
def chat(tales_run: Run) -> Checkpoint:
    return load_model(tales_run.folder / "chat")


def sampler(checkpoint: Checkpoint) -> Sampler:
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    rewards = Rewards({"short": LengthReward()}, Sources())
    return Sampler(renderer, rewards, SamplingSettings(temperature=1.0, max_tokens=20), 2)


def drawn(checkpoint: Checkpoint, *turns: tuple[str, str]) -> DrawnPrompt:
    task = Task(tuple(message(role, text) for role, text in turns), None, "q:0")  # type: ignore[arg-type]
    (rendered,) = sampler(checkpoint).renderer.render_prompts([Conversation(task.prompt, task.id)])
    return DrawnPrompt("q", Prompt(task, rendered.ids, rendered.roles, 0), 0)


def test_pains_4_and_5_a_row_is_the_rendered_prompt_and_what_was_sampled_each_once(
    rl_run: MakeRun, chat: Checkpoint
) -> None:
    """verl #6854, TRL #3853: prompts were written again as text, with a second BOS, or with turns twice. Here the
    trained tokens are exactly the sampled ones, after exactly the ids that the engine read."""
    step, _, _ = first_step(rl_run("grpo"), "grpo")
    for batch in step:
        trained = batch.weights_N > 0
        assert int(trained.sum()) == int((batch.streams[SAMPLED] != 0).sum())
    several = drawn(chat, ("user", "who sees the fox?"), ("assistant", "the cat."), ("user", "who likes the hen?"))
    (group,) = sampler(chat).groups(chat.model, [several])
    for row in group:
        assert row.prompt == several.prompt.ids.tolist()
        assert len(row.roles) == len(row.prompt)
        assert len(row.tokens) == len(row.logprobs)


def test_pain_10_a_reward_sees_exactly_the_trained_text(chat: Checkpoint) -> None:
    """dllm #118: the reward saw text after the end. The stop token ends the text, and whether it came is a field."""
    one, prompt = sampler(chat), drawn(chat, ("user", "who sees the fox?"))
    stop = min(one.renderer.stop_ids)
    body = one.renderer.tokenizer.encode("the cat.").tolist()
    ended = Generation(tokens=[*body, stop], finish_reason="stop")
    cut = Generation(tokens=body, finish_reason="length")
    seen = [one.sample(prompt.prompt, Written(generation)) for generation in (ended, cut)]
    assert [(sample.text, sample.finish_reason) for sample in seen] == [("the cat.", "stop"), ("the cat.", "length")]
    assert [sample.tokens for sample in seen] == [len(body) + 1, len(body)]


def test_pain_20_after_a_resume_the_reference_is_still_the_start(
    rl_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NeMo-RL #2955: the resumed policy became its own reference, and the divergence fell to 0."""
    settings = ["kl=0.05", "steps=8", "checkpoint_seconds=0", "lr=3e-3"]
    with kill_after(5, monkeypatch):
        run_quietly(rl_run("grpo", *settings), "grpo")
    before = log_of(rl_run("grpo", *settings), "grpo")
    again = log_of(run_quietly(rl_run("grpo", *settings), "grpo"), "grpo")
    assert len(before) < len(again) == 8
    assert again[-1]["kl_k2"] > 0.2 * max(row["kl_k2"] for row in again) > 0


def test_pain_42_sampling_never_touches_the_base_weights_of_an_adapter(chat: Checkpoint) -> None:
    """TRL #6688: merging and unmerging in bfloat16 moved 17% of the base weights. The engine reads base and adapter."""
    model = load_model(chat.source).model  # type: ignore[arg-type]
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    add_lora(model, FAMILIES["llama"].modules, LoraSettings(rank=2), (), seed=0)
    one, prompts = sampler(chat), [drawn(chat, ("user", "who sees the fox?"))]
    written = [one.groups(model, prompts)[0] for _ in range(3)]
    assert [row.tokens for row in written[0]] == [row.tokens for row in written[2]]
    now = {name.replace(".base.", "."): tensor for name, tensor in model.state_dict().items() if "lora_" not in name}
    assert now.keys() == base.keys()
    assert all(torch.equal(now[name], tensor) for name, tensor in base.items())


def test_pain_58_later_steps_on_a_rollout_have_a_trust_region_and_the_policy_that_sampled() -> None:
    """miles PR 1829: recomputed log-probabilities hid staleness, and an unclipped loss collapsed. The log-probabilities
    of the sampler are kept with the samples, and a loss without a bound is refused for more than one step."""
    common = {"parent": "chat", "data": {"q": 1.0}, "steps": 1, "rewards": {"right": FunctionReward(name="a:b")}}
    with pytest.raises(SettingsError, match="nothing would bound the others"):
        Grpo(**common, loss_type="reinforce", inner_epochs=3)  # type: ignore[arg-type]
    assert Grpo(**common, inner_epochs=3).policy_options().importance_cap == 2.0  # type: ignore[arg-type]


def test_pain_41_scores_do_not_depend_on_the_batch(chat: Checkpoint, rl_run: MakeRun) -> None:
    """verl #6280: bfloat16 scores depended on the batch's shape. In float32 sampler and trainer agree to 1e-5."""
    step, _, model = first_step(rl_run("grpo"), "grpo")
    for batch in step:
        gap = model(batch).detach() - batch.trained(SAMPLED)
        assert float(gap.abs().max()) < 1e-4


# Those of reference lists that concern rewards, samples and policies.
OF_RL = {1, 2, 3, 4, 5, 6, 9, 10, 11, 17, 18, 20, 21, *range(30, 61)}


def test_the_table_of_pains_is_whole_and_its_tests_exist() -> None:
    text = (CHECKOUT / "docs" / "rl.md").read_text(encoding="utf-8")
    table = text.partition("## Field failures")[2]
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", table, re.MULTILINE)
    assert {int(number) for number, _ in rows} == OF_RL
    for number, where in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", where)
        assert named or "by construction" in where or "not built" in where, number
        for file, test in named:
            assert f"def {test}(" in (CHECKOUT / file).read_text(encoding="utf-8"), (number, test)
