"""Run a stage that makes data: its rows, its account, and stage.json."""

from __future__ import annotations

import json
import time

from tutelage.config import to_plain
from tutelage.files import atomic_file, write_json
from tutelage.process import environment, peak_rss_bytes
from tutelage.stages.base import MADE, STAGE, DataStage, Stage, StageContext
from tutelage.stages.run import LAYOUT
from tutelage.train.distributed import barrier, is_main_process


def make_data(stage: Stage, at: StageContext, fingerprint: str) -> None:
    """Write DIR/STAGE/data.jsonl and stage.json; the main process alone works.

    Raises:
        ValueError: the model or the data cannot be used, or no row is left.
    """
    assert isinstance(stage, DataStage)
    if is_main_process():
        began = time.monotonic()
        at.folder.mkdir(parents=True, exist_ok=True)
        setup, rows = stage.make(at), 0
        with atomic_file(at.folder / MADE) as temporary, temporary.open("w", encoding="utf-8") as file:
            for row in setup.rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                rows += 1
            setup.ledger.check()
            if not rows:
                reasons = ", ".join(f"{reason}: {one.rows:,}" for reason, one in setup.ledger.dropped.items())
                raise ValueError(f"stage {at.name}: no row is left ({reasons})")
        write_json(
            at.folder / STAGE,
            {
                "layout": LAYOUT,
                "name": at.name,
                "title": stage.title,
                "reads": stage.reads,
                "fingerprint": fingerprint,
                "settings": to_plain(stage),
                "rows": rows,
                "ledgers": {"rows": setup.ledger.to_dict()},
                **setup.figures,
                "seconds": time.monotonic() - began,
                "peak_rss_bytes": peak_rss_bytes(),
                "environment": environment(),
            },
        )
    barrier()
