"""The audit's checks on an answer while it is written."""

from __future__ import annotations

from functools import cache

from tutelage.annotate.events import AnnotationItem
from tutelage.chat.audit.checks import CHECKS
from tutelage.synth.gate import Gate, GateSettings

LONG_WORDS = 1000
_TITLES = {check.name: check.title for check in CHECKS} | {"identity": "the answer names an assistant"}


@cache
def _gate() -> Gate:
    return Gate(GateSettings())


def written_faults(item: AnnotationItem, text: str) -> list[str]:
    """What the audit would say of the answer alone, one sentence each; [] for an empty one."""
    if not text.strip():
        return []
    turns = [{"role": turn.role, "content": turn.content} for turn in item.prompt]
    found = _gate().check({"messages": [*turns, {"role": "assistant", "content": text}]})
    faults = []
    if found is not None:
        title = _TITLES.get(found.reason, found.reason)
        faults.append(f"{title}: {found.raw[:120]}" if found.raw and found.raw != text else title)
    if len(text.split()) > LONG_WORDS:
        faults.append(f"longer than {LONG_WORDS:,} words")
    return faults
