"""Answers of a base model by prompting alone: the baselines of fine-tuning.

zero-shot: the question after "Question:".
few-shot:  the same after other questions of the file with their answers.
urial:     a description of a helpful assistant and three answers in its style, the same for every question (Lin et al.
           2023, arXiv 2312.01552, section 4).

With rules, the logits are changed as `engine.rule_adapter` does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import numpy as np

from tutelage.engine.engine import Engine
from tutelage.engine.rule_adapter import rule_adapter
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.settings import EngineSettings
from tutelage.engine.text_stream import TextStream
from tutelage.evaluate.answers import text_ends
from tutelage.evaluate.questions import ANSWER_TOKENS, Answered, Question, QuestionOutcome
from tutelage.model.hub import Checkpoint
from tutelage.progress import track
from tutelage.scoring import make_verifier
from tutelage.scoring.score import gold_texts

Way = Literal["zero-shot", "few-shot", "urial"]
WAYS: tuple[Way, ...] = ("zero-shot", "few-shot", "urial")
SHOTS = 4
STOPS = {"zero-shot": ("\n\n", "\nQuestion:"), "few-shot": ("\n",), "urial": ("```", "\n# Query")}
_ROWS = 64


@dataclass(frozen=True)
class Written:
    """What a model wrote after a prompt, up to a stop string, and whether it was cut."""

    text: str
    cut: bool


def prompt_text(question: Question, way: Way, examples: Sequence[Question] = ()) -> str:
    """A question as a base model reads it. Turns before the last one are left out."""
    asked = question.prompt.messages[-1].text.strip()
    if way == "urial":
        style = resources.files(__package__).joinpath("urial.txt").read_text("utf-8").strip()
        return f"{style}\n\n# Query:\n```\n{asked}\n```\n\n# Answer:\n```\n"
    shown = [f"Question: {one.prompt.messages[-1].text.strip()}\nAnswer: {gold_texts(one.gold)[0]}" for one in examples]
    return "\n".join([*shown, f"Question: {asked}\nAnswer:"])


def draw_examples(question: Question, pool: Sequence[Question], shots: int, seed: int) -> list[Question]:
    """Examples for a question, seeded: never the question itself, nor one with its text.

    Raises:
        ValueError: there are too few other questions.
    """
    text = question.prompt.messages[-1].text
    others = [one for one in pool if one.id != question.id and one.prompt.messages[-1].text != text]
    if len(others) < shots:
        raise ValueError(f"{shots} examples are asked for, but there are {len(others)} other questions")
    return random.Random(f"{seed} {question.id}").sample(others, shots)


def write_after(
    checkpoint: Checkpoint,
    prompts: Sequence[str],
    stops: tuple[str, ...],
    settings: SamplingSettings,
    samples: int = 1,
    rules: bool = False,
) -> list[list[Written]]:
    """What the model writes after each prompt, as the beginning of a document: `samples` times, each draw its own.

    Raises:
        ValueError: a prompt leaves no room in the context.
    """
    tokenizer = checkpoint.tokenizer
    opening, stop_ids = tokenizer.document_edges[0], text_ends(checkpoint)
    process = rule_adapter(tokenizer, stop_ids) if rules else None
    engine = Engine(checkpoint.model, EngineSettings(max_rows=_ROWS, prefix_cache="prompts"))
    requests = [
        engine.add(
            np.concatenate([opening, ids]),
            stop_ids,
            settings,
            prompt_id=number,
            sample=sample,
            text=TextStream(tokenizer, stops, markers={}),
            process=process,
        )
        for number, ids in enumerate(tokenizer.encode_batch(list(prompts)))
        for sample in range(samples)
    ]
    with track("answers", len(requests), "answers") as bar:
        engine.run(lambda finished: bar.update(len(finished)))
    engine.rows.close()
    written = []
    for request in requests:
        assert request.text is not None
        text = "".join(piece.text for piece in request.text.pieces)
        cut = request.generation.finish_reason == "length" and not request.text.stopped
        written.append(Written(text, cut))
    return [written[start : start + samples] for start in range(0, len(written), samples)]


def outcome_of(question: Question, answer: Written) -> QuestionOutcome:
    """The outcome of an answer by the question's own verifier."""
    outcome: QuestionOutcome = make_verifier(question.verifier)(answer.text, question.gold).outcome
    return "cut off" if outcome != "right" and answer.cut else outcome


def answer_by_prompting(
    checkpoint: Checkpoint, questions: Sequence[Question], way: Way, rules: bool = False, seed: int = 0
) -> list[Answered]:
    """The greedy answer to each question in one of WAYS, and its outcome."""
    shots = SHOTS if way == "few-shot" else 0
    prompts = [prompt_text(one, way, draw_examples(one, questions, shots, seed)) for one in questions]
    answers = write_after(checkpoint, prompts, STOPS[way], ANSWER_TOKENS, rules=rules)
    return [
        Answered(question, answer.text, outcome_of(question, answer))
        for question, (answer,) in zip(questions, answers, strict=True)
    ]
