"""Corpora mixed in given shares, for one stage of training after the other: how much of each, how often, in what order.

A mix is a corpus like any other: documents in files, shuffled, the same for the same recipe wherever it is made.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from tutelage import __version__
from tutelage.config import Settings, SettingsError, apply_overrides, convert, fingerprint, read_toml, to_plain
from tutelage.corpus.shards import (
    RESULT,
    SUFFIX,
    compressed_lines,
    corpus_files,
    finished,
    read_documents,
    read_lines,
    to_row,
)
from tutelage.corpus.text import file_hash
from tutelage.corpus.working import token_count
from tutelage.files import atomic_folder, write_json
from tutelage.progress import status, track
from tutelage.records import Document

_HASH_RANGE = 1 << 64
_COUNTED_AT_ONCE = 256  # documents


class Source(Settings, frozen=True, kw_only=True):
    """A corpus to take from.

    path:   its folder, as `tutelage curate` made it.
    epochs: how often a stage may go over it at most. Up to four passes are worth nearly as much as new text
            (Muennighoff et al. 2023, arXiv 2305.16264).
    """

    path: str
    epochs: float = 4.0


class MixStage(Settings, frozen=True, kw_only=True):
    """What one stage reads.

    shares:     source -> its share of the text; they need not sum to one.
    amount:     how much, in `Mix.unit`; where left out, as much as the epochs of the sources allow.
    long:       documents of so many units or more are long, and
    long_times: are taken that much more often than others, as for a stage that lengthens the context.
    """

    shares: dict[str, float]
    amount: float | None = None
    long: int | None = None
    long_times: float = 1.0

    def __post_init__(self) -> None:
        if not self.shares or min(self.shares.values()) < 0 or not sum(self.shares.values()) > 0:
            raise SettingsError("shares names at least one source, with a share above 0, and none below")
        if (self.amount is not None and self.amount <= 0) or self.long_times <= 0:
            raise SettingsError("amount and long_times must be above 0")
        if (self.long is None) != (self.long_times == 1.0):
            raise SettingsError("long and long_times go together: which documents, and how much more often")


class Mix(Settings, frozen=True, kw_only=True):
    """A recipe for mixing.

    sources:   the corpora, each under a name.
    stages:    the tables, each under the name of the stage that reads it; each becomes a corpus of its own.
    unit:      what shares and amounts count: "words", or "tokens" of
    tokenizer: a model's folder, or a `tokenizer.json`.
    seed:      sets the order.
    shard_mib: the size of the files, before compression.
    """

    name: str
    sources: dict[str, Source]
    stages: dict[str, MixStage]
    unit: Literal["words", "tokens"] = "words"
    tokenizer: str | None = None
    seed: int = 0
    shard_mib: float = 256.0

    def __post_init__(self) -> None:
        if (self.unit == "tokens") != (self.tokenizer is not None):
            raise SettingsError('unit = "tokens" and a tokenizer go together')
        for stage, table in self.stages.items():
            for name in table.shares:
                if name not in self.sources:
                    raise SettingsError(f"stages.{stage}.shares names '{name}', which [sources] does not have")


@dataclass(frozen=True)
class Allotment:
    """How much of a source a stage takes: `amount` units, which is `epochs` passes over what it holds."""

    amount: float
    epochs: float


def load_mix(path: Path, overrides: list[str]) -> Mix:
    """Reads a recipe for mixing; SettingsError where it cannot be used. Folders are told as inputs of curation are."""
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
    """How much of each source to take. A source of which its share is more than its `epochs` passes hold gives these,
    and the others fill its place in proportion to their shares.

    available: what each source holds, in the unit of `amount`. `amount` None: the most that keeps all shares exact.

    Raises:
        ValueError: a source holds nothing; or all of them together do not hold the amount.
    """
    wanted = {name: share for name, share in shares.items() if share > 0}
    for name in wanted:
        if available[name] <= 0:
            raise ValueError(f"source '{name}' holds nothing to take; leave it out of the shares")
    room = {name: available[name] * epochs[name] for name in wanted}
    total = sum(wanted.values())
    if amount is None:
        amount = min(room[name] * total / share for name, share in wanted.items())
    elif amount > sum(room.values()) * (1 + 1e-9):
        raise ValueError(
            f"all sources, each as often as its epochs allow, hold {sum(room.values()):,.0f}, and {amount:,.0f} is "
            "asked for; lower the amount, allow more epochs, or add text"
        )
    taken: dict[str, float] = {}
    while open_ := [name for name in wanted if name not in taken]:
        left, rest = max(0.0, amount - sum(taken.values())), sum(wanted[name] for name in open_)
        full = [name for name in open_ if left * wanted[name] / rest >= room[name]]
        taken |= {name: room[name] for name in full} or {name: left * wanted[name] / rest for name in open_}
    return {name: Allotment(taken[name], taken[name] / available[name]) for name in wanted}


def mix(recipe: Mix, out: Path) -> dict[str, Any]:
    """Makes the corpus of every stage that is not made, in OUT/STAGE; gives the content of each one's curation.json.

    Raises:
        ValueError: a source is no finished corpus; or as `allot`.
        DiskError: the disk refuses.
    """
    files = {name: corpus_files(Path(source.path)) for name, source in recipe.sources.items()}
    held = {name: [file_hash(file) for file in own] for name, own in files.items()}
    results = {}
    for name, stage in recipe.stages.items():
        marks = {source: held[source] for source in stage.shares}
        mark = fingerprint(
            __version__, name, to_plain(stage), to_plain(recipe.sources), marks, recipe.unit, recipe.seed
        )
        mark = fingerprint(mark, recipe.shard_mib, recipe.tokenizer)
        done = finished(out / name)
        if done is None or done["fingerprint"] != mark:
            done = _make_stage(recipe, name, files, out / name, mark)
        results[name] = done
    return results


def _make_stage(recipe: Mix, name: str, files: Mapping[str, list[Path]], out: Path, mark: str) -> dict[str, Any]:
    stage, began = recipe.stages[name], time.perf_counter()
    measure = _measure(recipe)
    weigh = _weights(stage)
    available = dict.fromkeys(stage.shares, 0.0)
    characters = 0
    for source in stage.shares:
        for document, size in measure(_documents(files[source])):
            available[source] += size * weigh(size)
            characters += len(document.text)
    epochs = {source: recipe.sources[source].epochs for source in stage.shares}
    allotted = allot(stage.shares, available, epochs, stage.amount)
    taken = {source: {"documents": 0, recipe.unit: 0} for source in allotted}
    passes = max(one.epochs for one in allotted.values()) * max(1.0, stage.long_times)
    shards = max(1, math.ceil(characters * min(passes, 64.0) / (recipe.shard_mib * 2**20)))
    with atomic_folder(out) as folder, track(f"{recipe.name}: {name}", len(allotted), "sources") as bar:
        with ExitStack() as stack:
            parts = [folder / f"part{number:05d}" for number in range(shards)]
            streams = [stack.enter_context(compressed_lines(part)) for part in parts]
            for source, one in allotted.items():
                for document, size in drawn(measure(_documents(files[source])), one.epochs, weigh):
                    order = _order(recipe.seed, name, source, document)
                    facts = {**document.facts, "source": source}
                    streams[order * shards // _HASH_RANGE].write(
                        b"%020d " % order + to_row(replace(document, facts=facts))
                    )
                    taken[source]["documents"] += 1
                    taken[source][recipe.unit] += size
                bar.update()
        for number, part in enumerate(parts):
            _sort(part, folder / f"{number:05d}{SUFFIX}")
        result = _result(recipe, name, allotted, available, taken, shards) | {
            "fingerprint": mark,
            "seconds": time.perf_counter() - began,
        }
        write_json(folder / RESULT, result, sort=False)
    status(f"{recipe.name}: {name} is in {out}")
    return result


def drawn(
    documents: Iterator[tuple[Document, int]], epochs: float, weigh: Callable[[int], float]
) -> Iterator[tuple[Document, int]]:
    """Documents as often as they are taken: each the whole number of times that its weight gives, and once more where
    the sizes of those drawn would otherwise fall behind. Of the documents of each weight, what is drawn is within one
    document of what it should be."""
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


def _documents(files: list[Path]) -> Iterator[Document]:
    for file in files:
        yield from read_documents(file)


def _measure(recipe: Mix) -> Callable[[Iterator[Document]], Iterator[tuple[Document, int]]]:
    """Puts beside each document its size in the recipe's unit."""
    count = token_count(recipe.tokenizer)

    def measure(documents: Iterator[Document]) -> Iterator[tuple[Document, int]]:
        some: list[Document] = []
        for document in documents:
            some.append(document)
            if len(some) == _COUNTED_AT_ONCE:
                yield from zip(some, sizes(some), strict=True)
                some = []
        yield from zip(some, sizes(some), strict=True)

    def sizes(documents: list[Document]) -> list[int]:
        texts = [document.text for document in documents]
        return [len(text.split()) for text in texts] if count is None else count(texts)

    return measure


