"""The suites a recipe can ask for, run on a finished stage."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import Any, Literal

from tutelage.config import SettingsError
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate.format import evaluate_format
from tutelage.evaluate.knowledge import evaluate_knowledge
from tutelage.evaluate.loss import forgetting
from tutelage.model.hub import Checkpoint, load_model
from tutelage.records import Conversation
from tutelage.stages.data import world_of
from tutelage.stages.prepare import Setting
from tutelage.stages.settings import AnyStage
from tutelage.world.society import World

Suite = Literal["format", "knowledge", "forgetting"]

FORMAT_PROMPTS = 200
ANSWER = SamplingSettings(max_tokens=64)


def run_suite(suite: Suite, stage: AnyStage, at: Setting) -> dict[str, Any]:
    """Every figure of one suite on one stage, as plain nested data."""
    checkpoint = load_model(at.folder)
    if suite == "knowledge":
        result = evaluate_knowledge(checkpoint, _world(at), ANSWER)
        return nested({name: asdict(rate) for name, rate in result.rates.items()}) | {"samples": result.samples}
    if suite == "format":
        outcome = evaluate_format(checkpoint, held_out_prompts(at), ANSWER)
        parts = {name: asdict(getattr(outcome, name)) for name in ("has_content", "stops", "keeps_its_turn")}
        return asdict(outcome.compliant) | parts | {"failures": outcome.failures}
    return _forgetting(checkpoint, stage, at)


def _forgetting(checkpoint: Checkpoint, stage: AnyStage, at: Setting) -> dict[str, Any]:
    name, base_stage = at.ancestor(stage)
    base = load_model(at.folders[name])
    parts = {}
    for data in base_stage.data:
        context = base_stage.context or base.model.config.context
        store = at.stores(base_stage.held_out).text(data, base.tokenizer, context, "held_out")
        if len(store):
            result = forgetting(base.model, checkpoint.model, store, base.tokenizer, base_stage.batch_tokens)
            parts[data] = asdict(result) | {"alarm": result.alarm}
    if not parts:
        raise SettingsError(f"evaluate.{at.name}: 'forgetting' needs held-out text; set stages.{name}.held_out above 0")
    worst = max(parts.values(), key=lambda part: part["increase"])
    return {**worst, **({"by_data": parts} if len(parts) > 1 else {})}


def held_out_prompts(at: Setting) -> list[Conversation]:
    """The first user turns of conversations about people whom no training question named."""
    prompts = []
    for conversation in islice(_world(at).conversations("held_out"), FORMAT_PROMPTS):
        first = next(i for i, m in enumerate(conversation.messages) if m.role == "user")
        prompts.append(Conversation(conversation.messages[: first + 1], conversation.id))
    return prompts


def _world(at: Setting) -> World:
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
