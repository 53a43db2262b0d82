from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from tutelage.config import to_plain
from tutelage.lab.catalogue import FINDINGS, find
from tutelage.lab.finding import Finding
from tutelage.lab.run_cache import read_recipe
from tutelage.stages.sft import Sft


@pytest.mark.parametrize("finding", FINDINGS.values(), ids=lambda finding: finding.name)
def test_recipes_are_valid_and_fine_tune_for_a_fixed_number_of_steps(finding: Finding) -> None:
    recipe = read_recipe(finding.recipe, finding.name)
    quick = read_recipe(finding.recipe, finding.name, finding.quick)
    assert recipe.stages.keys() == quick.stages.keys()
    assert recipe != quick
    stages = [stage for stage in recipe.stages.values() if isinstance(stage, Sft)]
    assert all(stage.keep == "last" and stage.evaluate_every == 0 for stage in stages)


def test_findings_that_share_a_folder_agree_on_everything_with_the_same_name() -> None:
    """Otherwise each would overwrite the other's stages and run them again every time."""
    shared: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for finding in FINDINGS.values():
        for overrides in ((), finding.quick):
            recipe = to_plain(read_recipe(finding.recipe, finding.name, overrides))
            parts = {name: recipe[name] for name in ("seed", "model", "tokenizer")}
            parts |= {f"data.{name}": data for name, data in recipe["data"].items()}
            parts |= {f"stages.{name}": stage for name, stage in recipe["stages"].items()}
            known = shared[f"{finding.folder}, quick {bool(overrides)}"]
            for name, part in parts.items():
                assert known.setdefault(name, part) == part, f"{finding.name}: {name}"


def test_a_finding_is_found_by_its_number() -> None:
    assert all(find(number).number == number for number in FINDINGS)
    with pytest.raises(ValueError, match=r"^there is no finding 99 in the lab; choose one of 1, 2, 3, "):
        find(99)
