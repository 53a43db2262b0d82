"""The suites a recipe can ask for, run on a finished stage, and what a stage is tried on while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tutelage.chat.render.hf import make_renderer
from tutelage.config import SettingsError
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.asking import can_chat, continue_text
from tutelage.evaluate.format import FormatResult, by_set, evaluate_format, words
from tutelage.evaluate.knowledge import evaluate_knowledge, evaluate_questions, trial_questions
from tutelage.evaluate.loss import forgetting
from tutelage.evaluate.statistics import Rate, share_of_sums
from tutelage.model.hub import Checkpoint, load_config, load_model, with_context
from tutelage.progress import status
from tutelage.records import Conversation
from tutelage.stages.data import world_of
from tutelage.stages.prepare import StageContext, text_context
from tutelage.stages.prompts import known_words, prompt_sets, talked_of, trained_answers, trial_prompts
from tutelage.stages.settings import Sft, TrainedStage
from tutelage.tokenizer import EncodingError, Tokenizer
from tutelage.world.grading import Question
from tutelage.world.society import World

Suite = Literal["format", "knowledge", "forgetting", "before"]

ANSWER = SamplingSettings(max_tokens=128)
SAMPLES_OF_A_SET = 8


def run_suite(suite: Suite, stage: TrainedStage, at: StageContext) -> dict[str, Any]:
    """Every figure of one suite on one stage, as plain nested data."""
    checkpoint = load_model(at.folder)
    if suite == "knowledge":
        result = evaluate_knowledge(checkpoint, _world(at), ANSWER)
        figures = nested({name: asdict(rate) for name, rate in result.rates.items()})
        return figures | {"samples": result.samples, "outcomes": result.outcomes}
    assert isinstance(stage, Sft), "a recipe that asks this of a base model is refused when it is read"
    if suite == "before":
        return _before(stage, at)
    return _format(checkpoint, stage, at) if suite == "format" else _forgetting(checkpoint, stage, at)


def _before(stage: Sft, at: StageContext) -> dict[str, Any]:
    """What the model could do that a stage goes on from: the suites on form and knowledge, as far as they apply. A base
    model has no turns to keep, and of knowledge it is asked by unfinished sentences."""
    assert stage.parent is not None
    parent = load_model(at.folders[stage.parent])
    figures: dict[str, Any] = {}
    if can_chat(parent):
        figures["format"] = _form(parent, stage, at)[0]
    if talked_of(stage, at):
        result = evaluate_knowledge(parent, _world(at), ANSWER)
        figures["knowledge"] = nested({name: asdict(rate) for name, rate in result.rates.items()})
    return figures


Sets = dict[str, dict[str, list[Conversation]]]


def _form(checkpoint: Checkpoint, stage: Sft, at: StageContext) -> tuple[dict[str, Any], Sets, dict[str, FormatResult]]:
    """The rates of the format suite; the sets of prompts they are about, in groups, and each group's result."""
    all_sets = prompt_sets(stage, at)
    sets = {name: _askable(checkpoint, prompts) for name, prompts in all_sets.items()}
    if left_out := len(_all(all_sets)) - len(_all(sets)):
        status(
            f"{at.name}: {left_out} of {len(_all(all_sets))} prompts are left out; the tokenizer lacks a character of "
            "them, or they leave no room for an answer"
        )
    unseen = {name: prompts for name, prompts in sets.items() if prompts and name != "seen"}
    known, trained = known_words(stage, at), trained_answers(stage, at)
    # What is near the domain and far from it has rates of its own: mixed in, they would say how many there are of each.
    main = {name: prompts for name, prompts in unseen.items() if name == "in_domain"} or unseen
    beyond = {name: prompts for name, prompts in unseen.items() if name not in main}
    of_sets: Sets = {"seen": {"seen": sets["seen"]}, "main": main, "beyond": beyond}
    if not unseen:  # of rows so few that none is spared there is nothing else to try it on
        of_sets = {"main": {"seen": sets["seen"]}}
    of_sets = {name: group for name, group in of_sets.items() if group}
    results = {
        name: evaluate_format(checkpoint, _all(group), ANSWER, known, trained) for name, group in of_sets.items()
    }
    rates = {n: asdict(r) for name, group in of_sets.items() for n, r in by_set(results[name], group).items()}
    result = results["main"]
    parts = ["has_content", "stops", "keeps_its_turn", "real_words"]
    if unseen:  # to answer a prompt it was trained on as it was trained to is no copying
        parts.append("verbatim")
    else:
        del rates["seen"]
    figures = {name: asdict(value) for name in parts if (value := getattr(result, name)) is not None}
    return {**asdict(result.compliant), **figures, **rates}, of_sets, results


def _format(checkpoint: Checkpoint, stage: Sft, at: StageContext) -> dict[str, Any]:
    figures, of_sets, results = _form(checkpoint, stage, at)
    known, asked = known_words(stage, at), _all(of_sets["main"])
    samples = _before_and_after(of_sets, results, at, stage)
    written = [words(row["before"]) for row in samples]
    if known and any(written):
        real = np.array([sum(word in known for word in row) for row in written])
        figures["base_words"] = asdict(share_of_sums(real, np.array([len(row) for row in written])))
    return {
        **figures,
        "failures": results["main"].failures(asked, checkpoint),
        "samples": samples,
        "outcomes": _outcomes(of_sets, results),
    }


