"""Numbers in answers; each field failure that moved a published score has its test."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.scoring.numeric import numeric, parse_number


def outcome(answer: str, gold: str | float, strict: bool = False) -> str:
    return numeric(answer, gold, strict=strict).outcome


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("72", 72),
        ("-4", -4),
        ("\N{MINUS SIGN}4", -4),
        ("- 4", -4),
        ("+4", 4),
        ("12.25.", Fraction("12.25")),
        (".5", Fraction(1, 2)),
        ("(3.14)", Fraction("3.14")),
        ("1,234,567.5", Fraction("1234567.5")),
        ("10{,}000", 10000),
        (r"10\,000", 10000),
        ("1.5e3", 1500),
        ("1e-2", Fraction(1, 100)),
        ("$29.00", 29),
        ("-$5", -5),
        ("$-5", -5),
        ("£1,000", 1000),
        (r"\$5", 5),
        ("1/3", Fraction(1, 3)),
        ("-1/3", Fraction(-1, 3)),
        ("2 1/2", Fraction(5, 2)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        (r"\frac12", Fraction(1, 2)),
        (r"1\frac{1}{4}", Fraction(5, 4)),
        ("50%", 50),
        (r"50\%", 50),
        ("20 cm", 20),
        ("20cm", 20),
        (r"20\text{ cm}", 20),
        (r"90^\circ", 90),
        ("90°", 90),
        ("**42**", 42),
        ("$42$", 42),
        (r"\(42\)", 42),
        ("x = 5", 5),
        ("2 + 3 = 5", 5),
        ("5 apples", 5),
        ("$18/day", 18),
        ("about 5, because 2 and 3 are 5", 5),
    ],
)
def test_how_numbers_are_written(text: str, value: Fraction) -> None:
    number = parse_number(text)
    assert number is not None
    assert number[0] == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "five",
        r"2\sqrt{3}",
        r"7\pi",
        "4a-2",
        "4t",
        "5x",
        "4:30",
        "3 + 5",
        "5 and 6",
        "5 or 6",
        "1, 2",
        "5-6",
        "10 to 15",
        r"\sqrt{2}",
        "x^2",
        "1/0",
        "1" * 999,
        "1e999999999",
        r"\frac{1}{x}",
    ],
)
def test_what_is_no_single_number(text: str) -> None:
    assert parse_number(text) is None


@given(st.fractions(max_denominator=10**6))
def test_a_fraction_is_read_back(value: Fraction) -> None:
    number = parse_number(str(value))
    assert number is not None
    assert number[0] == value


@given(st.integers(-(10**15), 10**15), st.sampled_from(["{:,}", "${:,}", "{:,}.00", "**{}**", "\\boxed{{{:,}}}"]))
def test_an_integer_is_right_however_it_is_written(value: int, form: str) -> None:
    assert outcome(f"So it is 3 + 4.\nThe answer is {form.format(value)}.", value) == "right"
    assert outcome(f"So it is 3 + 4.\nThe answer is {form.format(value)}.", value + 1 + abs(value)) == "wrong"


@given(st.text(), st.text())
def test_no_answer_raises(answer: str, more: str) -> None:
    assert outcome(f"{answer}5{more}", 5) in ("right", "wrong", "unparsable", "abstained")


@pytest.mark.parametrize("text", ["\n", "1", "1,", "####", "answer is ", "\\boxed{", "\\frac{1}", "A: 5\n", "answer "])
def test_a_long_answer_takes_no_longer_than_its_length(text: str) -> None:
    start = time.process_time()
    numeric("a" + text * (50_000 // len(text)) + "b", 5)
    assert time.process_time() - start < 2  # quadratic in lines would be many times that


# Field failures


def test_dollars_and_cents_of_lm_eval_3214() -> None:
    assert outcome("#### $29.00", "29") == "right"


def test_run_on_text_is_cut_at_the_next_question_lm_eval_3214() -> None:
    assert outcome("3 + 4 = 7. The answer is 7.\n\nQuestion: Tom has 9 apples.\nAnswer: 9", "7") == "right"
    assert outcome("It makes 7.\n\nQ: Tom has 9 apples.\nA: 9", "7") == "right"
    assert outcome("#### 7\n\nTom has 9 apples.\n#### 9", "7") == "right"


def test_boxed_in_any_delimiter_lm_eval_2552() -> None:
    for text in (
        r"\[\boxed{42}\]",
        r"$\boxed{42}$",
        r"\(\boxed{42}\)",
        r"\boxed{42}",
        r"\boxed{\text{42}}",
        r"\boxed{$42$}",
    ):
        assert outcome(f"We get {text} from 6 and 7.", "42", strict=True) == "right"


def test_boxed_with_nested_braces_and_the_last_of_several() -> None:
    assert outcome(r"First \boxed{3}, so \boxed{\frac{1}{2}} of 8.", "1/2", strict=True) == "right"
    assert outcome(r"\boxed{42", "42", strict=True) == "unparsable"


def test_lenient_and_strict_lm_eval_3110() -> None:
    assert outcome("So they have 18 eggs", "18") == "right"
    assert outcome("So they have 18 eggs", "18", strict=True) == "unparsable"
    assert outcome("ANSWER: 18", "18", strict=True) == "right"
    assert outcome("**Answer:** 18", "18", strict=True) == "right"
    assert outcome("The final answer is **18**", "18", strict=True) == "right"
    assert outcome("Answer:\n18", "18", strict=True) == "right"


def test_points_inside_numbers_lm_eval_2137() -> None:
    assert outcome("The answer is 12.25. That is all of 3.", "12.25") == "right"
    assert outcome("The answer is (3.14).", "314") == "wrong"


def test_thinking_that_ran_out_of_budget_is_unparsable_lighteval_869() -> None:
    assert numeric("<think>3 + 4 = 7, so the answer is 7", "7").outcome == "unparsable"
    assert outcome("<think>the answer is 5</think>The answer is 7.", "7") == "right"
    assert outcome("thinking without its first tag: 5</think>7", "7") == "right"
    assert outcome("", "7") == "unparsable"


def test_a_heading_of_four_hashes_is_no_result() -> None:
    assert outcome("#### 1. Add them\n3 + 4 = 7\nThe answer is 7", "7", strict=True) == "right"
    assert outcome("#### Step 1\n3 + 4 = 7", "7") == "right"
    assert outcome("##### 3\nThe answer is 7", "7") == "right"


def test_a_term_is_not_read_as_its_first_number() -> None:
    assert outcome(r"The answer is $2\sqrt{3}$, about 3", "2") == "unparsable"
    assert outcome("The answer is clear. It is 7.", "7") == "right"


def test_percent() -> None:
    assert [outcome("It is 50%", gold) for gold in (50, 0.5, "50%", "0.5%")] == ["right", "right", "right", "wrong"]
    assert [outcome("It is 0.5", gold) for gold in ("50%", "0.5%")] == ["right", "right"]
    assert outcome("It is 50", 0.5) == "wrong"


def test_tolerance_is_relative() -> None:
    assert numeric("0.3333333333", "1/3").outcome == "right"
    assert numeric("0.33", "1/3").outcome == "wrong"
    assert numeric("0.33", "1/3", tolerance=0.02).outcome == "right"
    assert numeric("10001", 10000).outcome == "wrong"
    assert numeric("0.0000001", 0).outcome == "wrong"


def test_saying_that_one_does_not_know_abstains() -> None:
    assert outcome("I do not know how many of the 3 there are.", "3") == "abstained"
    assert outcome("I am not sure, but the answer is 3.", "3") == "right"


def test_gold_that_is_no_number_is_refused_open_r1_293() -> None:
    for gold in ("", "4a-2", "five", []):
        with pytest.raises(ValueError, match="gold answer"):
            numeric("5", gold)


def test_several_golds_and_the_gold_of_gsm8k() -> None:
    assert outcome("#### 5", ["4", "5"]) == "right"  # type: ignore[arg-type]
    assert outcome("#### 72", "48 / 2 = 24 and 48 + 24 = 72\n#### 72") == "right"


def test_what_was_read_is_shown() -> None:
    assert numeric("so 1,234 eggs", "5").extracted == "1,234"
    assert numeric(r"\boxed{7\pi}", "5").extracted == r"7\pi"
