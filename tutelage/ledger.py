"""Nothing is lost silently: rows read = kept + held out + dropped, by reason."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:  # only a table on a screen needs rich
    from rich.table import Table

EXAMPLES_PER_REASON = 3


@dataclass(slots=True)
class Dropped:
    """The rows dropped for one reason, with the places (file and row) of the first few."""

    rows: int = 0
    tokens: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Noted:
    """A change made in rows that are kept, with the places of the first few."""

    rows: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Ledger:
    """The account of one step. The invariant, for rows and for tokens: read = kept + held out + dropped.

    A step calls `read` where rows come in, and `keep`, `split`, `hold_out` or `drop` where it decides about them; the
    two are counted apart, so that `check` finds a row that was forgotten between them.
    """

    step: str
    rows_read: int = 0
    tokens_read: int = 0
    rows_kept: int = 0
    tokens_kept: int = 0
    rows_out: int = 0
    tokens_out: int = 0
    rows_held_out: int = 0
    tokens_held_out: int = 0
    dropped: dict[str, Dropped] = field(default_factory=dict)
    noted: dict[str, Noted] = field(default_factory=dict)

    def read(self, rows: int = 1, tokens: int = 0) -> None:
        """Counts what came in."""
        assert rows >= 0 and tokens >= 0, f"ledger of {self.step}: cannot read {rows} rows, {tokens} tokens"
        self.rows_read += rows
        self.tokens_read += tokens

    def keep(self, rows: int = 1, tokens: int = 0) -> None:
        """Counts rows that leave as they came."""
        assert rows >= 0 and tokens >= 0, f"ledger of {self.step}: cannot keep {rows} rows, {tokens} tokens"
        self.rows_kept += rows
        self.tokens_kept += tokens
        self.rows_out += rows
        self.tokens_out += tokens

    def split(self, into: int, tokens: int = 0, tokens_out: int | None = None) -> None:
        """Counts one row, of `tokens`, that is kept and leaves as `into` rows.

        `tokens_out` is given where the pieces hold other than `tokens` in all, say because each repeats a prompt.
        """
        assert into >= 1 and tokens >= 0, f"ledger of {self.step}: cannot split a row of {tokens} tokens into {into}"
        self.rows_kept += 1
        self.tokens_kept += tokens
        self.rows_out += into
        self.tokens_out += tokens if tokens_out is None else tokens_out

    def join(self, rows: int) -> None:
        """Counts rows that are kept and leave together as one."""
        assert rows >= 1, f"ledger of {self.step}: cannot join {rows} rows"
        self.rows_kept += rows
        self.rows_out += 1

    def hold_out(self, rows: int = 1, tokens: int = 0) -> None:
        """Counts rows that are kept from training, to measure on; another ledger says what happens to them."""
        assert rows >= 0 and tokens >= 0, f"ledger of {self.step}: cannot hold out {rows} rows, {tokens} tokens"
        self.rows_held_out += rows
        self.tokens_held_out += tokens

    def drop(self, reason: str, rows: int = 1, tokens: int = 0, where: str = "") -> None:
        """Counts rows that do not leave, or with `rows=0` tokens cut from a row that does.

        `where` is the place of the row (file and row number); the first few of each reason are remembered.
        """
        assert rows >= 0 and tokens >= 0, f"ledger of {self.step}: cannot drop {rows} rows, {tokens} tokens"
        entry = self.dropped.setdefault(reason, Dropped())
        entry.rows += rows
        entry.tokens += tokens
        if where and len(entry.examples) < EXAMPLES_PER_REASON:
            entry.examples.append(_writable(where))

    def drop_kept(self, reason: str) -> None:
        """Counts a row of no tokens as dropped that was counted as kept."""
        self.rows_kept -= 1
        self.rows_out -= 1
        self.drop(reason)

    def note(self, what: str, rows: int = 1, where: str = "") -> None:
        """Counts rows in which something was changed, outside the invariant. `where` as in `drop`."""
        entry = self.noted.setdefault(what, Noted())
        entry.rows += rows
        if where and len(entry.examples) < EXAMPLES_PER_REASON:
            entry.examples.append(_writable(where))

    @property
    def rows_dropped(self) -> int:
        """Rows dropped over all reasons."""
        return sum(entry.rows for entry in self.dropped.values())

    @property
    def tokens_dropped(self) -> int:
        """Tokens dropped over all reasons."""
        return sum(entry.tokens for entry in self.dropped.values())

    def check(self) -> None:
        """Raises AssertionError if read = kept + held out + dropped does not hold for rows and for tokens."""
        rows = (self.rows_read, self.rows_kept, self.rows_held_out, self.rows_dropped)
        tokens = (self.tokens_read, self.tokens_kept, self.tokens_held_out, self.tokens_dropped)
        check_balance(self.step, {"rows": rows, "tokens": tokens})

    def rename(self, path: str, name: str) -> None:
        """Replace a path in the places by a name."""
        entries: list[Dropped | Noted] = [*self.dropped.values(), *self.noted.values()]
        for entry in entries:
            entry.examples[:] = [example.replace(path, name) for example in entry.examples]

    def merge(self, other: Ledger) -> None:
        """Adds the counts of the same step done elsewhere (another worker, another file)."""
        add_counts(self, other)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return msgspec.to_builtins(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Ledger:
        """The ledger that `to_dict` wrote; raises msgspec.ValidationError on anything else."""
        return msgspec.convert(plain, cls)

    def lines(self) -> list[tuple[str, int, str, int, str]]:
        """The account as label, rows, share of the rows read, tokens, first examples: rows read, dropped for each
        reason (most rows first), held out, kept."""
        dropped = sorted(self.dropped.items(), key=lambda item: (-item[1].rows, item[0]))
        noted = sorted(self.noted.items(), key=lambda item: (-item[1].rows, item[0]))
        lines = [("read", self.rows_read, "", self.tokens_read, "")]
        for name, rows, tokens, examples in (
            *((f"dropped: {reason}", entry.rows, entry.tokens, ", ".join(entry.examples)) for reason, entry in dropped),
            *([("held out", self.rows_held_out, self.tokens_held_out, "")] if self.rows_held_out else []),
            ("kept", self.rows_kept, self.tokens_kept, ""),
        ):
            lines.append((name, rows, f"{rows / self.rows_read:.1%}" if self.rows_read else "", tokens, examples))
        if (self.rows_out, self.tokens_out) != (self.rows_kept, self.tokens_kept):
            lines.append(("out, after splitting", self.rows_out, "", self.tokens_out, ""))
        return lines + [(f"noted: {what}", entry.rows, "", 0, ", ".join(entry.examples)) for what, entry in noted]

    def table(self) -> Table:
        """The lines of the account for a terminal."""
        from rich.table import Table

        table = Table(title=self.step, title_justify="left")
        table.add_column("")
        for heading in ("rows", "share", "tokens"):
            table.add_column(heading, justify="right")
        table.add_column("first seen at", overflow="fold")
        for label, rows, share, tokens, examples in self.lines():
            shown = "" if label.startswith("noted") else f"{tokens:,}"
            table.add_row(label, f"{rows:,}", share, shown, examples)
        return table


def add_counts(mine: Any, theirs: Any) -> Any:
    """Adds up two accounts of one step and returns `mine`: numbers are added, mappings by key, histograms by bin, the
    first examples stay. Changes `mine` where it can. Accounts of steps of different names are an AssertionError."""
    if is_dataclass(mine):
        for entry in fields(mine):
            setattr(mine, entry.name, add_counts(getattr(mine, entry.name), getattr(theirs, entry.name)))
    elif isinstance(mine, dict):
        for key, value in theirs.items():
            mine[key] = add_counts(mine[key], value) if key in mine else deepcopy(value)
    elif isinstance(mine, str):
        assert mine == theirs, f"cannot add the counts of {theirs} to those of {mine}"
    elif isinstance(mine, list) and all(isinstance(value, str) for value in (*mine, *theirs)):
        return (mine + theirs)[:EXAMPLES_PER_REASON]
    elif isinstance(mine, list):
        return [a + b for a, b in zip(mine, theirs, strict=True)]
    else:
        return mine + theirs
    return mine


def check_balance(step: str, measures: Mapping[str, tuple[int, int, int, int]]) -> None:
    """Raises AssertionError if read = kept + held out + dropped does not hold for one of the measures: name -> read,
    kept, held out, dropped."""
    for noun, (read, kept, held_out, dropped) in measures.items():
        if read != kept + held_out + dropped:  # not `assert`, which -O would switch off
            parts = [f"{kept:,} kept", *([f"{held_out:,} held out"] if held_out else []), f"{dropped:,} dropped"]
            raise AssertionError(
                f"the ledger of {step} does not add up: {read:,} {noun} were read, but {' and '.join(parts)} "
                f"make {kept + held_out + dropped:,}"
            )


def _writable(where: str) -> str:
    """Names of files may hold bytes that are no UTF-8, which no account could be written with."""
    return where.encode("utf-8", "replace").decode()