def _outcomes(
    groups: Mapping[str, Mapping[str, Sequence[Conversation]]], results: Mapping[str, FormatResult]
) -> dict[str, list[tuple[str, int]]]:
    """Of each figure, every prompt it is about and whether it came out so: all checks over the main prompts, and the
    form in each set."""

    def told(prompts: Sequence[Conversation], passed: Sequence[bool]) -> list[tuple[str, int]]:
        return [(prompt.messages[-1].text, int(did)) for prompt, did in zip(prompts, passed, strict=True)]

    found = {name: told(_all(groups["main"]), passed) for name, passed in results["main"].checks.items()}
    for group, sets in groups.items():
        start = 0
        for name, prompts in sets.items():
            found[name] = told(prompts, results[group].complies[start : start + len(prompts)])
            start += len(prompts)
    return found


def _askable(checkpoint: Checkpoint, prompts: Sequence[Conversation]) -> list[Conversation]:
    """The prompts whose characters the tokenizer has (one of characters lacks what its text lacks), and after which the
    context has room for an answer."""
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.source)
    context = checkpoint.model.config.context
    sayable = [prompt for prompt in prompts if _can_say(checkpoint.tokenizer, prompt)]
    rendered = renderer.render_prompts(sayable)
    return [prompt for prompt, row in zip(sayable, rendered, strict=True) if len(row.ids) < context]


def _can_say(tokenizer: Tokenizer, prompt: Conversation) -> bool:
    try:
        tokenizer.encode_batch([message.text for message in prompt.messages])
    except EncodingError:
        return False
    return True


def _all(sets: Mapping[str, Sequence[Conversation]]) -> list[Conversation]:
    return [prompt for prompts in sets.values() for prompt in prompts]


def _before_and_after(
    groups: Mapping[str, Mapping[str, Sequence[Conversation]]],
    results: Mapping[str, FormatResult],
    at: StageContext,
    stage: Sft,
) -> list[dict[str, Any]]:
    """The first prompts of each set, how the base model goes on with them, and what this one answers."""
    rows: list[dict[str, Any]] = []
    for group, sets in groups.items():
        place = 0
        for name, prompts in sets.items():
            for i, prompt in enumerate(prompts[:SAMPLES_OF_A_SET], start=place):
                text, result = prompt.messages[-1].text, results[group]
                rows.append(
                    {"set": name, "prompt": text, "after": result.answers[i].text, "complies": result.complies[i]}
                )
            place += len(prompts)
    base_name, _ = at.ancestor(stage)
    base = with_context(load_model(at.folders[base_name]), load_config(at.folder).context)
    continued = continue_text(base, [row["prompt"] for row in rows], ANSWER, "the base model, on the same prompts")
    return [row | {"before": answer.text} for row, answer in zip(rows, continued, strict=True)]


def _forgetting(checkpoint: Checkpoint, stage: Sft, at: StageContext) -> dict[str, Any]:
    name, base_stage = at.ancestor(stage)
    base = load_model(at.folders[name])
    parts, outcomes = {}, {}
    for data in {**base_stage.data, **stage.replay_data}:
        context = text_context(stage, data, base_stage.context or base.model.config.context)
        store = at.stores(base_stage.held_out).text(data, base.tokenizer, context, "held_out")
        if len(store):
            result = forgetting(base.model, checkpoint.model, store, base.tokenizer, base_stage.batch_tokens)
            figures = asdict(result)
            outcomes[data] = [(str(group), *row) for group, row in enumerate(figures.pop("groups"))]
            parts[data] = figures | {"alarm": result.alarm}
    if not parts:
        raise SettingsError(f"evaluate.{at.name}: 'forgetting' needs held-out text; set stages.{name}.held_out above 0")
    worst = max(parts.values(), key=lambda part: part["increase"])
    return {**worst, "outcomes": outcomes, **({"by_data": parts} if len(parts) > 1 else {})}


@dataclass(frozen=True)
class Trial:
    """What a stage is tried on again and again while it trains: short, and never what is reported on at the end."""

    prompts: list[Conversation]
    questions: list[Question]
    known_words: frozenset[str]


def make_trial(stage: Sft, at: StageContext) -> Trial:
    """The trial of a stage: the openings of its held-out rows and, in the built-in world, questions about people of
    whom it only read."""
    world = talked_of(stage, at)
    return Trial(trial_prompts(stage, at), trial_questions(world) if world else [], known_words(stage, at))


def behaviour(checkpoint: Checkpoint, trial: Trial) -> dict[str, Any]:
    """How a model does in a trial, and the mean of its figures as `score`; nothing where there is nothing to try."""
    figures: dict[str, Any] = {}
    if prompts := _askable(checkpoint, trial.prompts):
        result = evaluate_format(checkpoint, prompts, ANSWER, trial.known_words)
        figures["format"] = asdict(result.compliant)
        if trial.known_words:  # no words are no real ones, or a model that answers in dots could not be beaten
            figures["real_words"] = asdict(result.real_words or Rate(0.0, 0.0, 1.0, 0))
    if trial.questions:
        figures["held_out_questions"] = asdict(evaluate_questions(checkpoint, trial.questions, ANSWER))
    if figures:
        figures["score"] = sum(rate["rate"] for rate in figures.values()) / len(figures)
    return figures


def _world(at: StageContext) -> World:
    world = world_of(at.data)
    if world is None:
        raise SettingsError("this suite asks about the built-in world, but [data] has none of kind 'world'")
    return world


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Dotted names to nested tables; a name may hold figures and tables at once."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        branch = tree
        for key in name.split("."):
            branch = branch.setdefault(key, {})
        branch.update(value)
    return tree
