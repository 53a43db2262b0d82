"""API keys, private keys and card numbers in a text. Only forms that little else has: a known prefix, a check digit."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tutelage.text.contains import contains_any

Span = tuple[int, int]

# The prefixes that providers give their keys, as gitleaks and GitHub's secret scanning list them.
_KEY = re.compile(
    r"(?<![\w/-])(?:"
    r"sk-(?:[a-z]+\d*-)*[A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic and those who copy them
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"  # Stripe
    r"|(?:AKIA|ASIA)[A-Z2-7]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|AIza[A-Za-z0-9_-]{35}|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"  # JSON web token
    r")(?![\w-])",
    re.ASCII,
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:[A-Za-z0-9+/=\s]*-----END (?:[A-Z]+ )*PRIVATE KEY-----)?"
)
_PREFIXES = (
    *("sk-", "k_live_", "k_test_", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xox", "hf_", "npm_", "AIza", "SG.", "eyJ"),
)
_EXAMPLE = re.compile(
    r"example|placeholder|x{4}|0{6}|(?:your|my)[_-]?(?:\w+[_-])?(?:api|key|token|secret)", re.IGNORECASE
)
DIGITS = "0123456789"
_FOUR_DIGITS = re.compile(r"[0-9]{4}")
_MIN_DIGITS = 2  # of a key; words joined by hyphens have none

# Issuers and lengths (ISO/IEC 7812): Visa, Mastercard, American Express, Discover, JCB, Diners Club.
_CARD = re.compile(
    r"(?<![\w.,/=+#-])(?:"
    r"(?:4\d{3}|5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720|6011|65\d\d|64[4-9]\d|35(?:2[89]|[3-8]\d))"
    r"(?:([ -])\d{4}\1\d{4}\1\d{4}|\d{12})"
    r"|3[47]\d\d(?:([ -])\d{6}\2\d{5}|\d{11})"
    r"|3(?:0[0-5]|[68]\d)\d(?:([ -])\d{6}\3\d{4}|\d{10})"
    r")(?![\w/=-])(?![.,]\d)",
    re.ASCII,
)


def find_secrets(text: str) -> Iterator[Span]:
    """The spans of API keys and private keys, in order for each kind. Obvious placeholders are none."""
    if contains_any(text, DIGITS) and contains_any(text, _PREFIXES):
        for match in _KEY.finditer(text):
            if sum(map(str.isdigit, match[0])) >= _MIN_DIGITS and not _EXAMPLE.search(match[0]):
                yield match.span()
    if "PRIVATE KEY-----" in text:
        for match in _PRIVATE_KEY.finditer(text):
            yield match.span()


def has_digit(text: str) -> bool:
    """Whether there is a digit from 0 to 9."""
    return contains_any(text, DIGITS)


def has_long_number(text: str) -> bool:
    """Whether four digits stand together: every card number and most telephone numbers have that, and few texts."""
    return contains_any(text, DIGITS) and _FOUR_DIGITS.search(text) is not None


def find_cards(text: str) -> Iterator[Span]:
    """The spans of card numbers: an issuer's first digits, its length, and the check digit."""
    if not has_long_number(text):
        return
    for match in _CARD.finditer(text):
        digits = [int(character) for character in match[0] if character.isdigit()]
        if luhn(digits):
            yield match.span()


def luhn(digits: list[int]) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0
