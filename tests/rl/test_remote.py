"""Samples from an endpoint: of the weights that are trained, or of older ones by a bound, and what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_recipe import run_quietly
from tiny_rl import kill_after, log_of

from tutelage.config import SettingsError
from tutelage.engine.remote import RemoteRequest
from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.weights_digest import weights_digest
from tutelage.model.hub import load_model
from tutelage.model.transformer import Transformer
from tutelage.records import Task
from tutelage.rl.prompts import DrawnPrompt, Prompt
from tutelage.rl.remote import RemoteEngineSettings, RemoteMismatch, RemoteWriter
from tutelage.rl.reward_settings import FunctionReward
from tutelage.runner import Run
from tutelage.stages.grpo import Grpo

MakeRun = Callable[..., Run]
STOP = 9


@contextmanager
def server(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Tutelage's own server over the chat stage of a run; the settings that sample there, one request at a time."""
    served = pytest.importorskip("served", reason="the extra serve is not installed")
    monkeypatch.setenv("SAMPLER_KEY", "sesame-open-the-door")
    settings = served.ServeSettings(api_key="sesame-open-the-door", weights_from=str(run.folder))
    with served.serving({"chat": load_model(run.folder / "chat")}, settings) as running:
        at = {"url": f"{running.url}/v1", "model": "chat", "key_variable": "SAMPLER_KEY"}
        yield [f"engine.{name}='{value}'" for name, value in at.items()] + ["engine.parallel=1", "steps=4"]


