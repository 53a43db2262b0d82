from __future__ import annotations

import pytest

from tutelage.config import SettingsError
from tutelage.records import message
from tutelage.rl.reward_settings import (
    AnyReward,
    FormatReward,
    FunctionReward,
    LengthReward,
    OverlongReward,
    VerifierReward,
)
from tutelage.rl.rewards import Part, Rewards, Sample, Sources, overlong, verified
from tutelage.scoring import Gold, Score

GOLDS: list[Gold | None] = ["72", "18", "7"]


def sample(text: str, gold: Gold | None = "72", tokens: int = 5, raw: str | None = None) -> Sample:
    return Sample((message("user", "How many?"),), gold, text, text if raw is None else raw, tokens, 10, "stop")


def rewards(golds: list[Gold | None] = GOLDS, **parts: AnyReward) -> Rewards:
    return Rewards(parts, Sources(golds))


def half(one: Sample) -> float | None:
    """A function of the user."""
    return None if one.text == "?" else len(one.text) / 2


def always_right(answer: str, gold: Gold) -> bool:
    return True


def never_right(answer: str, gold: Gold) -> bool:
    return False


def hangs(answer: str, gold: Gold) -> bool:
    while answer == "loop":
        pass
    return answer == gold


def test_a_reward_is_the_weighted_sum_of_its_parts_and_weight_0_is_only_logged() -> None:
    made = rewards(
        exact=VerifierReward(verifier="numeric", weight=2.0, wrong=-0.5),
        short=LengthReward(weight=0.1),
        gold=VerifierReward(verifier="exact", weight=0.0),
    )
    right, wrong, silent = made.score([sample("So 72."), sample("So 71."), sample("none at all", tokens=10)])
    assert right.total == pytest.approx(2 - 0.05)
    assert wrong.total == pytest.approx(-1 - 0.05)
    assert silent.total == pytest.approx(-0.1)
    assert silent.parts["exact"].outcome == "unparsable"
    assert right.parts["gold"].value == 0  # "So 72." is not exactly the gold answer
    assert right.parts.keys() == {"exact", "short", "gold"}


def test_published_values_of_the_overlong_penalty() -> None:
    """DAPO (2503.14476, Eq. 13) with 20,480 tokens and a cache of 4,096."""
    found = [overlong(tokens, 20_480, 4_096) for tokens in (16_384, 18_432, 20_480, 20_481)]
    assert found == pytest.approx([0, -0.5, -1, -1])
    (scored,) = rewards(long=OverlongReward(cache=4)).score([sample("x", tokens=8)])
    assert scored.total == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("golds", "verifier", "said"),
    [
        (["72", "no number", "7"], "numeric", "no number"),
        (["72", "{'a': 1"], {"kind": "regex", "pattern": r"answer: (\d+)"}, "prompt 1, '72', is unparsable"),
        (["72", "18"], f"{__name__}:always_right", "it tells nothing apart"),
        (["72", "18"], f"{__name__}:never_right", "prompt 1, '72', is wrong by its own verifier"),
        (["72", None], "numeric", "prompt 2 has no gold answer"),
        (["72", "  "], "exact", "is empty"),
    ],
)
def test_pain_54_a_verifier_that_fails_on_its_own_gold_is_refused(
    golds: list[Gold | None], verifier: str | dict[str, str], said: str
) -> None:
    """open-r1 #293, #557: an unparsable gold answer paid 1 for every answer."""
    with pytest.raises(SettingsError, match="reward 'math'.*" + said.replace("{", r"\{")):
        rewards(golds, math=VerifierReward(verifier=verifier))


def test_a_short_answer_made_from_gold_is_enough() -> None:
    """A verifier that reads only marked results calls the bare gold answer unparsable."""
    strict = VerifierReward(verifier={"kind": "numeric", "strict": True})
    (right, bare) = rewards(strict=strict).score([sample("#### 72"), sample("72")])
    assert right.total == 1
    assert (bare.total, bare.parts["strict"].outcome) == (0, "unparsable")


def test_pain_55_a_grader_that_hangs_is_killed_and_its_sample_has_no_reward() -> None:
    """verl PR 6673: one answer hung the run. The outcome is "timed out", not 0; the next answer is scored."""
    made = rewards(["72", "18"], mine=VerifierReward(verifier=f"{__name__}:hangs", seconds=0.5))
    late, right, wrong = made.score([sample("loop"), sample("72"), sample("71")])
    assert (late.total, late.reason) == (None, "mine: timed out")
    assert (right.total, wrong.total) == (1, 0)
    priced = VerifierReward(verifier="exact", timed_out=-1.0)
    assert verified(lambda answer, gold: Score("timed out"), priced, [sample("loop")]) == [Part(-1.0, "timed out")]


def test_pain_11_a_format_is_read_with_the_reasoning_that_the_prompt_opens() -> None:
    """TRL #6966: it was 0 for every answer where the template had written "<think>" already."""
    made = rewards(format=FormatReward(pattern=r"<think>.*</think>\s*\d+"))
    good, bad = made.score([sample("72", raw="<think>so\nmany</think> 72"), sample("72")])
    assert (good.total, bad.total) == (1, 0)
    with pytest.raises(SettingsError, match="reward 'format'"):
        rewards(format=FormatReward(pattern="("))


def test_pain_53_a_function_that_abstains_gives_no_reward() -> None:
    """ms-swift #8123: one None made every advantage NaN."""
    made = rewards(mine=FunctionReward(name=f"{__name__}:half"))
    some, none = made.score([sample("four"), sample("?")])
    assert (some.total, none.total, none.reason) == (2.0, None, "mine: abstained")
    with pytest.raises(SettingsError, match="reward 'mine': 'nothing:here' cannot be imported"):
        rewards(mine=FunctionReward(name="nothing:here"))


def test_a_part_of_weight_0_that_abstains_takes_no_reward_away() -> None:
    made = rewards(mine=FunctionReward(name=f"{__name__}:half", weight=0.0), short=LengthReward())
    (scored,) = made.score([sample("?")])
    assert scored.total == pytest.approx(-0.5)
    assert Score("right").outcome == "right"
