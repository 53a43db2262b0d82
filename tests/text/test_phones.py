from __future__ import annotations

import pytest

from tutelage.text.phones import find_phones


def numbers(text: str) -> set[str]:
    return {text[begin:end] for begin, end in find_phones(text)}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Rufen Sie mich an: 030 1234567 bitte.", "030 1234567"),
        ("Mobil 0171/1234567", "0171/1234567"),
        ("Ma mère : 01 42 68 53 00.", "01 42 68 53 00"),
        ("Call 020 7946 0958 today", "020 7946 0958"),
        ("お電話は03-1234-5678です", "03-1234-5678"),
        ("手机：13812345678", "13812345678"),
        ("010-1234-5678 로 연락", "010-1234-5678"),
        ("телефон 8 (495) 123-45-67", "8 (495) 123-45-67"),
        ("Teléfono: 912 345 678", "912 345 678"),
        ("telefono 06 1234 5678", "06 1234 5678"),
        ("(555) 234-9876", "(555) 234-9876"),
        ("+49 30 1234567", "+49 30 1234567"),
    ],
)
def test_national_forms_are_found(text: str, number: str) -> None:
    assert numbers(text) == {number}


@pytest.mark.parametrize(
    "text",
    [
        "On 01-02-2003 we met", "version 01 02 03 04 05 of it", "Call 1990-2004 reports", "dial 911",
        "mobile users grew to 1,234,567", "ISBN 978-3-16-148410-0 phone", "0123456789", "a ratio of 0171/1",
        "the model 020 7946", "10 000 000 people", "telephone costs of 12.50 and 13.75", "see 030 1234567",
    ],
)  # fmt: skip
def test_other_numbers_are_no_telephone_numbers(text: str) -> None:
    assert numbers(text) == set()