def _weights(stage: MixStage) -> Callable[[int], float]:
    long, times = stage.long, stage.long_times
    return (lambda size: 1.0) if long is None else (lambda size: times if size >= long else 1.0)


def _order(seed: int, stage: str, source: str, document: Document) -> int:
    """Where a document stands in the order: a number below 2**64 that its names alone decide."""
    name = "\0".join((str(seed), stage, source, document.id, str(document.facts.get("copy", 1)), document.text[:64]))
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _sort(part: Path, target: Path) -> None:
    rows = sorted(read_lines(part))
    part.unlink()
    with compressed_lines(target) as stream:
        for row in rows:
            stream.write(row.partition(b" ")[2])


def _result(
    recipe: Mix,
    name: str,
    allotted: Mapping[str, Allotment],
    available: Mapping[str, float],
    taken: Mapping[str, Mapping[str, int]],
    shards: int,
) -> dict[str, Any]:
    whole = max(1, sum(one[recipe.unit] for one in taken.values()))
    wanted = sum(recipe.stages[name].shares.values())
    table = {}
    for source, one in allotted.items():
        share = recipe.stages[name].shares[source] / wanted
        table[source] = {
            "share_wanted": share,
            "share": taken[source][recipe.unit] / whole,
            "epochs": one.epochs,
            **taken[source],
        }
    warnings = [
        f"source {source} holds less than its share, even at {recipe.sources[source].epochs:g} epochs: "
        f"{row['share']:.1%} instead of {row['share_wanted']:.1%}"
        for source, row in table.items()
        if row["share"] < 0.99 * row["share_wanted"] and row["epochs"] >= recipe.sources[source].epochs * (1 - 1e-9)
    ]
    return {
        "name": f"{recipe.name}/{name}",
        "mix": table,
        "unit": recipe.unit,
        "recipe": msgspec.to_builtins(recipe),
        "files": [f"{number:05d}{SUFFIX}" for number in range(shards)],
        "warnings": warnings,
    }
