from __future__ import annotations

import pytest

from tutelage.chat.audit.checks import CHECKS
from tutelage.chat.audit.scan_result import EXCERPT, excerpt


def test_every_check_has_a_title_and_a_fix() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.title and check.title != check.name
        assert check.fix[0].isupper()
        assert check.fix.endswith(".")


@pytest.mark.parametrize("at", [0, 100, 399])
def test_an_excerpt_shows_the_words_at_its_place_on_one_line(at: int) -> None:
    text = "".join(f"{number:03d}\n" for number in range(100))
    shown = excerpt(text, at)
    assert f"{at // 4:03d}" in shown
    assert "\n" not in shown
    assert len(shown) <= EXCERPT + 2
    assert shown.startswith("…") == (at > EXCERPT // 3)


def test_a_short_text_is_shown_whole() -> None:
    assert excerpt(" so\n it is ", 5) == "so it is"
