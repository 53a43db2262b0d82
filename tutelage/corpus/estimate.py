"""What a recipe would make of its whole input, and in which time, told from some of its files."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from tutelage.config import SettingsError
from tutelage.corpus.curation import Curation, input_sizes
from tutelage.corpus.pipeline import curate
from tutelage.process import cores


def estimate(curation: Curation, mib: float) -> dict[str, Any]:
    """Run a recipe on files drawn at random, of about `mib` MiB and at least one, in a temporary folder; and scale the
    figures to the bytes of all files. Duplicates of documents in files that were not drawn are not found, so that the
    whole corpus keeps a smaller share than the estimate says.

    Returns:
        "files" and "bytes" of the input, "sample" and "estimate" with "documents" and "kept" (documents, words, bytes),
        "core_hours", and "hours" with the workers of the recipe.

    Raises:
        ValueError, DiskError: as `curate`.
    """
    if curation.limit is not None:
        raise SettingsError("an estimate needs whole files, and the recipe has a limit; remove it, or set a sample")
    sizes = input_sizes(curation)
    drawn = draw(sizes, mib * 2**20)
    drawn_bytes, all_bytes = sum(sizes[path] for path in drawn), sum(sizes.values())
    with tempfile.TemporaryDirectory(prefix="tutelage-estimate-") as folder:
        some = msgspec.structs.replace(curation, input=tuple(drawn), keep_dropped=0)
        result = curate(some, Path(folder) / "corpus")
    workers = curation.workers or cores()
    # A pass cannot use more workers than it has shards.
    core_hours = result["seconds"] * min(workers, len(result["files"])) / 3600
    steps = result["steps"]
    kept = steps[-1]["output"] if steps else {"documents": result["read"]["rows_kept"]}
    sample = {"documents": result["read"]["rows_kept"], "kept": kept, "core_hours": core_hours}
    scale = all_bytes / max(drawn_bytes, 1)
    return {
        "files": len(sizes),
        "bytes": all_bytes,
        "files_drawn": len(drawn),
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


def draw(sizes: dict[str, int], enough: float) -> list[str]:
    """Files in random order until they hold enough bytes; always the same ones."""
    paths = list(sizes)
    random.Random(0).shuffle(paths)
    drawn: list[str] = []
    held = 0
    for path in paths:
        if drawn and held >= enough:
            break
        drawn.append(path)
        held += sizes[path]
    return drawn
