"""Mixes corpora in given shares, for one or more training stages.

A mix is a corpus itself: shuffled documents in files. The same recipe always gives the same mix.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from tutelage import __version__
from tutelage.config import Settings, SettingsError, apply_overrides, convert, fingerprint, read_toml, to_plain
from tutelage.corpus.funnel import TokenCount
from tutelage.corpus.shards import (
    FORMAT,
    RESULT,
    SUFFIX,
    compressed_lines,
    corpus_files,
    is_current,
    read_documents,
    read_lines,
    read_result,
    to_row,
)
from tutelage.corpus.working import token_count
from tutelage.files import atomic_folder, write_json
from tutelage.io.batches import batches
from tutelage.progress import status, track
from tutelage.records import Document
from tutelage.text.hashing import file_hash

_HASH_RANGE = 1 << 64
_COUNTED_AT_ONCE = 256  # documents


class MixSource(Settings, frozen=True, kw_only=True):
    """A corpus to draw from.

    path:   a folder of `tutelage curate`.
    epochs: maximum number of epochs per stage. Up to four epochs are worth nearly as much as new text (Muennighoff et
            al. 2023, arXiv 2305.16264).
    """

    path: str
    epochs: float = 4.0


class MixStage(Settings, frozen=True, kw_only=True):
    """The mix of one training stage.

    shares:     source -> its share of the text; they need not sum to 1.
    amount:     how much text, in `Mix.unit`; default: as much as the epochs of the sources allow.
    long:       documents of at least this many units are long.
    long_times: upsampling factor of long documents, for a stage that extends the context.
    """

    shares: dict[str, float]
    amount: float | None = None
    long: int | None = None
    long_times: float = 1.0

    def __post_init__(self) -> None:
        if not self.shares or min(self.shares.values()) < 0 or not sum(self.shares.values()) > 0:
            raise SettingsError("shares must name at least one source with a share above 0, and no negative share")
        if (self.amount is not None and self.amount <= 0) or self.long_times <= 0:
            raise SettingsError("amount and long_times must be above 0")
        if (self.long is None) != (self.long_times == 1.0):
            raise SettingsError("set both long and long_times, or neither")

    def weight(self, size: int) -> float:
        """How often a document of this size is drawn, compared with a short one."""
        return self.long_times if self.long is not None and size >= self.long else 1.0


class Mix(Settings, frozen=True, kw_only=True):
    """A mixing recipe.

    sources:   name -> corpus.
    stages:    name -> mix of that training stage; each becomes a corpus of its own.
    unit:      unit of shares and amounts: "words", or "tokens" of `tokenizer`.
    tokenizer: a model folder, or a `tokenizer.json`.
    seed:      seed of the order.
    shard_mib: size of the files before compression.
    """

    name: str
    sources: dict[str, MixSource]
    stages: dict[str, MixStage]
    unit: Literal["words", "tokens"] = "words"
    tokenizer: str | None = None
    seed: int = 0
    shard_mib: float = 256.0

    def __post_init__(self) -> None:
        if (self.unit == "tokens") != (self.tokenizer is not None):
            raise SettingsError('set both unit = "tokens" and tokenizer, or neither')
        for stage, table in self.stages.items():
            for name in table.shares:
                if name not in self.sources:
                    raise SettingsError(f"stages.{stage}.shares names '{name}', which is not in [sources]")


class Allotment(NamedTuple):
    """How much of a source a stage uses: `amount` units, which is `epochs` epochs of the source."""

    amount: float
    epochs: float


def load_mix(path: Path, overrides: list[str]) -> Mix:
    """Read a mixing recipe. Raises SettingsError if it is invalid. Folders are resolved as in `load_curation`."""
    table = read_toml(path)
    _find_sources(table, path.parent)
    table = apply_overrides(table, overrides)
    _find_sources(table, Path.cwd())
    return convert(table, Mix, str(path))


def _find_sources(table: dict[str, Any], folder: Path) -> None:
    sources = table.get("sources")
    for source in sources.values() if isinstance(sources, dict) else ():
        if isinstance(source, dict) and isinstance(source.get("path"), str):
            source["path"] = str(folder.absolute() / source["path"])


def allot(
    shares: Mapping[str, float], available: Mapping[str, float], epochs: Mapping[str, float], amount: float | None
) -> dict[str, Allotment]:
    """How much of each source to use. A source too small for its share is capped at its `epochs`; the others fill the
    gap in proportion to their shares.

    available: size of each source, in the unit of `amount`.
    amount:    None: the largest amount at which all shares are exact.

    Example: equal shares of a (available 10) and b (available 100), 1 epoch each, amount 60 -> a 10, b 50.

    Raises:
        ValueError: a source is empty; or all sources together are smaller than the amount.
    """
    wanted = {name: share for name, share in shares.items() if share > 0}
    for name in wanted:
        if available[name] <= 0:
            raise ValueError(f"source '{name}' is empty; remove it from the shares")
    room = {name: available[name] * epochs[name] for name in wanted}
    total = sum(wanted.values())
    if amount is None:
        amount = min(room[name] * total / share for name, share in wanted.items())
    elif amount > sum(room.values()) * (1 + 1e-9):
        raise ValueError(
            f"amount is {amount:,.0f}, but all sources at their maximum epochs hold {sum(room.values()):,.0f}; lower "
            "the amount, allow more epochs, or add text"
        )
    taken: dict[str, float] = {}
    while open_ := [name for name in wanted if name not in taken]:
        left, rest = max(0.0, amount - sum(taken.values())), sum(wanted[name] for name in open_)
        full = [name for name in open_ if left * wanted[name] / rest >= room[name]]
        taken |= {name: room[name] for name in full} or {name: left * wanted[name] / rest for name in open_}
    return {name: Allotment(taken[name], taken[name] / available[name]) for name in wanted}


def mix(recipe: Mix, out: Path) -> dict[str, Any]:
    """Write the corpus of every stage that is not up to date to OUT/STAGE. Returns the curation.json of each.

    Raises:
        ValueError: a source is not a finished corpus; or as `allot`.
        DiskError: reading or writing failed.
    """
    files = {name: corpus_files(Path(source.path)) for name, source in recipe.sources.items()}
    hashes = {name: [file_hash(file) for file in source_files] for name, source_files in files.items()}
    results = {}
    for name, stage in recipe.stages.items():
        contents = {source: hashes[source] for source in stage.shares}
        settings = [name, to_plain(stage), to_plain(recipe.sources), recipe.unit, recipe.seed]
        key = fingerprint(__version__, FORMAT, settings, contents, recipe.shard_mib, recipe.tokenizer)
        result = read_result(out / name)
        if result is None or not is_current(result) or result["fingerprint"] != key:
            result = _make_stage(recipe, name, files, out / name, key)
        results[name] = result
    return results


def _make_stage(recipe: Mix, name: str, files: Mapping[str, list[Path]], out: Path, key: str) -> dict[str, Any]:
    stage, began = recipe.stages[name], time.perf_counter()
    count = token_count(recipe.tokenizer)
    available = dict.fromkeys(stage.shares, 0.0)
    characters = 0
    for source in stage.shares:
        for document, size in _sized(files[source], count):
            available[source] += size * stage.weight(size)
            characters += len(document.text)
    epochs = {source: recipe.sources[source].epochs for source in stage.shares}
    allotted = allot(stage.shares, available, epochs, stage.amount)
    taken = {source: {"documents": 0, recipe.unit: 0} for source in allotted}
    most_epochs = max(allotment.epochs for allotment in allotted.values()) * max(1.0, stage.long_times)
    shards = max(1, math.ceil(characters * min(most_epochs, 64.0) / (recipe.shard_mib * 2**20)))
    with atomic_folder(out) as folder, track(f"{recipe.name}: {name}", len(allotted), "sources") as bar:
        parts = [folder / f"part{number:05d}" for number in range(shards)]
        with ExitStack() as stack:
            streams = [stack.enter_context(compressed_lines(part)) for part in parts]
            for source, allotment in allotted.items():
                for document, size in drawn(_sized(files[source], count), allotment.epochs, stage.weight):
                    order = _order(recipe.seed, name, source, document)
                    row = to_row(replace(document, facts={**document.facts, "source": source}))
                    streams[order * shards // _HASH_RANGE].write(b"%020d " % order + row)
                    taken[source]["documents"] += 1
                    taken[source][recipe.unit] += size
                bar.update()
        for number, part in enumerate(parts):
            with compressed_lines(folder / f"{number:05d}{SUFFIX}") as stream:
                stream.writelines(row.partition(b" ")[2] for row in sorted(read_lines(part)))
            part.unlink()
        result = {
            **_result(recipe, name, allotted, taken, shards),
            "fingerprint": key,
            "seconds": time.perf_counter() - began,
        }
        write_json(folder / RESULT, result, sort=False)
    status(f"{recipe.name}: wrote {name} to {out}")
    return result


def drawn(
    documents: Iterator[tuple[Document, int]], epochs: float, weigh: Callable[[int], float]
) -> Iterator[tuple[Document, int]]:
    """Repeat documents to reach `epochs`: each floor(epochs * weight) times, and once more whenever the total size
    falls behind. The total size per weight is within one document of its target.

    Example: epochs 1.5, weight 1, four documents of equal size -> 2, 1, 2 and 1 copies.
    """
    owed: dict[float, float] = {}
    for document, size in documents:
        exact = epochs * weigh(size)
        times = math.floor(exact)
        owed[exact] = owed.get(exact, 0.0) + (exact - times) * size
        if owed[exact] >= size / 2 and exact > times:
            times += 1
            owed[exact] -= size
        for copy in range(times):
            again = {"copy": copy + 1} if copy else {}
            yield (replace(document, facts={**document.facts, **again}) if copy else document), size


def _sized(files: list[Path], count: TokenCount | None) -> Iterator[tuple[Document, int]]:
    """The documents of files, each with its tokens if `count` is given, else its words."""
    for pending in batches(chain.from_iterable(map(read_documents, files)), _COUNTED_AT_ONCE):
        texts = [document.text for document in pending]
        yield from zip(pending, count(texts) if count else [len(text.split()) for text in texts], strict=True)


def _order(seed: int, stage: str, source: str, document: Document) -> int:
    """The sort key of a document, below 2**64: a hash of its source, id and beginning."""
    name = "\0".join((str(seed), stage, source, document.id, str(document.facts.get("copy", 1)), document.text[:64]))
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _result(
    recipe: Mix, name: str, allotted: Mapping[str, Allotment], taken: Mapping[str, Mapping[str, int]], shards: int
) -> dict[str, Any]:
    whole = max(1, sum(counts[recipe.unit] for counts in taken.values()))
    shares, table, warnings = recipe.stages[name].shares, {}, []
    for source, allotment in allotted.items():
        target, share = shares[source] / sum(shares.values()), taken[source][recipe.unit] / whole
        table[source] = {"target_share": target, "share": share, "epochs": allotment.epochs, **taken[source]}
        limit = recipe.sources[source].epochs
        if share < 0.99 * target and allotment.epochs >= limit * (1 - 1e-9):
            warnings.append(
                f"source {source} is smaller than its share, even at {limit:g} epochs: "
                f"{share:.1%} instead of {target:.1%}"
            )
    return {
        "format": FORMAT,
        "name": f"{recipe.name}/{name}",
        "mix": table,
        "unit": recipe.unit,
        "recipe": msgspec.to_builtins(recipe),
        "files": [f"{number:05d}{SUFFIX}" for number in range(shards)],
        "warnings": warnings,
    }
