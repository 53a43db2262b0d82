"""Where a made row comes from, and what is kept of a dropped one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.synth.method import Drop, New, Row

Common = Mapping[str, Any]  # name and template of the step, its method, and the item


def made_row(common: Common, place: int, new: New) -> Row:
    """A new row with an id, and its lineage: parent, item, method, template, model, sampling, sample, finish reason,
    tokens, verdicts."""
    item = common["item"]
    reply = new.reply or item.last
    lineage = {"parent": item.row.get("id", ""), "item": item.number, "method": common["method"].__struct_config__.tag}
    lineage["template"] = common["template"]
    if reply is not None:
        lineage |= {
            "model": reply.model,
            "sampling": dict(reply.sampling),
            "sample": reply.ask.sample,
            "finish": reply.finish,
            "tokens": list(reply.tokens),
        }
    if new.verdicts:
        lineage["verdicts"] = dict(new.verdicts)
    return {"id": f"{common['name']}-{item.number}-{place}", **new.row, "lineage": lineage}


def dropped_row(common: Common, place: int, row: Row, drop: Drop) -> dict[str, Any]:
    """A row that was made and is not kept; `raw` is the text that shows why."""
    return {
        "id": f"{common['name']}-{common['item'].number}-{place}",
        "level": "row",
        "reason": drop.reason,
        **({"detail": drop.detail} if drop.detail else {}),
        "raw": drop.raw,
        "row": row,
        "parent": common["item"].row.get("id", ""),
    }


def dropped_item(common: Common, drop: Drop) -> dict[str, Any]:
    """An item that no row was made of; `raw` is the reply."""
    item = common["item"]
    return {
        "id": f"{common['name']}-{item.number}",
        "level": "item",
        "reason": drop.reason,
        **({"detail": drop.detail} if drop.detail else {}),
        "raw": drop.raw,
        "parent": item.row.get("id", ""),
    }
