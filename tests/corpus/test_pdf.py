from __future__ import annotations

from tutelage.corpus.pdf import without_print_lines


def test_what_a_browser_prints_around_a_page_is_no_text() -> None:
    """B20: the date and the address of a printed page stayed in the corpus."""
    page = "11/30/26, 2:07\u202fAM Bees\nThe bees carry pollen.\nfile:///home/anna/page.html 1/1"
    assert without_print_lines(page) == "The bees carry pollen."
    assert without_print_lines("Text\n30.11.2026, 14:07 Bees\nhttps://bees.org/a 12/13") == "Text"


def test_dates_and_addresses_of_other_pages_stay() -> None:
    for page in (
        "11/30/26, 2:07 AM Bees\nThe bees carry pollen.",  # no address: a log, or minutes of a meeting
        "See https://bees.org/a 1/1 and\n11/30/26, 2:07 AM",
        "https://bees.org/a\nThe bees carry pollen.",
    ):
        assert without_print_lines(page) == page
