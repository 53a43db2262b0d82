"""Agreement, self-agreement, gold items and time, on votes that are made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from annotate_helpers import HOSTILE, Ranks, items, log_of

from tutelage.annotate.choose import choice_figures
from tutelage.annotate.events import PromptTurn
from tutelage.annotate.items import make_item
from tutelage.annotate.quality import quality_figures, quality_lines, verdicts
from tutelage.annotate.quality_page import quality_page
from tutelage.evaluate.agreement import krippendorff_alpha


def test_h3_a_tie_and_five_strict_verdicts() -> None:
    found = verdicts((1, 1, 2, 3))
    assert sorted(found.values()) == [-1] * 5 + [0]
    assert found[0, 1] == 0
    assert verdicts((2, None, 1)) == {(0, 2): 1}


def test_people_who_rank_alike_agree_and_others_do_not() -> None:
    new = items(6)
    alike = log_of(new, [(n, person, (1, 2, 3)) for n in range(6) for person in ("ann", "ben")])
    found = quality_figures(alike)["agreement"]
    assert found["alpha"]["value"] == pytest.approx(1)
    assert found["same"]["mean"] == found["strict"]["mean"] == 1
    apart = log_of(
        new, [(n, person, ranks) for n in range(6) for person, ranks in (("ann", (1, 2, 3)), ("ben", (3, 2, 1)))]
    )
    found = quality_figures(apart)["agreement"]
    assert found["alpha"]["value"] < 0
    assert found["same"]["mean"] == 0


def test_h6_agreement_is_shown_by_the_number_of_answers_and_with_and_without_ties() -> None:
    """PickScore #20: people agreed best on two answers with ties, and worst on four without."""
    new = [*items(3, answers=2), *items(3, answers=4)]
    votes: list[tuple[int, str, Ranks]] = [(n, person, (1, 1)) for n in range(3) for person in ("ann", "ben")]
    votes += [(n, "ann", (1, 2, 3, 4)) for n in (3, 4, 5)] + [(n, "ben", (1, 3, 2, 4)) for n in (3, 4, 5)]
    found = quality_figures(log_of(new, votes))
    two, four = found["agreement_by_answers"]["2"], found["agreement_by_answers"]["4"]
    assert (two["same"]["mean"], two["strict"]) == (1, None)  # all are ties
    assert four["same"]["mean"] == four["strict"]["mean"] == pytest.approx(5 / 6)
    assert found["agreement"]["items"] == 6


def test_alpha_is_krippendorffs_of_his_own_data(data: Callable[[str], Path]) -> None:
    """Each unit of his table C as an item whose first answer has the value as its rank; other answers tell nothing."""
    lines = (data("statistics") / "krippendorff_c.csv").read_text().splitlines()
    header, *rows = [line.split(",") for line in lines]
    coders = header[1:]
    values = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in rows])
    new = items(len(rows), answers=5)
    votes = [
        (n, coder, [int(values[n, c]), None, None, None, 9])
        for n in range(len(rows))
        for c, coder in enumerate(coders)
        if not np.isnan(values[n, c])
    ]
    shown = quality_figures(log_of(new, votes))["agreement"]["alpha"]
    last = [[9.0 if not np.isnan(value) else np.nan for value in row] for row in values]
    assert shown["value"] == pytest.approx(krippendorff_alpha(np.concatenate([values, last]), "ordinal"))
    assert krippendorff_alpha(values, "ordinal") == pytest.approx(0.815, abs=5e-4)


def test_votes_on_answers_that_name_a_model_are_apart() -> None:
    """H4."""
    named = make_item([PromptTurn("user", "Who?")], ["I am GPT-4, an AI.", "Me."], ["GPT-4", "b"])
    votes: list[tuple[int, str, Ranks]] = [
        (0, "ann", (1, 2)),
        (0, "ben", (1, 2)),
        (1, "ann", (1, 2)),
        (1, "ben", (2, 1)),
    ]
    found = quality_figures(log_of([named, *items(1, answers=2)], votes))
    assert (found["agreement"]["items"], found["agreement"]["same"]["mean"]) == (1, 0)
    assert (found["agreement_not_blind"]["items"], found["agreement_not_blind"]["same"]["mean"]) == (1, 1)
    assert any("a name was masked" in line for line in quality_lines(found))


def test_gold_and_repeated_items_measure_a_person() -> None:
    new = items(4, gold=(0, 1))
    votes: list[tuple[int, str, Ranks]] = [
        (0, "ann", (1, 2, 3)),
        (1, "ann", (1, 3, 2)),
        (2, "ann", (1, 2, 3)),
        (2, "ann", (1, 2, 2)),  # again, with one verdict of three changed
        (0, "ben", (3, 3, 3)),
    ]
    people = quality_figures(log_of(new, votes))["people"]
    assert people["ann"]["gold"] == {"share": pytest.approx(5 / 6), "count": 6}
    assert people["ann"]["self"] == {"share": pytest.approx(2 / 3), "count": 3}
    assert people["ben"]["gold"] == {"share": 0, "count": 3}  # a tie is not the gold order
    assert people["ben"]["self"] is None


def test_clicks_faster_than_reading_are_counted() -> None:
    long = make_item([PromptTurn("user", "Why?")], ["word " * 100, "other " * 100])
    for seconds, fast in ((10.0, 1), (30.0, 0)):
        assert quality_figures(log_of([long], [(0, "ann", (1, 2))], seconds))["people"]["ann"]["fast"] == fast


def test_agreement_is_shown_by_source_and_the_page_shows_where_people_disagree() -> None:
    new = [
        make_item([PromptTurn("user", f"{HOSTILE} {n}?")], ["x", HOSTILE, "z"], source=f"customer {n % 2}")
        for n in range(4)
    ]
    votes: list[tuple[int, str, Ranks]] = [(n, "ann", (1, 2, 3)) for n in range(4)]
    votes += [(n, "ben", (1, 2, 3) if n % 2 else (3, 2, None)) for n in range(4)]
    state = log_of(new, votes)
    found = quality_figures(state)
    assert [figures["same"]["mean"] for figures in found["agreement_by_source"].values()] == [0, 1]
    page = quality_page(state, found, None)
    assert HOSTILE not in page
    assert "Where people disagree" in page
    assert page.count("0% of pairs alike") == 2
    chosen = log_of(items(3), [(n, "ann", (1, 2, 3)) for n in range(3)])
    page = quality_page(chosen, quality_figures(chosen), choice_figures(chosen))
    assert "Not decided after 3 prompts." in page
