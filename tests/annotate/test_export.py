"""Votes as training rows, read by the readers of `reward`, `dpo`, `sft` and `arena`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

from annotate_helpers import items, log_of, service
from click.testing import CliRunner

from tutelage.annotate.events import Event, LogSettings, PromptTurn, Submission
from tutelage.annotate.export import ExportRules, export_rows, held_out_of
from tutelage.annotate.items import make_item
from tutelage.annotate.log import open_log, read_log
from tutelage.annotate.service import SubmitRequest
from tutelage.annotate.state import Annotations, read_events
from tutelage.chat import formats
from tutelage.cli import main
from tutelage.evaluate.arena import read_battles
from tutelage.ledger import Ledger
from tutelage.records import Preference, Ranking

VOTES = [(0, "ann", (1, 1, 2, 3)), (0, "ben", (1, None, None, 2)), (1, "ann", (2, 2, 2, 2)), (2, "ann", (1, 2, 3, 4))]


def exported(state: Annotations, kind: Any, rules: ExportRules | None = None) -> tuple[list[dict[str, Any]], Ledger]:
    ledger = Ledger("votes")
    rows = [*export_rows(state, kind, rules or ExportRules(), ledger)]
    ledger.check()
    return rows, ledger


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rankings_are_read_by_reward(tmp_path: Path) -> None:
    rows, ledger = exported(log_of(items(3, answers=4), VOTES), "rankings")
    assert (ledger.rows_read, ledger.rows_kept, ledger.dropped["ties alone"].rows) == (4, 3, 1)
    read = [*formats.read_preferences(write(tmp_path / "rankings.jsonl", rows), Ledger("rows"), 0.0)]
    first, second, third = read
    assert isinstance(first, Ranking) and first.ranks == (1, 1, 2, 3)
    assert isinstance(second, Preference)  # two answers were ranked
    assert (second.chosen[0].text, second.rejected[0].text) == ("Answer 0 to 0.", "Answer 3 to 0.")
    assert isinstance(third, Ranking) and third.prompt[0].text == "Question 2?"


def test_h3_pairs_are_read_by_dpo(tmp_path: Path) -> None:
    """`a=b>c>d`: five strict pairs and a tie, which is noted."""
    rows, ledger = exported(log_of(items(1, answers=4), VOTES[:1]), "pairs")
    assert len(rows) == ledger.rows_out == 5
    assert ledger.noted["pair is a tie"].rows == 1
    read = [*formats.read_preferences(write(tmp_path / "pairs.jsonl", rows), Ledger("rows"), 0.0)]
    assert all(isinstance(row, Preference) for row in read)
    letters = {row.chosen[0].text[7] + row.rejected[0].text[7] for row in read if isinstance(row, Preference)}
    assert letters == {"02", "03", "12", "13", "23"}


def test_battles_are_read_by_arena(tmp_path: Path) -> None:
    twice = make_item([PromptTurn("user", "a?")], ["x", "y", "x"], ["m1", "m2", "m3"])
    rows, _ = exported(log_of([twice], [(0, "ann", (1, 2))]), "battles")
    battles = read_battles(write(tmp_path / "battles.jsonl", rows), Ledger("battles"))
    assert battles.players == ("m1", "m2", "m3")
    assert sorted(battles.won_N.tolist()) == [0.5, 1.0, 1.0]  # models of one answer tie


def test_every_reason_to_leave_a_vote_out_is_in_the_ledger() -> None:
    named = make_item([PromptTurn("user", "Who?")], ["I am GPT-4, an AI.", "b", "c"], ["GPT-4", "b", "c"])
    new = [*items(4, gold=(0,)), named]
    votes: list[Any] = [
        (0, "ann", (1, 2, 3)),
        (1, "ann", (1, 2, 3)),
        (1, "ann", (1, 2, 3)),
        (2, "ann", (1, None, None)),
    ]
    votes += [(0, "ben", (3, 2, 1)), (1, "ben", (1, 2, 3)), (4, "ann", (1, 2, 3)), (3, "ann", (1, 2, 3))]
    state = log_of(new, votes)
    state.apply(Submission(id="a-skipped-one", item=new[3].id, person="cem", outcome="skipped"))
    _, ledger = exported(state, "rankings", ExportRules(min_gold=0.9))
    assert {reason: entry.rows for reason, entry in ledger.dropped.items()} == {
        "gold item": 2,
        "repeated item": 1,
        "fewer than two answers ranked": 1,
        "annotator below min_gold": 1,
        "answer names a model": 1,
        "skipped": 1,
    }
    assert (ledger.rows_kept, ledger.rows_read) == (2, 9)
    _, ledger = exported(state, "rankings", ExportRules(not_blind=True))
    assert "answer names a model" not in ledger.dropped


def test_all_rows_of_a_prompt_or_of_a_customer_are_on_one_side() -> None:
    sources = [f"customer {number % 7}" for number in range(60)]
    new = [make_item([PromptTurn("user", f"{n}?")], ["a", "b"], source=source) for n, source in enumerate(sources)]
    votes: list[Any] = [(n, person, (1, 2)) for n in range(60) for person in ("ann", "ben")]
    rows, _ = exported(log_of(new, votes), "pairs")
    for by in ("item", "source"):
        sides: dict[str, set[bool]] = {}
        for row in rows:
            sides.setdefault(row[by], set()).add(held_out_of(row, 0.4, "prompt" if by == "item" else "source"))
        assert all(len(side) == 1 for side in sides.values())
        assert {True} in sides.values() and {False} in sides.values()


def test_h5_one_row_for_each_item_and_person_and_an_import_changes_nothing(tmp_path: Path) -> None:
    """label-studio #1289, #1165: export doubles rows."""
    log, votes, copy = (tmp_path / name for name in ("log.jsonl", "votes.jsonl", "copy.jsonl"))
    with service(log, items(3), LogSettings(task="rank", overlap=2)) as desk:
        for person in ("ann", "ben"):
            for number in range(2):
                desk.next(person)
                for revision in range(2):
                    id_ = f"{person}-item-{number}-{revision}"
                    desk.submit(
                        person, SubmitRequest(id=id_, number=number, revision=revision, ranks=[1, 2, 2 - revision])
                    )

    def run(*arguments: object) -> dict[str, Any]:
        result = CliRunner().invoke(main, ["annotate", *map(str, arguments), "--json"])
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    assert run("export", log, "--as", "votes", "--out", votes)["rows"] == 4
    before = log.read_bytes()
    assert run("import", log, votes)["added"] == 0
    assert log.read_bytes() == before
    with open_log(copy) as empty:
        empty.append(LogSettings(task="rank", overlap=2))
    assert run("import", copy, votes)["added"] == 4
    again = tmp_path / "again.jsonl"
    run("export", copy, "--as", "votes", "--out", again)
    assert again.read_bytes() == votes.read_bytes()
    assert run("import", copy, again)["ledger"]["dropped"]["already there"]["rows"] == 4
    assert {vote.revision for vote in read_events(read_log(copy)).votes()} == {2}


