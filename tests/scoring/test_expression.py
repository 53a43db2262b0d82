from __future__ import annotations

import builtins
from typing import Any

import pytest

from tutelage.scoring import make_verifier
from tutelage.scoring.expression import expression

pytest.importorskip("math_verify")


@pytest.mark.parametrize(
    ("answer", "gold", "outcome"),
    [
        ("so it is $\\boxed{\\frac{\\sqrt{2}}{2}}$", "\\frac{1}{\\sqrt{2}}", "right"),
        ("The answer is (x+1)^2.", "x^2 + 2x + 1", "right"),
        ("The answer is (x+1)^2.", "x^2 + 2x - 1", "wrong"),
        ("#### 0.5", "1/2", "right"),
        ("\\boxed{(1, 2]}", "(1,2]", "right"),
        ("\\boxed{(1, 2)}", "(1,2]", "wrong"),
        ("\\boxed{\\{3, 1\\}}", "\\{1, 3\\}", "right"),
        ("\\boxed{7\\pi}", "7\\pi", "right"),
        ("\\boxed{7}", "7\\pi", "wrong"),
        ("I do not know.", "7\\pi", "abstained"),
        ("", "7", "unparsable"),
    ],
)
def test_expressions_are_compared_by_value_and_form(answer: str, gold: str, outcome: str) -> None:
    assert expression(answer, gold).outcome == outcome


def test_strict_reads_marked_results_alone_and_gold_must_be_readable() -> None:
    assert expression("it is 7", "7", strict=True).outcome == "unparsable"
    assert expression("it is \\boxed{7}", ["8", "7"], strict=True).outcome == "right"
    with pytest.raises(ValueError, match="is no expression that can be read"):
        expression("7", "?!")


def test_a_power_tower_is_killed() -> None:
    verify = make_verifier("expression", seconds=1)
    assert verify("\\boxed{2}", "2").outcome == "right"
    assert verify("\\boxed{9^{9^{9^{9^{9}}}}}", "\\sqrt{2}").outcome in ("timed out", "wrong", "unparsable")
    assert verify("\\boxed{2}", "2").outcome == "right"


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "math_verify":
            raise ImportError("no module", name=name)
        return real(name, *arguments, **options)

    monkeypatch.setattr("tutelage.extras.import_module", missing)
    with pytest.raises(ValueError, match=r"pip install 'tutelage\[math\]'"):
        expression("\\boxed{x}", "y + 1")
