"""The pains of synthesis that other projects' users reported: for each the test that shows that it cannot happen, or
why there is nothing to test; and the tests that fit nowhere else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from synth_runs import balanced, recipe, rows, swap

from tutelage.synth.runner import synthesise

TESTS = Path(__file__).parents[1]
RUNNER, PARSE, GATE = "synth/test_runner.py", "synth/test_parse.py", "synth/test_gate.py"
PLANTED, HERE = "synth/test_planted.py", "synth/test_pains.py"

# Number of the pain -> file and test, or why it cannot occur.
PAINS: dict[int, tuple[str, str] | str] = {
    1: (RUNNER, "test_d587_a_slow_and_a_failing_worker_shift_no_row"),
    2: (RUNNER, "test_d587_a_slow_and_a_failing_worker_shift_no_row"),
    3: (RUNNER, "test_d956_questions_that_fail_for_good_are_dropped_with_their_reason"),
    4: (RUNNER, "test_c618_ctrl_c_leaves_a_valid_set_that_resumes_to_the_same_bytes"),
    5: (PARSE, "test_d57_ratings_are_read"),
    6: (PARSE, "test_d1182_what_is_no_rating_is_dropped_alone"),
    7: (PARSE, "test_d571_samples_have_seeds_of_their_own"),
    8: ("client/test_client.py", "test_samples_of_one_prompt_are_asked_for_apart_and_cached_apart"),
    9: ("client/test_client.py", "test_samples_of_one_prompt_are_asked_for_apart_and_cached_apart"),
    10: (RUNNER, "test_c408_a_changed_method_makes_the_rows_again_without_asking"),
    11: (RUNNER, "test_c408_a_changed_method_makes_the_rows_again_without_asking"),
    12: (PARSE, "test_docetl188_a_missing_field_is_an_error"),
    13: (HERE, "test_c205_a_rate_limit_burns_no_attempts"),
    14: (HERE, "test_a44_a_refused_question_is_asked_once"),
    15: (HERE, "test_a5165_workers_come_back_apart_after_a_rate_limit"),
    16: (HERE, "test_dd185_few_errors_stop_nothing"),
    17: (RUNNER, "test_sdg357_too_few_rows_are_an_error_that_says_why"),
    18: (HERE, "test_dd860_every_step_of_a_chain_accounts_for_its_rows"),
    19: (RUNNER, "test_c618_ctrl_c_leaves_a_valid_set_that_resumes_to_the_same_bytes"),
    20: (RUNNER, "test_a_second_run_asks_nothing_and_changes_nothing"),
    21: (RUNNER, "test_a_budget_ends_with_a_valid_set_and_a_larger_one_goes_on"),
    22: (RUNNER, "test_c618_ctrl_c_leaves_a_valid_set_that_resumes_to_the_same_bytes"),
    23: (RUNNER, "test_sdg357_too_few_rows_are_an_error_that_says_why"),
    24: (PARSE, "test_sdk54_braces_of_a_text_stay_as_they_are"),
    25: (HERE, "test_sdk_a_judge_cannot_change_a_row"),
    26: (HERE, "test_dd860_every_step_of_a_chain_accounts_for_its_rows"),
    27: (PARSE, "test_aa3988_a_quoted_rubric_is_no_verdict"),
    28: (PARSE, "test_ap103_one_fence_is_taken_off_and_nothing_else"),
    29: (PARSE, "test_d57_ratings_are_read"),
    30: (HERE, "test_oi_an_unreadable_judge_rejects_nothing"),
    31: (HERE, "test_fc1886_a_judge_that_prefers_a_seat_labels_nothing"),
    32: (PARSE, "test_leh3382_a_scratchpad_is_no_answer"),
    33: (PLANTED, "test_a_planted_fault_is_caught_as_what_it_is"),
    34: (PLANTED, "test_a_planted_fault_is_caught_as_what_it_is"),
    35: (GATE, "test_pal32_what_a_row_may_not_hold"),
    36: (HERE, "test_camel_an_unparsable_reply_leaves_no_row"),
    37: ("synth/test_selection.py", "test_deita_skips_what_is_near_and_ranks_no_missing_score_in_the_middle"),
    38: ("synth/test_methods.py", "test_d702_the_prompts_of_a_method_are_those_that_were_read"),
    39: (PARSE, "test_alpaca20_a_number_with_a_dot_does_not_end_an_answer"),
    40: (PLANTED, "test_pc8_leaked_and_duplicated_rows_are_caught"),
    41: (GATE, "test_pc8_an_evaluation_text_is_found_with_other_numbers_too"),
    42: (HERE, "test_r789_a_teacher_that_repeats_itself_is_not_asked_for_ever"),
    43: (HERE, "test_ed256_done_means_accounted"),
    44: "No batch interface of a provider is used, so no batch belongs to a key; the key is in no cache and no file: "
    "tests/client/test_client.py::test_the_key_is_sent_and_appears_nowhere_else.",
    45: (RUNNER, "test_d551_small_inputs_end"),
    46: ("batching/test_loader.py", "test_groups_are_read_shuffled_by_length_or_as_written"),
}


def test_each_pain_has_its_test_or_its_sentence() -> None:
    assert sorted(PAINS) == list(range(1, 47))
    for place in PAINS.values():
        if isinstance(place, tuple):
            assert re.search(rf"^def {place[1]}\(", (TESTS / place[0]).read_text(), re.MULTILINE), place


def test_c205_a_rate_limit_burns_no_attempts(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """curator 205: a Retry-After holds all workers back, so that three attempts outlast it."""
    endpoint.faults = [{"status": 429, "Retry-After": "0.3"}] * 4
    summary = synthesise(swap(prompts(12), endpoint, teacher={"attempts": 3}), tmp_path / "out")
    assert summary["rows"] == 12 and summary["usage"]["teacher"]["requests"] == 16


def test_a5165_workers_come_back_apart_after_a_rate_limit(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """aider 5165, job-ops PR 555: eight workers that are held back by one header do not return at one moment."""
    endpoint.faults = [{"Retry-After": "0.2"}] * 8
    path = prompts(8)
    synthesise(swap(path, endpoint, teacher={"parallel": 8, "attempts": 9, "backoff": 1.0}), tmp_path / "out")
    first, returns = endpoint.times[0], sorted(endpoint.times[8:])
    assert len(returns) == 8 and returns[0] - first >= 0.2 and returns[-1] - returns[0] >= 0.05


def test_a44_a_refused_question_is_asked_once(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """accrue 44: one layer of retries, and none for a question that is wrong."""
    endpoint.faults = [400]
    summary = synthesise(swap(prompts(4), endpoint, teacher={"parallel": 1}), tmp_path / "out")
    assert summary["rows"] == 3 and len(endpoint.seen) == 4


def test_dd185_few_errors_stop_nothing(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """DataDesigner 185: 21 errors among 128."""
    endpoint.faults = ([None] * 5 + [418]) * 21
    summary = synthesise(swap(prompts(128), endpoint), tmp_path / "out")
    assert summary["rows"] == 107 and balanced(summary)


def test_dd860_every_step_of_a_chain_accounts_for_its_rows(tmp_path: Path) -> None:
    """DataDesigner 860: at which step was it lost? synthetic-data-kit 76: each step reads what the one before wrote."""
    table = {
        "make": {"kind": "self_instruct", "count": 24},
        "then": [{"kind": "evol_instruct", "rounds": 1}, {"kind": "teacher_swap"}],
        "input": "world",
        "limit": 20,
        "teacher": {"kind": "world", "faults": {"cut": 0.1, "refused": 0.1}},
    }
    summary = synthesise(recipe(table), tmp_path)
    assert balanced(summary) and [step["step"][0] for step in summary["steps"]] == ["1", "2", "3"]
    kept = [step["kept"] for step in summary["steps"]]
    assert [step["items"] for step in summary["steps"][1:]] == kept[:2] and kept[2] == summary["rows"] > 5
    parents = {row["lineage"]["parent"] for row in rows(tmp_path)}
    assert parents <= {row["id"] for row in rows(tmp_path / "steps" / "2-evol_instruct")}


def test_sdk_a_judge_cannot_change_a_row(endpoint: Any, tmp_path: Path) -> None:
    """synthetic-data-kit curate.py: the curated row was the judge's copy of it."""
    (tmp_path / "pages.jsonl").write_text(json.dumps({"text": "The harbour of Bey was built in 1302 by monks."}) + "\n")

    def answer(body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"]
        if text.startswith("Write one exercise"):
            return "Question: Who built the harbour of Bey?\nAnswer: Monks built it in 1302."
        if text.startswith("Answer by"):
            return "Monks did."
        return "Question: Who built it, hm?\nAnswer: Nuns built it.\n[[yes]]"

    endpoint.answer = answer
    table = {**_table(endpoint), "make": {"kind": "exercises"}, "input": str(tmp_path / "pages.jsonl")}
    synthesise(recipe(table), tmp_path / "out")
    [row] = rows(tmp_path / "out")
    contents = [turn["content"] for turn in row["messages"]]
    assert contents == ["Who built the harbour of Bey?", "Monks built it in 1302."]


def _table(endpoint: Any) -> dict[str, Any]:
    return {"teacher": {"kind": "endpoint", "url": endpoint.url, "model": "m", "parallel": 2, "backoff": 0.0}}


def test_oi_an_unreadable_judge_rejects_nothing(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """open-instruct rejection_sampling.py: a judge that failed scored -1, and so chose what is rejected."""
    endpoint.answer = lambda body: (
        "I will not score." if "points that add up" in body["messages"][-1]["content"] else f"Text {body['seed']}."
    )
    table = {**_table(endpoint), "make": {"kind": "self_rewarding"}, "input": str(prompts(3)), "min_kept": 0}
    synthesise(recipe(table), tmp_path / "out")
    assert [row["reason"] for row in rows(tmp_path / "out", "dropped.jsonl")] == ["no scores"] * 3


def test_fc1886_a_judge_that_prefers_a_seat_labels_nothing(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """FastChat 1886, 3911: always A."""
    endpoint.answer = lambda body: "A" if "one letter" in body["messages"][-1]["content"] else f"Text {body['seed']}."
    table = {**_table(endpoint), "make": {"kind": "rlaif"}, "input": str(prompts(3)), "min_kept": 0}
    synthesise(recipe(table), tmp_path / "out")
    assert [row["reason"] for row in rows(tmp_path / "out", "dropped.jsonl")] == ["no clear label"] * 3


def test_camel_an_unparsable_reply_leaves_no_row(endpoint: Any, tmp_path: Path) -> None:
    """camel self_instruct.py: "No valid output found." as an answer. It is asked again once, with what was wrong."""
    (tmp_path / "pages.jsonl").write_text(json.dumps({"text": "The harbour of Bey was built in 1302 by monks."}) + "\n")
    endpoint.answer = lambda body: "Here are your questions, enjoy."
    table = {**_table(endpoint), "make": {"kind": "document_qa"}, "input": str(tmp_path / "pages.jsonl"), "min_kept": 0}
    synthesise(recipe(table), tmp_path / "out")
    [dropped] = rows(tmp_path / "out", "dropped.jsonl")
    assert dropped["reason"] == "unparsable" and dropped["detail"].startswith("it must be one JSON value")
    assert not rows(tmp_path / "out")
    assert [len(body["messages"]) for body in endpoint.seen] == [1, 3]
    assert "it must be one JSON value" in endpoint.seen[1]["messages"][-1]["content"]


def test_r789_a_teacher_that_repeats_itself_is_not_asked_for_ever(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """ragas 789: 20 questions, 2 distinct; SynLogic 1: published duplicates."""
    endpoint.answer = lambda body: "Instruction: Name a large river of Europe.\nInput: <no input>\nOutput: The Danube."
    path = tmp_path / "seeds.jsonl"
    path.write_text(json.dumps({"prompt": "Name a tree of the north.", "completion": "The birch."}) + "\n")
    table = {**_table(endpoint), "make": {"kind": "alpaca", "count": 50}, "input": str(path)}
    summary = synthesise(recipe(table), tmp_path / "out")
    assert summary["rows"] == 1 and len(endpoint.seen) < 60
    assert summary["steps"][0]["diversity"]["rows"] == 1


def test_ed256_done_means_accounted(endpoint: Any, prompts: Any, tmp_path: Path) -> None:
    """easy-dataset 256, ai-answers 1272: a full bar, and half of the answers missing."""
    endpoint.faults = ["drop", None, "half", None, None] * 6
    summary = synthesise(swap(prompts(24), endpoint, teacher={"attempts": 1}), tmp_path / "out")
    [step] = summary["steps"]
    assert step["items"] == 24 and balanced(summary)
    dropped = rows(tmp_path / "out", "dropped.jsonl")
    assert {row["reason"] for row in dropped} == {"no answer: broken connection"}
    assert len(rows(tmp_path / "out")) + len(dropped) == 24


@pytest.mark.parametrize("count", [1, 3])
def test_a_count_is_exact(endpoint: Any, prompts: Any, tmp_path: Path, count: int) -> None:
    make = {"kind": "teacher_swap", "count": count}
    assert synthesise(swap(prompts(9), endpoint, make=make), tmp_path / "out")["rows"] == count
