from __future__ import annotations

import json
from pathlib import Path

from synth_runs import recipe

from tutelage.synth.diversity import diversity, entropy
from tutelage.synth.page import synth_page
from tutelage.synth.rows import conversation
from tutelage.synth.runner import synthesise


def test_the_page_shows_what_was_kept_and_dropped_and_runs_nothing_of_it(tmp_path: Path) -> None:
    teacher = {"kind": "world", "faults": {"cut": 0.2, "refused": 0.2}}
    table = {"make": {"kind": "teacher_swap"}, "input": "world", "limit": 40, "teacher": teacher}
    summary = synthesise(recipe(table), tmp_path)
    page = (tmp_path / "index.html").read_text()
    for text in ("Funnel", "Diversity", "Cost", "dropped: cut off", "dropped: refusal", "cannot help with that"):
        assert text in page
    assert f"Kept {summary['rows']:,} of" in page
    row = {"id": "x", **conversation("<script>alert(1)</script>", "<b>bold</b>"), "lineage": {"parent": "p"}}
    (tmp_path / "data.jsonl").write_text(json.dumps(row) + "\n")
    hostile = synth_page(tmp_path, summary)
    assert "<script>alert(1)" not in hostile and "&lt;script&gt;alert(1)" in hostile and "<b>bold" not in hostile


def test_diversity_of_equal_and_of_different_texts() -> None:
    same = [conversation("Name a river of the north.", "Tana flows far up there")] * 4
    different = [
        conversation(f"{word} a thing?", " ".join(f"{word}{n}" for n in range(9))) for word in ("a", "b", "c", "d")
    ]
    low, high = diversity(same), diversity(different)
    assert (low["alike"], high["alike"]) == (0.75, 0.0)
    assert (low["distinct_1"], high["distinct_1"]) == (0.25, 1.0)
    assert (low["opening_entropy"], high["opening_entropy"]) == (0.0, 2.0)
    assert entropy([1, 1, 1, 1]) == 2.0 and diversity([]) == {"rows": 0}
