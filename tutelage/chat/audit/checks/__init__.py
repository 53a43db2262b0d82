"""All checks of an audit. To add one: a file here with its `Check`, and its name in CHECKS."""

from __future__ import annotations

from tutelage.chat.audit.check import Check
from tutelage.chat.audit.checks.benchmark_overlap import BENCHMARK_OVERLAP
from tutelage.chat.audit.checks.contradiction import CONTRADICTION
from tutelage.chat.audit.checks.copied_prompt import COPIED_PROMPT
from tutelage.chat.audit.checks.duplicates import DUPLICATE, LEAK, NEAR_DUPLICATE
from tutelage.chat.audit.checks.identity import IDENTITY
from tutelage.chat.audit.checks.model import TOO_LONG, UNVERIFIABLE
from tutelage.chat.audit.checks.personal_data import PERSONAL_DATA, SECRET
from tutelage.chat.audit.checks.placeholder import PLACEHOLDER
from tutelage.chat.audit.checks.placeholder_answer import PLACEHOLDER_ANSWER
from tutelage.chat.audit.checks.prompts import FEW_PROMPTS, MOSTLY_PROMPT, SAME_OPENING_WORDS
from tutelage.chat.audit.checks.refusal import REFUSAL
from tutelage.chat.audit.checks.rows import (
    BROKEN_ROW,
    CALL_NOT_OFFERED,
    EMPTY_FILE,
    MISSING_END_MARKER,
    NO_LAST_ANSWER,
    UNREAD_FIELD,
)
from tutelage.chat.audit.checks.scripts import OTHER_LANGUAGE, RARE_LANGUAGE
from tutelage.chat.audit.checks.special_token import SPECIAL_TOKEN
from tutelage.chat.audit.checks.swapped_turns import SWAPPED_TURNS
from tutelage.chat.audit.checks.truncated import TRUNCATED

# A conversation that several of these find is left out for the first of them.
CHECKS: tuple[Check, ...] = (
    BROKEN_ROW,
    LEAK,
    BENCHMARK_OVERLAP,
    UNVERIFIABLE,
    TOO_LONG,
    SPECIAL_TOKEN,
    SECRET,
    PLACEHOLDER,
    PLACEHOLDER_ANSWER,
    TRUNCATED,
    SWAPPED_TURNS,
    COPIED_PROMPT,
    CONTRADICTION,
    DUPLICATE,
    NEAR_DUPLICATE,
    REFUSAL,
    IDENTITY,
    PERSONAL_DATA,
    OTHER_LANGUAGE,
    RARE_LANGUAGE,
    FEW_PROMPTS,
    SAME_OPENING_WORDS,
    MOSTLY_PROMPT,
    MISSING_END_MARKER,
    EMPTY_FILE,
    NO_LAST_ANSWER,
    CALL_NOT_OFFERED,
    UNREAD_FIELD,
)
