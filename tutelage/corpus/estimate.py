"""What a recipe would make of its whole input, and in which time, estimated from some of its shards."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec

from tutelage.config import SettingsError
from tutelage.corpus.curation import Curation
from tutelage.corpus.input_shards import InputShard, input_shards
from tutelage.corpus.pipeline import curate
from tutelage.process import cores

_LEAST_MIB = 4.0  # of a shard: smaller ones say little of the time


def estimate(curation: Curation, mib: float) -> dict[str, Any]:
    """Run a recipe on shards drawn at random, of about `mib` MiB and at least one, in a temporary folder; and scale the
    figures to the bytes of all. Duplicates of documents in shards that were not drawn are not found, so that the whole
    corpus keeps a smaller share than the estimate says.

    Returns:
        "files", "shards" and "bytes" of the input, "shards_drawn" and "bytes_drawn", "sample" and "estimate" with
        "documents" and "kept" (documents, words, bytes), "core_hours", and "hours" with the workers of the recipe.

    Raises:
        ValueError, DiskError: as `curate`.
    """
    if curation.limit is not None:
        raise SettingsError("an estimate needs whole files, and the recipe has a limit; remove it, or set a sample")
    shards = input_shards(
        msgspec.structs.replace(curation, shard_mib=min(curation.shard_mib, max(mib / 4, _LEAST_MIB)))
    )
    drawn = draw(shards, mib * 2**20)
    drawn_bytes, all_bytes = (sum(shard.size for shard in some) for some in (drawn, shards))
    with tempfile.TemporaryDirectory(prefix="tutelage-estimate-") as folder:
        result = curate(msgspec.structs.replace(curation, keep_dropped=0), Path(folder) / "corpus", drawn)
    workers = curation.workers or cores()
    # A pass cannot use more workers than it has shards.
    core_hours = result["seconds"] * min(workers, len(result["files"])) / 3600
    steps = result["steps"]
    kept = steps[-1]["output"] if steps else {"documents": result["read"]["rows_kept"]}
    sample = {"documents": result["read"]["rows_kept"], "kept": kept, "core_hours": core_hours}
    scale = all_bytes / max(drawn_bytes, 1)
    return {
        "files": len({file.path for shard in shards for file in shard.files}),
        "shards": len(shards),
        "bytes": all_bytes,
        "shards_drawn": len(drawn),
        "bytes_drawn": drawn_bytes,
        "sample": sample,
        "estimate": {
            "documents": round(sample["documents"] * scale),
            "kept": {measure: round(count * scale) for measure, count in kept.items()},
            "core_hours": core_hours * scale,
        },
        "workers": workers,
        "hours": core_hours * scale / workers,
    }


def draw(shards: Sequence[InputShard], enough: float) -> list[InputShard]:
    """Shards in random order until they hold enough bytes; always the same ones."""
    order = random.Random(0).sample(shards, len(shards))
    before = [0, *accumulate(shard.size for shard in order)]
    return [shard for shard, held in zip(order, before, strict=False) if not held or held < enough]
