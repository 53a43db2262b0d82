from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.chat.audit import Report, audit_preferences
from tutelage.chat.formats import find_preference_format

PAIRS: list[dict[str, Any]] = [
    {"prompt": f"Add {n} to {n}?", "chosen": f"It is {2 * n}." + " Yes." * (n % 2), "rejected": f"{2 * n + 1}, no."}
    for n in range(40)
]
for row in PAIRS[::2]:
    row["rejected"] += " I am as sure of it as can be."


def audit(folder: Path, rows: list[Any], held_out: list[Any] | None = None, max_broken: float = 0.0) -> Report:
    path = written(folder / "pairs.jsonl", rows)
    name = find_preference_format(path)
    assert name is not None
    other = None if held_out is None else written(folder / "held_out.jsonl", held_out)
    return audit_preferences(path, name, other, max_broken)


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def names(report: Report) -> dict[str, int]:
    return {finding.name: finding.count for finding in report.findings}


def test_sound_pairs_are_ready_and_counted(tmp_path: Path) -> None:
    report = audit(tmp_path, PAIRS)
    assert report.verdict == "Ready for training: no errors, no warnings."
    assert (report.format, report.conversations, report.noun) == ("chosen-rejected", 40, "preferences")
    profile = report.profile
    assert (profile["pairs"], profile["rankings"], profile["labelled answers"]) == (40, 0, 0)
    assert (profile["prompts.distinct"], profile["prompts.shared"]) == (40, 0)
    assert profile["longer_preferred.low"] < profile["longer_preferred.rate"] < profile["longer_preferred.high"]


def test_shared_prompts_duplicates_and_contradictions_are_found_with_their_places(tmp_path: Path) -> None:
    first = PAIRS[0]
    opposite = {**first, "chosen": first["rejected"].upper(), "rejected": f" {first['chosen']} "}
    report = audit(tmp_path, [*PAIRS, first, opposite, {**PAIRS[1], "rejected": "I do not know."}])
    assert names(report) == {"duplicate": 1, "contradiction": 1}
    examples = {finding.name: finding.examples for finding in report.findings}
    assert [(of.place, of.excerpt) for of in examples["duplicate"]] == [("pairs.jsonl:41", "as pairs.jsonl:1")]
    assert examples["contradiction"][0].excerpt == "the opposite of pairs.jsonl:1"
    assert (report.profile["prompts.shared"], report.profile["prompts.most_rows"]) == (2, 3)


def test_identical_sides_and_broken_rows_are_errors_by_reason_unless_they_are_allowed(tmp_path: Path) -> None:
    same = {"prompt": "x", "chosen": "Yes.", "rejected": "Yes."}
    rows = [*PAIRS, same, "{", {"prompt": "x", "chosen": "Yes.", "rejected": "yes. "}]
    report = audit(tmp_path, rows)
    broken = {finding.detail: finding for finding in report.findings if finding.name == "broken row"}
    assert set(broken) == {"chosen and rejected are the same", "not JSON"}
    assert {finding.level for finding in broken.values()} == {"error"}
    assert names(report)["identical answers"] == 1
    assert not audit(tmp_path, rows, max_broken=0.1).errors


@pytest.mark.parametrize(("longer", "word"), [(True, "longer"), (False, "shorter")])
def test_a_length_bias_is_named_where_its_whole_interval_is_far_from_half(
    tmp_path: Path, longer: bool, word: str
) -> None:
    sides = ("chosen", "rejected") if longer else ("rejected", "chosen")
    rows = [{"prompt": f"q {n}", sides[0]: f"long answer {n}", sides[1]: f"a{n}"} for n in range(50)]
    (finding,) = audit(tmp_path, rows).findings
    assert (finding.name, finding.title, finding.share) == ("length bias", f"the {word} answer is preferred", 1.0)
    few = audit(tmp_path, rows[:3])
    assert names(few) == {}, "three pairs say nothing"
    assert few.profile["longer_preferred.rate"] == float(longer)


def test_ties_of_rankings_are_counted_and_a_ranking_contradicts_a_pair(tmp_path: Path) -> None:
    ranking = {"prompt": "Who?", "answers": ["Ann.", "Bob.", "Cleo or Dan."], "ranks": [1, 1, 2]}
    pair = {"prompt": "Who?", "answers": ["Ann.", "Cleo or Dan."], "ranks": [2, 1]}
    report = audit(tmp_path, [ranking, pair, {**ranking, "prompt": "When?"}, {**ranking, "ranks": [1, 1, 1]}])
    assert report.profile["ties.share"] == pytest.approx(1 / 3)
    assert (report.profile["pairs"], report.profile["rankings"]) == (1, 2)
    assert names(report)["contradiction"] == 1
    assert any(finding.detail == "ranking of ties alone" for finding in report.errors)


