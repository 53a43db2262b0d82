from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tutelage.config import recipes_folder
from tutelage.cost.examples import EXAMPLES

Verb = Callable[..., Result]


@pytest.mark.parametrize("name", EXAMPLES)
def test_published_costs_are_shown_beside_computed_ones(verb: Verb, name: str) -> None:
    shown = verb("plan", "--example", name)
    assert shown.exit_code == 0, shown.output
    assert "too much" not in shown.output
    plain = json.loads(verb("plan", "--example", name, "--json").stdout)
    assert {"name", "published", "computed", "unit", "tolerance"} == set(plain["figures"][0])
    assert all(part in shown.output.replace("\n", " ") for part in (plain["title"], "inputs: ", "source: "))


def test_a_recipe_is_modelled_on_other_hardware(verb: Verb, tmp_path: Path) -> None:
    arguments = ("plan", recipes_folder() / "tiny.toml", f"out={tmp_path / 'none'}", "--hardware", "h100x64")
    result = verb(*arguments, "--target", "1e24flops", "--price", 3, "--json")
    found = json.loads(result.stdout)["modelled"]
    assert found["hours"] == pytest.approx(1e24 / (0.4 * 989.4e12) / 3600)
    assert found["dollars"] == pytest.approx(3 * found["hours"])
    assert found["days"] == pytest.approx(found["hours"] / 64 / 24)
    shown = verb(*arguments, "--target", "1e24").output
    assert "modelled, not measured: 1e+24 FLOPs on 64 x H100 SXM" in shown
    assert "of 75 GiB of each are needed; state sharded" in shown
    assert "it costs as much as reasoning RL" in shown
    own = json.loads(verb(*arguments, "--json").stdout)
    assert own["modelled"]["flops"] == own["flops"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "give a recipe, or --example NAME"),
        (("x.toml", "--example", "reading"), "give a recipe, or --example NAME"),
        (("x.toml", "--price", "2"), "--price goes with --hardware"),
        (("--example", "reading", "--hardware", "h100"), "--example stands alone"),
        (("--example", "gpt"), "there is no example 'gpt'"),
        (("x.toml", "--hardware", "tpu"), "the hardware 'tpu' is unknown"),
        (("x.toml", "--hardware", "h100", "--target", "much"), "the target is 'much'"),
    ],
)
def test_mistakes_are_one_sentence(refused: Callable[..., str], arguments: tuple[str, ...], words: str) -> None:
    assert words in refused("plan", *arguments)
