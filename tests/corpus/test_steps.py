from __future__ import annotations

import importlib
import pkgutil

from tutelage import corpus
from tutelage.config import Settings
from tutelage.corpus.steps import GLOBAL_STEPS, MAKERS


def test_every_kind_of_step_can_be_named_in_a_recipe() -> None:
    kinds: dict[str, type] = {}
    for module in pkgutil.walk_packages(corpus.__path__, f"{corpus.__name__}."):
        for found in vars(importlib.import_module(module.name)).values():
            if isinstance(found, type) and issubclass(found, Settings) and found.__struct_config__.tag:
                assert kinds.setdefault(str(found.__struct_config__.tag), found) is found
    assert len(kinds) > 20
    assert set(kinds.values()) == set(MAKERS)


def test_what_must_know_the_whole_corpus_is_told_from_the_rest() -> None:
    names = {str(kind.__struct_config__.tag) for kind in GLOBAL_STEPS}
    assert {"dedup_exact", "dedup_minhash", "keep_top", "pii_domains", "dsir"} <= names
    assert not {"extract", "c4_paper", "pii", "language"} & names