def test_qa_feedback_round_trips_with_its_ties(tmp_path: Path, data: Callable[[str], Path]) -> None:
    """People's verdicts on each of six pairs of four answers: 1, 2, or 0 for a tie. They are not always transitive, so
    each pair is an item."""
    with gzip.open(data("qa_feedback") / "dev_feedback.json.gz") as file:
        questions = json.load(file)[:60]
    path = tmp_path / "log.jsonl"
    expected: dict[tuple[str, str, str], int] = {}
    events: list[Event] = [LogSettings(task="rank")]
    for question in questions:
        answers = [question[f"prediction {n}"] for n in range(1, 5)]
        for (i, k), verdict in zip(combinations(range(4), 2), question["preference"], strict=True):
            if answers[i] == answers[k]:
                continue
            item = make_item([PromptTurn("user", question["question"])], [answers[i], answers[k]])
            if item.id not in {event.id for event in events if not isinstance(event, LogSettings)}:  # type: ignore[union-attr]
                ranks = ((1, 1), (1, 2), (2, 1))[verdict]
                events += [item, Submission(id=f"{len(events):08d}", item=item.id, person="ann", ranks=ranks)]
                expected[question["question"], answers[i], answers[k]] = verdict
    with open_log(path) as log:
        log.append(*events)
    votes, _ = exported(read_events(read_log(path)), "votes")
    found = {}
    for row in votes:
        first, second = row["vote"]["ranks"]
        key = (row["item"]["prompt"][0]["content"], *row["item"]["answers"])
        found[key] = 0 if first == second else 1 if first < second else 2
    assert found == expected
    pairs, ledger = exported(read_events(read_log(path)), "pairs")
    ties = sum(verdict == 0 for verdict in expected.values())
    assert 0 < ties == ledger.dropped["ties alone"].rows
    assert len(pairs) == len(expected) - ties
    read = [*formats.read_preferences(write(tmp_path / "pairs.jsonl", pairs), Ledger("rows"), 0.0)]
    assert len(read) == len(pairs)