def test_each_rollout_is_of_the_weights_that_are_trained(rl_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = rl_run("grpo")
    with server(run, monkeypatch) as settings:
        log = log_of(run_quietly(rl_run("grpo", *settings, "lr=3e-3"), "grpo"), "grpo")
    assert [line["ratio"] for line in log] == pytest.approx([1.0] * 4, abs=1e-6)
    assert [line["mismatch"] for line in log] == pytest.approx([0.0] * 4, abs=1e-6)
    assert log[-1]["kl_k2"] > 1e-4  # the weights that are trained moved, and those at the endpoint with them
    assert not any("staleness" in line for line in log)


def test_pain_58_stale_samples_are_bounded_weighted_and_resumed_bit_for_bit(
    rl_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """miles PR 1829. Two rollouts ahead, in parts of 8 tokens; the run is killed, and resumed with a server that knows
    nothing of it."""
    stale = [
        "engine.staleness=2",
        "engine.part_tokens=8",
        "lr=3e-3",
        "checkpoint_seconds=0",
        "minibatches=2",
        "steps=6",
    ]
    runs = {}
    for name in ("whole", "killed"):
        run = rl_run("grpo", name=name)
        if name == "killed":
            with server(run, monkeypatch) as settings, kill_after(3, monkeypatch):
                run_quietly(rl_run("grpo", *settings, *stale, name=name), "grpo")
            assert list((run.folder / "grpo" / "rollouts").glob("ahead-*.json"))
        with server(run, monkeypatch) as settings:
            runs[name] = run_quietly(rl_run("grpo", *settings, *stale, name=name), "grpo")
    log = log_of(runs["whole"], "grpo")
    ages = [line["staleness"] for line in log if "staleness" in line]
    assert len(ages) == 2  # of three rollouts; the first is of the present weights
    assert 0 < ages[0] <= 1 < ages[1] <= 2
    assert log[0]["mismatch"] == pytest.approx(0, abs=1e-6)
    assert log[-1]["mismatch"] > 1e-5
    for file in ("train.jsonl", "model.safetensors"):
        one, other = ((run.folder / "grpo" / file).read_bytes() for run in runs.values())
        assert one == other, file


class Endpoint:
    """Writes the tokens 1, 2, 3 ... of each sample, then the stop token; log-probabilities tell the weights."""

    client = SimpleNamespace(settings=SimpleNamespace(url="http://nowhere/v1"))

    def __init__(self, lengths: dict[int, int]) -> None:
        self.lengths, self.digest, self.waiting = lengths, "", list[RemoteRequest]()
        self.asked: list[list[tuple[int, int]]] = []
        self.change: Callable[[RemoteRequest], None] = lambda request: None

    def add(self, ids: list[int], stops: frozenset[int], settings: SamplingSettings, prompt: int, sample: int,
            position: int) -> RemoteRequest:  # fmt: skip
        assert ids[3:] == list(range(1, position + 1))
        left = self.lengths[prompt] - position
        count = min(left, settings.max_tokens)
        tokens = list(range(position + 1, position + count + 1))
        ended = count == left
        tokens = [*tokens[:-1], STOP] if ended else tokens
        logprob = -float(self.digest)
        generation = Generation(
            tokens, [logprob] * count, [logprob] * count, "stop" if ended else "length", STOP if ended else None,
            self.digest,
        )  # fmt: skip
        self.waiting.append(RemoteRequest(ids, settings, stops, {}, generation, exact=True))
        self.change(self.waiting[-1])
        return self.waiting[-1]

    def run(self) -> None:
        self.asked.append([(len(r.prompt) - 3, len(r.generation.tokens)) for r in self.waiting])
        self.waiting = []


def writer(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> RemoteWriter:
    monkeypatch.setattr("tutelage.rl.remote.weights_digest", lambda model: model)

    def publish(model: Any, folder: Path) -> None:
        assert list(folder.iterdir()) == []
        endpoint.digest = model

    of_endpoint = RemoteEngineSettings(url="http://nowhere/v1", model="m", **settings)
    sampling = SamplingSettings(temperature=1.0, max_tokens=20)
    return RemoteWriter(endpoint, of_endpoint, sampling, frozenset({STOP}), 1, tmp_path / "w", publish)  # type: ignore[arg-type]


def drawn(number: int) -> DrawnPrompt:
    return DrawnPrompt("q", Prompt(Task((), None, ""), np.zeros(3, np.int32), np.zeros(3, np.uint8), 0), number)


def test_a_long_answer_is_paused_and_goes_on_with_newer_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a long answer before its rollout is due, each token has the log-probability of the weights that
    wrote it, and the state of unfinished samples is all that a resumed run needs."""
    endpoint = Endpoint({0: 4, 1: 3, 2: 14})
    one = writer(endpoint, tmp_path, monkeypatch, staleness=2, part_tokens=5)
    ((first,),) = one.write("1", [drawn(0)], 0)  # type: ignore[arg-type]
    assert (first.generation.tokens, first.age) == ([1, 2, 3, STOP], 0)
    one.begin([drawn(1), drawn(2)], 0)
    state = one.state()
    assert endpoint.asked[-1] == [(0, 3), (0, 5)]  # the short one is done, the long one is paused
    again = writer(endpoint, tmp_path, monkeypatch, staleness=2, part_tokens=5)
    again.restore(state)
    ((second,),) = again.write("2", [drawn(1)], 1)  # type: ignore[arg-type]
    assert (second.generation.sample_logprobs, second.age) == ([-1.0] * 3, 1)
    again.begin([drawn(2)], 1)
    again.wait()
    assert endpoint.asked[-1] == [(5, 5)]
    ((third,),) = again.write("3", [drawn(2)], 2)  # type: ignore[arg-type]
    assert endpoint.asked[-1] == [(10, 4)]
    assert third.generation.sample_logprobs == [-1.0] * 5 + [-2.0] * 5 + [-3.0] * 4
    assert (third.generation.tokens[-1], third.generation.stop_token, third.age) == (STOP, STOP, 2)
    assert again.drafts == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda request: setattr(request.generation, "weights", "8"), "written by the weights 8, .* are 1"),
        (lambda request: setattr(request, "exact", False), "sent no ids, or no log-probabilities"),
        (lambda request: setattr(request.generation, "sample_logprobs", []), "sent no ids, or no log-probabilities"),
        (lambda request: setattr(request.generation, "sample_logprobs", [float("nan")] * 4), "another temperature"),
        (lambda request: setattr(request.generation, "stop_token", None), "without its stop token"),
    ],
)
def test_pains_2_and_44_an_answer_that_cannot_be_trained_on_is_refused(
    change: Callable[[RemoteRequest], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint({0: 4})
    endpoint.change = change
    one = writer(endpoint, tmp_path, monkeypatch)
    with pytest.raises(RemoteMismatch, match=said):
        one.write("1", [drawn(0)], 0)  # type: ignore[arg-type]
    one.begin([drawn(0)], 0)
    with pytest.raises(RemoteMismatch, match=said):  # of the thread that begins later rollouts
        one.state()


FOLDERS: list[str] = []


def reload(folder: Path) -> None:
    """A hook that remembers the weights that it was given."""
    FOLDERS.append(weights_digest(load_model(folder).model))


def test_a_hook_gets_the_folder_of_a_model(rl_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first weights are those that the server has; then nothing reloads it, and `mismatch` tells."""
    FOLDERS.clear()
    run = rl_run("grpo")
    with server(run, monkeypatch) as settings:
        settings += [f"engine.reload='{__name__}:reload'", "lr=3e-3"]
        log = log_of(run_quietly(rl_run("grpo", *settings), "grpo"), "grpo")
    assert len(set(FOLDERS)) == len(FOLDERS) == 4
    assert FOLDERS[0] == weights_digest(load_model(run.folder / "chat").model)
    assert log[0]["mismatch"] == pytest.approx(0, abs=1e-6)
    assert log[-1]["mismatch"] > 1e-5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": 0.8}, "endpoints send the log-probabilities of temperature 1"),
        ({"environment": "a:b"}, "cannot be paused"),
        ({"importance_cap": None}, "samples of older weights must be weighted"),
    ],
)
def test_pain_58_what_cannot_work_with_an_endpoint_is_refused(settings: dict[str, Any], said: str) -> None:
    engine = RemoteEngineSettings(url="http://nowhere/v1", model="m", staleness=1)
    with pytest.raises(SettingsError, match=said):
        Grpo(
            parent="c", data={"q": 1.0}, rewards={"r": FunctionReward(name="a:b")}, engine=engine, **settings,
        )  # fmt: skip


def test_a_head_does_not_change_the_digest(tales_run: Run) -> None:
    """PPO's policy has a head that the sampler lacks."""
    model: Transformer = load_model(tales_run.folder / "chat").model
    before = weights_digest(model)
    model.set_head("value", torch.ones(1, model.config.width))
    assert weights_digest(model) == before
