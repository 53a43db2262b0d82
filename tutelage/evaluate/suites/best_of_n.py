"""Best-of-n: what a reward model does to the true utility as it picks from ever more answers of the policy below it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.chat import make_renderer
from tutelage.engine.engine import generate
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.results import Results, Suite
from tutelage.evaluate.session import EvalSession
from tutelage.progress import track
from tutelage.records import Conversation, message
from tutelage.rl.hacking import (
    CurvePoint,
    best_of_n,
    curve_figures,
    kl_best_of_n,
    length_figures,
    suspicious_samples,
)
from tutelage.rl.reward_model import token_scores

PROMPTS, DRAWS = 48, 64
COUNTS = (1, 2, 4, 8, 16, 32, 64)
SHOWN = 20
DECODING = SamplingSettings(temperature=1.0, max_tokens=80)


def run(session: EvalSession) -> Results:
    """Draw answers from the parent of the reward model, score them, and compute every best-of-n from them: the proxy is
    the reward model, gold is the true utility."""
    known = session.known_utility
    assert known is not None, "the suite needs preferences of the built-in world"
    policy = session.checkpoint("parent")
    tasks = known.tasks(known.settings.split, known.settings.rule, PROMPTS)
    renderer = make_renderer(policy.tokenizer, policy.chat_config)
    made = renderer.render_prompts([Conversation((message("user", task.prompt),), task.id) for task in tasks])
    prompts = [rendered.ids for rendered in made for _ in range(DRAWS)]
    with track("best of n", len(prompts), "answers") as bar:
        written = generate(policy.model, prompts, renderer.stop_ids, DECODING, done=bar.update)
    sequences = [np.array([*ids, *one.tokens], np.int32) for ids, one in zip(prompts, written, strict=True)]
    texts = [renderer.parse(one.content).text for one in written]
    of_task = [task for task in tasks for _ in range(DRAWS)]
    proxy = token_scores(session.checkpoint("model"), sequences)
    gold = np.array([known.true(task, text) for task, text in zip(of_task, texts, strict=True)])
    points = []
    for count in COUNTS:
        best = best_of_n(proxy.reshape(-1, DRAWS), gold.reshape(-1, DRAWS), count)
        points.append(CurvePoint(f"n = {count}", kl_best_of_n(count), *best))
    words = np.array([float(len(text.split())) for text in texts])
    rows: list[dict[str, Any]] = [
        {"at": "", "question": task.prompt, "answer": text, "proxy": float(score), "gold": float(worth)}
        for task, text, score, worth in zip(of_task, texts, proxy, gold, strict=True)
    ]
    number = np.repeat(np.arange(len(tasks)), DRAWS)
    figures = curve_figures("best_of_n", points) | {
        "length": {"proxy": length_figures(proxy, words, number), "gold": length_figures(gold, words, number)}
    }
    return Results({}, samples=suspicious_samples(rows, SHOWN), figures=figures)


SUITE = Suite(name="best_of_n", needs=frozenset({"reward", "utility"}), run=run, labels={}, groups=())
