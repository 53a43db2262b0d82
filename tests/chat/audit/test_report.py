from __future__ import annotations

import pytest

from tutelage.chat.audit.report import EXCERPT, KINDS, excerpt


def test_every_kind_says_what_it_is_and_what_to_do() -> None:
    for name, kind in KINDS.items():
        assert kind.title and kind.title != name
        assert kind.cure[0].isupper()
        assert kind.cure.endswith(".")


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
