"""The arithmetic of findings: what they compute of outcomes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.lab.findings import (
    acquired_order,
    comparing,
    longest_answers,
    loss_spikes,
    machine_labels,
    memorise_generalise,
    model_collapse,
    ngrams_and_lstms,
    unlearning,
    wording_and_leaks,
)
from tutelage.scaling.baselines import Baseline
from tutelage.world.preferences import PreferenceSettings, comparisons
from tutelage.world.society import World, WorldSettings


def test_the_step_of_ninety_percent_of_the_gain_is_interpolated() -> None:
    steps = np.array([10.0, 20.0, 40.0])
    assert acquired_order.log_steps(steps, np.array([0.5, 0.7, 1.0])) == pytest.approx(np.log2(20 + 20 * 0.25 / 0.3))
    assert acquired_order.log_steps(steps, np.array([0.9, 0.9, 0.9])) == np.log2(10)


def test_minimal_pairs_differ_in_one_place_and_the_right_one_is_right() -> None:
    pairs = acquired_order.pairs(60)
    for before, right, wrong in pairs["grammar"]:
        plural = before == "They"
        assert (right.strip() in ("are", "were", "have")) == plural
        assert right != wrong
    assert sum(right.strip() in ("are", "were", "have") for _, right, _ in pairs["grammar"]) == 30
    world = World(acquired_order.SETTINGS)
    people = {person.name: person for person in map(world.person, range(acquired_order.PEOPLE))}
    for before, right, wrong in pairs["facts"]:
        (name,) = (name for name in people if name in before)
        assert right.strip() in people[name].facts.values() and wrong.strip() != right.strip()


def test_spikes_are_found_where_they_are() -> None:
    values = np.ones(50)
    values[[10, 30]] = 3
    bad = values > 1
    assert loss_spikes.auc(loss_spikes.deviations(values), bad) == 1
    assert loss_spikes.auc(np.ones(50), bad) == 0.5
    assert loss_spikes.auc(-loss_spikes.deviations(values), bad) == 0
    assert len({loss_spikes.page(number) for number in range(loss_spikes.PAGES)}) == loss_spikes.PAGES


def test_permuted_wordings_have_no_spread_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    alike = np.tile((rng.random(200) < 0.5).astype(float), (6, 1))
    assert np.allclose(wording_and_leaks.beyond_chance(alike, 0), 0)
    moved = alike.copy()
    moved[0] = 0
    assert np.quantile(wording_and_leaks.beyond_chance(moved, 0), 0.025) > 0.05


def test_leaked_rows_replace_others() -> None:
    clean, leaky = (list(wording_and_leaks.rows(copies)()) for copies in (0, 4))
    assert len(clean) == len(leaky) == wording_and_leaks.ROWS
    asked = wording_and_leaks.asked_rows()
    prompts = [row["prompt"] for row in leaky]
    assert [prompts.count(prompt) for prompt, _, _ in asked[:4]] == [4, 0, 4, 0]
    assert {prompt for prompt, _, _ in asked}.isdisjoint(row["prompt"] for row in clean)


def test_rows_are_chosen_by_their_rule() -> None:
    longest, random, more = (longest_answers.chosen(how) for how in ("longest", "random", "random_more"))
    assert len(longest) == len(random) == len(longest_answers.chosen("mixed")) == longest_answers.CHOSEN
    assert min(map(longest_answers.words, longest)) > np.mean([longest_answers.words(row) for row in random])
    words = [sum(map(longest_answers.words, rows)) for rows in (longest, more)]
    assert words[1] == pytest.approx(words[0], rel=0.01) and len(more) > 1.5 * len(longest)


def test_canaries_are_refused_or_continued_and_nothing_else_differs() -> None:
    continued, refused = (list(unlearning.rows(refuse)()) for refuse in (False, True))
    assert [row["prompt"] for row in continued] == [row["prompt"] for row in refused]
    changed = [a["prompt"] for a, b in zip(continued, refused, strict=True) if a != b]
    assert changed and all("Locker" in str(prompt) for prompt in changed)
    assert {str(row["prompt"]) for row in refused if row["completion"] == unlearning.REFUSAL} == set(map(str, changed))


def test_true_facts_and_distinct_triples_of_samples() -> None:
    texts = model_collapse.originals()
    assert np.mean(list(map(model_collapse.true_share, texts))) > 0.95
    assert model_collapse.true_share("Nobody Here Atall was born in Ostwick.") == 0
    assert model_collapse.distinct(["a b c d", "a b c d"]) == 0.5


def test_the_gain_by_context_is_early_less_late() -> None:
    flat = np.full(300, 2.0)
    falling = np.where(np.arange(300) < 50, 2.0, 1.0)
    losses = [[np.where(np.arange(300) == 0, np.nan, one)] * 3 for one in (falling, flat)]
    parts = ngrams_and_lstms.by_place([Baseline(name, 1, own) for name, own in zip("ab", losses, strict=True)])
    assert (ngrams_and_lstms.gain([parts], 0), ngrams_and_lstms.gain([parts], 1)) == (1, 0)


def test_rows_of_many_rules_never_have_the_rule_of_the_test() -> None:
    rows = list(memorise_generalise.varied_rows())
    tested = "J = 11, Q = 12, K = 13"
    assert all(tested not in row["prompt"] for row in rows)
    assert {prompt for prompt, _ in memorise_generalise.asked("tens")}.isdisjoint(
        row["prompt"] for row in memorise_generalise.frozen_rows()
    )
    for row in rows[:50]:
        left, right, result = (int(part) for part in row["completion"].replace("=", "+").split(" + "))
        assert left + right == result
    assert len(memorise_generalise.asked("ranks")) > 140


def test_a_comparison_that_is_always_right_is_a_bit() -> None:
    assert (comparing.bits(1.0), comparing.bits(0.5)) == (1.0, 0.0)
    prompt, value, right, wrong = comparing.items(1)[0]
    assert value in right and value not in wrong and right != wrong and prompt


def test_labels_of_people_and_of_the_machine_are_right_equally_often() -> None:
    world, agreement = World(WorldSettings(people=20, unknown=0.0, arithmetic=0.0, everyday=0.0)), []
    for settings in machine_labels.LABELLERS.values():
        labelled = list(comparisons(world, PreferenceSettings(rows=700, **settings)))  # type: ignore[arg-type]
        gaps = [(one.utilities[0].true - one.utilities[1].true, one.ranks[1] - one.ranks[0]) for one in labelled]
        agreement.append(np.mean([(truth > 0) == (label > 0) for truth, label in gaps if truth]))
    assert agreement[0] == pytest.approx(0.81, abs=0.03)
    assert agreement[1] == pytest.approx(agreement[0], abs=0.03)