def test_labels_that_are_unbalanced_or_contradict_each_other(tmp_path: Path) -> None:
    rows = [{"prompt": f"q {n}", "completion": f"a {n}", "label": n % 5 > 0} for n in range(20)]
    report = audit(tmp_path, [*rows, {**rows[0], "label": True}])
    assert report.format == "kto"
    assert report.profile["desirable.share"] == pytest.approx(17 / 21)
    assert names(report) == {"unbalanced labels": 17, "contradiction": 1}
    fix = next(finding.fix for finding in report.findings if finding.name == "unbalanced labels")
    assert "undesirable_weight to about 4.2 times desirable_weight" in fix


def test_prompts_of_the_held_out_file_are_an_error(tmp_path: Path) -> None:
    other = [{**PAIRS[3], "prompt": PAIRS[3]["prompt"].upper(), "chosen": "Six."}]
    report = audit(tmp_path, PAIRS, held_out=other)
    assert [(finding.name, finding.examples[0].place) for finding in report.errors] == [("leak", "pairs.jsonl:4")]


def test_one_prompt_alone_is_named(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": f"a {n}", "rejected": f"b {n}"} for n in range(4)]
    assert names(audit(tmp_path, rows)) == {"one prompt": 4}


def test_conversations_are_no_preferences(tmp_path: Path) -> None:
    assert find_preference_format(written(tmp_path / "a.jsonl", [{"prompt": "x", "completion": "y"}])) is None
    labelled = {"prompt": "x", "completion": "y", "label": True}
    assert find_preference_format(written(tmp_path / "b.jsonl", ["{", labelled])) == "kto"
    assert find_preference_format(written(tmp_path / "c.jsonl", ["{"])) is None


CUT_OFF = "You can think of the sum as two piles of stones that you push together, and then of the"


def test_a_preferred_answer_that_is_cut_off_is_found_with_its_place(tmp_path: Path) -> None:
    rows = [*PAIRS, {"prompt": "Why?", "chosen": CUT_OFF, "rejected": "It is so, and nobody knows the reason for it."}]
    (finding,) = audit(tmp_path, rows).findings
    assert (finding.name, finding.count, finding.level) == ("truncated", 1, "warning")
    assert finding.examples[0].place == "pairs.jsonl:41"
    worse = [*PAIRS, {"prompt": "Why?", "chosen": "Because.", "rejected": CUT_OFF}]
    report = audit(tmp_path, worse)
    assert names(report) == {}
    assert report.profile["worse.flawed.share"] == 1 / 41
    assert report.profile["better.flawed.share"] == 0


def test_sides_that_are_swapped_show_by_the_flaws_of_the_preferred_answers(tmp_path: Path) -> None:
    flawed = [
        {"prompt": f"Why {n}?", "chosen": f"{n} {CUT_OFF}", "rejected": f"It is so, {n} times."} for n in range(8)
    ]
    swapped = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in flawed]
    found = names(audit(tmp_path, [*PAIRS, *flawed, swapped[0]]))
    assert (found["truncated"], found["swapped"]) == (8, 8)
    assert "swapped" not in names(audit(tmp_path, [*PAIRS, *flawed[:5], *swapped[5:]])), "5 of 8 say nothing"
    assert names(audit(tmp_path, [*PAIRS, *swapped])) == {}


def test_a_row_whose_scores_contradict_its_sides_is_broken(tmp_path: Path) -> None:
    rows = [
        {**PAIRS[0], "score_chosen": 3.0, "score_rejected": 7.5},
        {**PAIRS[1], "score_chosen": 7, "score_rejected": 7},
    ]
    (finding,) = audit(tmp_path, [*rows, *PAIRS[2:]]).errors
    assert (finding.detail, finding.count) == ("swapped sides", 1)
    assert "'score_chosen' is 3.0, below 'score_rejected' of 7.5" in finding.examples[0].excerpt


def test_pain_7_sides_with_different_prompts_are_refused_with_their_place(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}]
    other = [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "6"}]
    (finding,) = audit(tmp_path, [*PAIRS, {"chosen": turns, "rejected": other}]).errors
    assert "prompt" in finding.detail
    assert finding.examples[0].place == "pairs.jsonl:41"
