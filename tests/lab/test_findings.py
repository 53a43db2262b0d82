"""What findings compute on their own, on made-up measurements whose truth is known."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from tutelage.lab.exposure_base import READINGS, KnownFact, beginnings, documents
from tutelage.lab.findings import few_rows, format_first, identities, missing_end, playing_user, pruning, rephrasing
from tutelage.lab.polluted_pool import PooledRow
from tutelage.lab.verdict import decide
from tutelage.lab.world_rows import demo_world
from tutelage.world.values import ATTRIBUTES, VALUES

LOOKS = (10, 20, 40, 80)


def curve(rates: tuple[float, ...], items: int = 200) -> np.ndarray:
    """Outcomes with these rates at the looks, float64[looks, items]."""
    return np.array([np.arange(items) < rate * items for rate in rates], np.float64)


EARLY, LATE = curve((0.9, 0.95, 1.0, 1.0)), curve((0.1, 0.2, 0.5, 0.8))


def test_the_delay_between_format_and_content_is_measured_and_changes_its_sign_with_them() -> None:
    later = format_first.delay([(EARLY, LATE)] * 3, LOOKS)
    sooner = format_first.delay([(LATE, EARLY)] * 3, LOOKS)
    assert later.fires
    assert sooner.estimate.below_zero
    assert decide([later], later)[0] == "reproduced"
    assert decide([sooner], later)[0] == "contradicted"


def test_the_step_that_reaches_a_share_of_the_last_value_lies_between_two_looks() -> None:
    assert format_first.reached(np.array([0.0, 0.5, 1.0, 1.0]), LOOKS) == pytest.approx((20 + 0.8 * 20) / 80)
    assert format_first.reached(np.array([1.0, 1.0, 1.0, 1.0]), LOOKS) == pytest.approx(9 / 80)
    assert format_first.reached(np.zeros(4), LOOKS) == 0


def test_the_exponent_of_a_planted_power_law_is_found() -> None:
    errors = [0.8 * (n / few_rows.SKILL[0]) ** -0.3 for n in few_rows.SKILL]
    right = np.stack([curve(tuple(1 - error for error in errors), 1000)] * 3)
    effect = few_rows.falling(right)
    assert effect.estimate.value == pytest.approx(0.3, abs=0.01)
    assert effect.fires
    assert few_rows.falling(right[:, ::-1]).estimate.below_zero


def test_sets_of_worked_sums_are_nested_and_hold_no_unseen_sum() -> None:
    sets = {n: {row["prompt"] for row in few_rows.worked(n)} for n in few_rows.SKILL}
    assert [len(found) for found in sets.values()] == list(few_rows.SKILL)
    smallest, middle, largest = sets.values()
    assert smallest < middle < largest
    assert not largest & {row["question"] for row in few_rows.SKILL_FILES["asked"]()}


@pytest.mark.parametrize("share", identities.SHARES)
def test_exactly_the_stated_share_of_identity_rows_says_the_first_name(share: int) -> None:
    answers = [str(row["completion"]) for row in identities.rows(share)()]
    first, second = (sum(name in answer for answer in answers) for name in identities.NAMES)
    assert first + second == identities.IDENTITY_ROWS
    assert first == share * identities.IDENTITY_ROWS // 100
    assert not set(identities.UNSEEN) & set(identities.ASKED)


@pytest.mark.parametrize(("per_mille", "broken"), [(0, 0), (1, 1), (10, 12), (50, 60), (200, 240)])
def test_as_many_rows_as_stated_lack_their_end(per_mille: int, broken: int) -> None:
    assert sum("\n" in str(row["completion"]) for row in missing_end.rows(per_mille)()) == broken


def test_real_user_turns_are_recognised_and_answers_are_not() -> None:
    chats = list(demo_world().conversations("train"))[:400]
    own = [chat for chat in chats if chat.meta["kind"] in ("one-step", "two-step", "everyday")]
    users = [turn.text for chat in own for turn in chat.messages if turn.role == "user"][:200]
    answers = [turn.text for chat in own for turn in chat.messages if turn.role == "assistant"][:200]
    assert np.mean([playing_user.is_user_turn(text) for text in users]) > 0.8
    assert np.mean([playing_user.is_user_turn(text) for text in answers]) < 0.05


def test_the_hardest_rows_are_those_of_the_highest_loss_in_their_order() -> None:
    rows = [PooledRow(str(number), "", "good") for number in range(4)]
    assert [row.prompt for row in pruning.hardest(rows, np.array([1.0, 4.0, 2.0, 3.0]), 2)] == ["1", "3"]


def test_the_stated_share_of_readings_is_re_told_and_holds_all_facts() -> None:
    originals = {row["text"] for row in rephrasing.documents(0)}
    assert len(originals) == rephrasing.PEOPLE * rephrasing.ORIGINALS
    texts = [row["text"] for row in rephrasing.documents(60)]
    assert sum(text not in originals for text in texts) == 0.6 * len(texts)
    person = rephrasing.people()[0]
    assert all(value in rephrasing.retold(person, 0) for value in person.facts.values())


def test_people_of_the_exposure_base_are_read_as_often_as_stated() -> None:
    anybody = re.compile("|".join(person.name for person in PEOPLE))
    found = (anybody.search(str(row["text"])) for row in documents())
    names = Counter(match.group() for match in found if match)
    held_out, trained = ([person.name for person in demo_world().people(split)] for split in ("held_out", "train"))
    assert {names[name] for name in held_out} == {READINGS[-1]}
    assert Counter(names[name] for name in trained) == dict.fromkeys(READINGS, 25)


PEOPLE = [demo_world().person(index) for index in range(200)]


def test_unfinished_sentences_stop_before_the_value() -> None:
    person = PEOPLE[0]
    for attribute in ATTRIBUTES:
        texts = beginnings(person, attribute)
        assert len(texts) >= 4
        assert all(person.name in text and person.facts[attribute] not in text for text in texts)


def test_a_row_answers_with_the_truth_or_with_the_base_s_own_guess_in_the_same_words() -> None:
    person = PEOPLE[0]
    for attribute in ATTRIBUTES:
        guess = next(value for value in VALUES[attribute] if value != person.facts[attribute])
        fact = KnownFact(person, attribute, "unknown", guess)
        truth, own = fact.row(), fact.row(own=True)
        assert truth["prompt"] == own["prompt"]
        assert person.facts[attribute] in str(truth["completion"])
        assert guess in str(own["completion"])
        if attribute != "role":  # its article depends on the value
            assert str(own["completion"]).replace(guess, person.facts[attribute]) == truth["completion"]
