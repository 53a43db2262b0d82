from __future__ import annotations

from tutelage.scoring.extract import normalise
from tutelage.world.grading import ANY_VALUE
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.prose import SCENES, scene


def test_scenes_are_many_and_different() -> None:
    sentences = [wording for steps in SCENES for step in steps for wording in step]
    assert len(sentences) == len(set(sentences)) >= 100
    assert len({scene(KeyedRandom(key)) for key in range(200)}) > 180


def test_scenes_name_no_value_of_the_world() -> None:
    text = normalise(" ".join(wording for steps in SCENES for step in steps for wording in step))
    assert ANY_VALUE.findall(text) == []
