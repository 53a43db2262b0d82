"""The recipe of a run: the tree of its stages, and every setting."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tutelage.config import to_plain
from tutelage.html import Html, badge, code, details, heading, join, paragraph, section, tag
from tutelage.report.cost import environment
from tutelage.report.labels import format_count
from tutelage.report.read import Finished, dotted
from tutelage.runner import Run
from tutelage.stages.base import Stage


def recipe(run: Run, stages: Mapping[str, Finished]) -> Html:
    """The tree of stages, the settings as dotted names, and the environment."""
    roots = [name for name, stage in run.recipe.stages.items() if stage.parent is None]
    tree = tag("ul", *(_branch(name, run, stages) for name in roots), attributes={"class": "lineage"})
    environments = environment(list(stages.values()))
    return section(
        "Recipe",
        tree,
        details("Every setting", paragraph("Each line is a valid override.", muted=True), code(_settings(run))),
        *([heading("Environment"), *environments] if environments else []),
        note="Each stage starts from its parent. A fingerprint covers settings, data and all ancestors.",
    )


def _branch(name: str, run: Run, stages: Mapping[str, Finished]) -> Html:
    """A stage, and below it the stages that start from it."""
    children = [child for child, stage in run.recipe.stages.items() if stage.parent == name]
    inner = tag("ul", *(_branch(child, run, stages) for child in children)) if children else None
    return tag("li", _node(name, run.recipe.stages[name], stages.get(name)), inner)


def _node(name: str, stage: Stage, finished: Finished | None) -> Html:
    state = None if finished or not stage.trains else badge("not finished", "warn")
    first = tag("p", join([tag("strong", name), f" · {stage.title} ", state]))
    facts = [f"{data} {share:.0%}" for data, share in stage.shares().items()]
    if finished:
        facts += [f"{finished.info.steps:,} steps", f"{format_count(finished.info.tokens)} tokens"]
    mark = code(finished.info.fingerprint[:8]) if finished else None
    second = tag("p", join([" · ".join(facts), " · " if facts and mark else None, mark]), attributes={"class": "note"})
    return tag("div", first, second, attributes={"class": "stage"})


def _settings(run: Run) -> str:
    """Every setting by its dotted name, a paragraph for each part; unset settings are left out."""
    plain = to_plain(run.recipe)
    parts = [{"name": plain["name"], "seed": plain["seed"]}]
    parts += [{name: plain[name]} for name in ("model", "tokenizer")]
    parts += [{group: {name: inner}} for group in ("data", "stages") for name, inner in plain[group].items()]
    parts += [{"evaluate": plain["evaluate"]}] if plain["evaluate"] else []
    lines = [[f"{name}={json.dumps(value)}" for name, value in dotted(part).items()] for part in parts]
    return "\n\n".join("\n".join(part) for part in lines)
