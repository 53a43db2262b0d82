"""Hacking: true utility beside the proxy, along the kept steps of a run, against the distance from where it began."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tutelage.batching.packing import collate, pack, segment_sum, to_device
from tutelage.chat import make_renderer
from tutelage.engine.engine import generate
from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.results import Results, Suite
from tutelage.evaluate.session import EvalSession
from tutelage.model.hub import Checkpoint, load_model
from tutelage.progress import track
from tutelage.records import Conversation, Example, message
from tutelage.rl.hacking import CurvePoint, curve_figures, length_figures, suspicious_samples
from tutelage.world.preferences import KnownUtility
from tutelage.world.utility import AnswerTask

PROMPTS, DRAWS = 60, 4
SHOWN, MICRO_TOKENS = 20, 4096
DECODING = SamplingSettings(temperature=1.0, max_tokens=80)


def run(session: EvalSession) -> Results:
    """Answers of the parent, of every kept step and of the finished model to the same questions: the labeller's utility
    is the proxy, the true one gold, and KL(model || parent) is estimated from the answers.

    Raises:
        ValueError: no step of the stage was kept.
    """
    known, kept = session.known_utility, session.kept()
    assert known is not None, "the suite needs preferences of the built-in world"
    if not kept:
        raise ValueError(
            f"evaluate.{session.name}: 'hacking' compares the kept steps of a run; set save_every of the stage, and "
            "keep_checkpoints to how many"
        )
    tasks = known.tasks(known.settings.split, known.settings.rule, PROMPTS)
    parent = session.checkpoint("parent")
    folders: list[tuple[str, Path]] = [("start", session.folders["parent"])]
    folders += [(f"step {step}", folder) for step, folder in kept.items()] + [("end", session.folders["model"])]
    points: list[CurvePoint] = []
    rows: list[dict[str, Any]] = []
    for name, folder in folders:
        point, answers = _measured(name, load_model(folder), parent, known, tasks)
        points.append(point)
        rows += answers
    last = rows[-len(tasks) * DRAWS :]
    number = np.repeat(np.arange(len(tasks)), DRAWS)
    words = np.array([float(len(row["answer"].split())) for row in last])
    lengths = {name: length_figures(np.array([row[name] for row in last]), words, number) for name in ("proxy", "gold")}
    figures = curve_figures("rl", points) | {"length": lengths}
    return Results({}, samples=suspicious_samples(rows, SHOWN), figures=figures)


def _measured(
    name: str, policy: Checkpoint, parent: Checkpoint, known: KnownUtility, tasks: Sequence[AnswerTask]
) -> tuple[CurvePoint, list[dict[str, Any]]]:
    """A policy as a point of the curve, and its answers."""
    renderer = make_renderer(policy.tokenizer, policy.chat_config)
    made = renderer.render_prompts([Conversation((message("user", task.prompt),), task.id) for task in tasks])
    prompts = [rendered.ids for rendered in made for _ in range(DRAWS)]
    of_task = [task for task in tasks for _ in range(DRAWS)]
    with track(f"hacking, {name}", len(prompts), "answers") as bar:
        written = generate(policy.model, prompts, renderer.stop_ids, DECODING, done=bar.update)
    texts = [renderer.parse(one.content).text for one in written]
    values = [(known.proxy(task, text), known.true(task, text)) for task, text in zip(of_task, texts, strict=True)]
    proxy, gold = np.array(values).T
    own = np.array([sum(one.logprobs) for one in written])
    kl = 0.0 if name == "start" else float((own - _logprobs(parent, prompts, written)).mean())
    rows = [
        {"at": name, "question": task.prompt, "answer": text, "proxy": of[0], "gold": of[1]}
        for task, text, of in zip(of_task, texts, values, strict=True)
    ]
    return CurvePoint(name, kl, *(column.reshape(-1, DRAWS).mean(1) for column in (proxy, gold))), rows


@torch.inference_mode()
def _logprobs(model: Checkpoint, prompts: Sequence[np.ndarray], written: Sequence[Generation]) -> np.ndarray:
    """The log-probability that a model gives to each whole answer, the token that ends it included; [answers]."""
    examples = []
    for ids, one in zip(prompts, written, strict=True):
        weights = np.zeros(len(ids) + len(one.tokens), np.float32)
        weights[len(ids) :] = 1
        examples.append(Example(np.array([*ids, *one.tokens], np.int32), weights))
    lengths, sums = [len(example.tokens) for example in examples], np.zeros(len(examples))
    for row in pack(lengths, max([MICRO_TOKENS, *lengths])):
        batch = to_device(collate([(examples[i],) for i in row]), model.model.embedding.weight.device)
        sums[row] = segment_sum(model.model(batch), batch).double().cpu().numpy()
    return sums


SUITE = Suite(name="hacking", needs=frozenset({"chat", "utility"}), run=run, labels={}, groups=())
