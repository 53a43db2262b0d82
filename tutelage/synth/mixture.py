"""Mixes rows of several sources by shares: conversations, preferences or documents, shuffled, without evaluation texts.

Sources that are not at hand are named with their licence and address, and the others keep their proportions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tutelage.chat.audit.fix import openai_row
from tutelage.chat.formats import read_conversations
from tutelage.config import Settings, SettingsError, apply_overrides, convert, read_toml, to_plain
from tutelage.corpus.mix import Allotment, allot
from tutelage.files import atomic_folder, to_json, write_json
from tutelage.io.hub import find_data_set
from tutelage.ledger import Ledger
from tutelage.progress import track
from tutelage.synth.gate import NAMES, Gate, GateSettings
from tutelage.synth.output import DATA
from tutelage.synth.rows import read_rows
from tutelage.world import World, WorldSettings

SUMMARY = "mixture.json"
MixRows = Literal["conversations", "preferences", "documents"]


class MixtureSource(Settings, frozen=True, kw_only=True):
    """A source of rows.

    share:   of the mixture, in any unit; shares need not sum to 1. In a published mixture it is its number of rows.
    path:    a file or folder of rows; a source without one is not at hand.
    epochs:  each row is used so often at most.
    most:    and so many rows at most.
    licence, address: what one needs to know to get the source.
    """

    share: float
    path: str | None = None
    epochs: float = 1.0
    most: int | None = None
    licence: str = ""
    address: str = ""

    def __post_init__(self) -> None:
        if self.share <= 0 or self.epochs <= 0 or (self.most is not None and self.most < 1):
            raise SettingsError("share and epochs must be above 0, and most at least 1")


class Mixture(Settings, frozen=True, kw_only=True):
    """A mixture.

    rows:    what its rows are.
    sources: name -> source.
    amount:  how many rows; where left out, as many as keep all shares exact.
    against: evaluation sets; rows with their texts are dropped before anything is counted.
    seed:    decides which rows are drawn, and their order.
    """

    name: str
    sources: dict[str, MixtureSource]
    rows: MixRows = "conversations"
    amount: int | None = None
    against: list[str] = []
    seed: int = 0


def load_mixture(path: Path, overrides: list[str]) -> Mixture:
    """Read a mixture. Paths in the file are relative to it, those of overrides to the working directory.

    Raises:
        SettingsError: it is invalid.
    """
    table = read_toml(path)
    sources = table.get("sources")
    for source in sources.values() if isinstance(sources, dict) else ():
        if isinstance(source, dict) and isinstance(source.get("path"), str):
            source["path"] = str(path.parent / source["path"])
    if isinstance(table.get("against"), list):
        table["against"] = [str(path.parent / name) for name in table["against"]]
    return convert(apply_overrides(table, overrides), Mixture, str(path))


def mix_rows(mixture: Mixture, out: Path) -> dict[str, Any]:
    """Write OUT/data.jsonl and OUT/mixture.json. The same mixture gives the same bytes.

    Raises:
        DiskError: a file cannot be read or written.
        ValueError: no source is at hand, one is empty, or together they are smaller than `amount`.
    """
    present = {name: source for name, source in mixture.sources.items() if source.path is not None}
    if not present:
        raise ValueError(f"no source is at hand; name files: sources.{next(iter(mixture.sources))}.path=FILE ...")
    skip = [name for name in NAMES if name != "overlap"]
    gate = Gate(GateSettings(against=mixture.against, skip=skip))
    ledgers: dict[str, Ledger] = {}
    offsets: dict[str, np.ndarray] = {}
    with atomic_folder(out) as folder:
        pool = folder / "pool"
        with pool.open("wb") as file, track(mixture.name, None, "rows") as bar:
            for name, source in present.items():
                ledgers[name] = Ledger(f"{name}: rows of the source")
                starts = [file.tell()]
                for row in _rows(source, mixture.rows, ledgers[name], gate):
                    line = {**row, "lineage": {"source": name, "parent": row["id"]}}
                    file.write(to_json(line, indent=None, sort=False) + b"\n")
                    starts.append(file.tell())
                    bar.update()
                offsets[name] = np.array(starts)
        allotted = _allot(mixture, {name: len(starts) - 1 for name, starts in offsets.items()})
        counts = _write(mixture, allotted, offsets, pool, folder / DATA)
        pool.unlink()
        result = _summary(mixture, counts, allotted, ledgers)
        write_json(folder / SUMMARY, result, sort=False)
    return result


def _rows(source: MixtureSource, kind: MixRows, reading: Ledger, gate: Gate) -> Iterator[Mapping[str, Any]]:
    """The rows of a source without evaluation texts; its ledger counts what is read, dropped and kept."""
    assert source.path is not None
    path, inner = find_data_set(Path(source.path)), Ledger("reading")
    rows: Iterator[dict[str, Any]]
    if kind == "conversations":  # with tools and reasoning, which `read_rows` leaves out
        rows = ({"id": chat.id, **openai_row(chat)} for chat in read_conversations(path, inner, 1.0))
    else:
        rows = read_rows(str(path), kind, inner, World(WorldSettings()), None)
    for row in rows:
        reading.read()
        texts = row if kind != "conversations" else {"messages": [_plain(turn) for turn in row["messages"]]}
        drop = gate.check(texts)
        if drop is not None:
            reading.drop(drop.reason, where=f"{row['id']}: {drop.raw}")
            continue
        reading.keep()
        yield row
    for reason, entry in inner.dropped.items():
        reading.read(entry.rows)
        reading.drop(reason, entry.rows)
    reading.check()


def _plain(turn: Mapping[str, Any]) -> dict[str, str]:
    content = turn.get("content") or ""
    return {"role": turn["role"], "content": content if isinstance(content, str) else to_json(content).decode()}


def _allot(mixture: Mixture, available: Mapping[str, int]) -> dict[str, Allotment]:
    """How many rows of each source: `most` is a cap of its epochs."""
    shares = {name: mixture.sources[name].share for name in available}
    epochs = {}
    for name, rows in available.items():
        source = mixture.sources[name]
        epochs[name] = source.epochs if source.most is None else min(source.epochs, source.most / max(rows, 1))
    return allot(shares, available, epochs, mixture.amount)


def _write(
    mixture: Mixture, allotted: Mapping[str, Allotment], offsets: Mapping[str, np.ndarray], pool: Path, data: Path
) -> dict[str, int]:
    """Write the drawn rows in random order; returns how many of each source."""
    counts, begins, ends = {}, [], []
    generator = np.random.default_rng(mixture.seed)
    for name, allotment in allotted.items():
        starts, rows = offsets[name], len(offsets[name]) - 1
        whole, rest = divmod(round(allotment.amount), rows)
        drawn = np.concatenate([np.tile(np.arange(rows), whole), generator.permutation(rows)[:rest]]).astype(int)
        counts[name] = len(drawn)
        begins.append(starts[drawn])
        ends.append(starts[drawn + 1])
    begin, end = np.concatenate(begins), np.concatenate(ends)
    with pool.open("rb") as source, data.open("wb") as file:
        for place in generator.permutation(len(begin)).tolist():
            file.write(os.pread(source.fileno(), int(end[place] - begin[place]), int(begin[place])))
    return counts


def _summary(
    mixture: Mixture, counts: Mapping[str, int], allotted: Mapping[str, Allotment], ledgers: Mapping[str, Ledger]
) -> dict[str, Any]:
    total, target = sum(counts.values()), sum(mixture.sources[name].share for name in counts)
    absent = {name: source for name, source in mixture.sources.items() if name not in counts}
    return {
        "name": mixture.name,
        "rows": total,
        "sources": {
            name: {
                "rows": rows,
                "share": rows / max(total, 1),
                "target_share": mixture.sources[name].share / target,
                "epochs": allotted[name].epochs,
            }
            for name, rows in counts.items()
        },
        "absent": {name: {"licence": one.licence, "address": one.address} for name, one in absent.items()},
        "absent_share": 1 - target / sum(source.share for source in mixture.sources.values()),
        "ledgers": {name: ledger.to_dict() for name, ledger in ledgers.items()},
        "recipe": to_plain(mixture),
    }
