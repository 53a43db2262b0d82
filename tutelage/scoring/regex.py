"""What a pattern finds in the answer is a right answer."""

from __future__ import annotations

import re

from tutelage.scoring.exact import exact
from tutelage.scoring.extract import abstains, visible
from tutelage.scoring.score import Gold, Score


def regex(answer: str, gold: Gold, *, pattern: str) -> Score:
    """Compares the last match of the pattern, or of its first group, as `exact` does."""
    text = visible(answer)
    matches = [*re.finditer(pattern, text)]
    if not matches:
        return Score("abstained" if abstains(text) else "unparsable")
    found = matches[-1][1 if matches[-1].re.groups else 0] or ""
    return exact(found, gold)
