from __future__ import annotations

import pytest

from tutelage.config import SettingsError
from tutelage.lab.base_recipe import DEMO, recipe_toml, sft_stage
from tutelage.lab.run_cache import read_recipe


def test_a_recipe_is_built_from_a_base_and_its_stages() -> None:
    text = recipe_toml(DEMO, [sft_stage("plain"), sft_stage("other", "replay = 0.5", epochs=1)], {"other": ["format"]})
    read = read_recipe(text, "a finding", ["stages.base.epochs=2"])
    assert list(read.stages) == ["base", "plain", "other"]
    assert [stage.epochs for stage in read.stages.values()] == [2, 3, 1]
    assert [read.stages[name].replay for name in ("plain", "other")] == [0.0, 0.5]
    assert read.evaluate == {"other": ["format"]}


def test_a_mistake_in_a_recipe_is_one_sentence() -> None:
    text = recipe_toml(DEMO, [sft_stage("plain", base="bsae")], {})
    with pytest.raises(SettingsError, match=r"^a finding: stages.plain.from names stage 'bsae'.*did you mean 'base'\?"):
        read_recipe(text, "a finding")
