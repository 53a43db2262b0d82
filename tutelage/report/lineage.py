"""The recipe of a run: which stage goes on from which, and every setting."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tutelage.config import to_plain
from tutelage.html import Html, badge, code, details, heading, join, paragraph, section, tag
from tutelage.recipe import Run
from tutelage.report.accounts import environment
from tutelage.report.read import Finished, dotted
from tutelage.report.words import short
from tutelage.stages.settings import AnyStage, PretrainedModel, Sft, parent_of


def recipe(run: Run, stages: Mapping[str, Finished]) -> Html:
    """The tree of stages, the settings as dotted names, and the environment."""
    roots = [name for name, stage in run.recipe.stages.items() if parent_of(stage) is None]
    tree = tag("ul", *(_branch(name, run, stages) for name in roots), attributes={"class": "lineage"})
    where = environment(list(stages.values()))
    return section(
        "Recipe",
        tree,
        details("Every setting", paragraph("Each line can be given as an override.", muted=True), code(_settings(run))),
        *([heading("Environment"), *where] if where else []),
        note="A stage goes on from the one it hangs on. A fingerprint stands for settings, data and all above it.",
    )


def _branch(name: str, run: Run, stages: Mapping[str, Finished]) -> Html:
    """A stage, and below it those that go on from it."""
    below = [other for other, stage in run.recipe.stages.items() if parent_of(stage) == name]
    inner = tag("ul", *(_branch(other, run, stages) for other in below)) if below else None
    return tag("li", _node(name, run.recipe.stages[name], stages.get(name)), inner)


def _node(name: str, stage: AnyStage, finished: Finished | None) -> Html:
    if isinstance(stage, PretrainedModel):
        kind, state = "a model made elsewhere", None
    else:
        kind = "fine-tuning" if isinstance(stage, Sft) else "pre-training"
        state = None if finished else badge("not finished", "warn")
    first = tag("p", join([tag("strong", name), f" · {kind} ", state]))
    total = sum(stage.data.values())
    replay = stage.replay if isinstance(stage, Sft) else 0.0
    said = [f"{data} {share / total * (1 - replay):.0%}" for data, share in stage.data.items()]
    said += [f"replayed text {replay:.0%}"] if replay else []
    if finished:
        said += [f"{finished.info.steps:,} steps", f"{short(finished.info.tokens)} tokens"]
    mark = code(finished.info.fingerprint[:8]) if finished else None
    second = tag("p", join([" · ".join(said), " · " if said and mark else None, mark]), attributes={"class": "note"})
    return tag("div", first, second, attributes={"class": "stage"})


def _settings(run: Run) -> str:
    """Every setting as a dotted name, a paragraph for each part; what is not set is left out."""
    plain = to_plain(run.recipe)
    parts = [{"name": plain["name"], "seed": plain["seed"]}]
    parts += [{name: plain[name]} for name in ("model", "tokenizer")]
    parts += [{group: {name: inner}} for group in ("data", "stages") for name, inner in plain[group].items()]
    parts += [{"evaluate": plain["evaluate"]}] if plain["evaluate"] else []
    lines = [[f"{name}={json.dumps(value)}" for name, value in dotted(part).items()] for part in parts]
    return "\n\n".join("\n".join(part) for part in lines)
