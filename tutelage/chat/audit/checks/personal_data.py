"""Personal data and secrets, in what any role writes."""

from __future__ import annotations

import re
from typing import Any

from tutelage.chat.audit.check import Check, flagged
from tutelage.text.contains import contains_any
from tutelage.text.pii import Found, Kind, find_pii, mask
from tutelage.text.secrets import DIGITS

# Searched for first: most texts have none of them.
_SECRET_HINTS = (*DIGITS, "PRIVATE KEY")
# What stands for anybody: in North America 555 is nobody's exchange.
_INVENTED_PHONES = ("555", "123456")
_MASKED: tuple[Kind, ...] = ("email", "ip", "phone", "name")
_INVENTED_MAIL = re.compile(r"@(?:your|my|our|the)?-?(?:company|domain|email|mail|business|website|example[\w-]*)\.")


def find_secret(text: str) -> int:
    """Where a card number, an API key or a private key begins; -1 where there is none."""
    if not contains_any(text, _SECRET_HINTS):
        return -1
    return _first(find_pii(text, ("card", "secret")))


def find_personal_data(text: str) -> int:
    """Where a mail address or a telephone number begins; -1 where there is none."""
    if "@" not in text and not contains_any(text, DIGITS):
        return -1
    return _first([span for span in find_pii(text, ("email", "phone")) if not _invented(text, span)])


def without_secrets(text: str) -> str:
    """A text to show: reports go to places where keys must not."""
    return mask(text, find_pii(text, ("card", "secret")))


def mask_row(row: Any) -> Any:
    """A row with placeholders for the mail and IP addresses, telephone numbers and names of people in its texts."""
    if isinstance(row, str):
        return mask(row, [span for span in find_pii(row, _MASKED) if not _invented(row, span)])
    if isinstance(row, list):
        return [mask_row(value) for value in row]
    return {name: mask_row(value) for name, value in row.items()} if isinstance(row, dict) else row


def _invented(text: str, span: Found) -> bool:
    found = text[span.start : span.stop]
    if span.kind == "phone":
        digits = "".join(filter(str.isdigit, found))
        return any(number in digits for number in _INVENTED_PHONES)
    return bool(_INVENTED_MAIL.search(found.lower()))


def _first(spans: list[Found]) -> int:
    return spans[0].start if spans else -1


SECRET = Check(
    "secret",
    "warning",
    "API keys, private keys or card numbers",
    "Leave these rows out, and revoke the keys: a model may repeat what it was trained on to anyone.",
    flagged("secret"),
    auto_fixable=True,
    in_text=find_secret,
)
PERSONAL_DATA = Check(
    "personal data",
    "warning",
    "mail addresses or telephone numbers",
    "Replace those of people by placeholders (--fix FILE --pii); keep only what the model is to tell anyone.",
    flagged("personal data"),
    in_text=find_personal_data,
)
