"""One method over its rows: questions go out as soon as a model is free, results are written in the order of the rows.

A plain loop in one thread: no queue between processes can lose a row. Everything that is written is a function of the
recipe, the input and the answers, never of the order in which answers arrive.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any

from tutelage.client import EndpointError
from tutelage.progress import Bar
from tutelage.synth.gate import Gate
from tutelage.synth.lineage import dropped_item, dropped_row, made_row
from tutelage.synth.method import Ask, At, Drop, Method, New, Reply, Row, Steps, Unparsable
from tutelage.synth.output import DATA, Output, read_lines
from tutelage.synth.replies import as_reply, request_body
from tutelage.synth.rouge import RougePool
from tutelage.synth.rows import question_of
from tutelage.synth.teacher import Teacher
from tutelage.synth.verify import refuses

ROUND = 8  # items of a method that draws from its own rows: those of one round see the rows of earlier rounds
STALE_ROUNDS = 4  # rounds over which the share of new rows is looked at
MIN_NEW = 0.02  # below this share of kept rows a method that draws stops
WAIT = 0.2  # seconds between two looks at the stop request


@dataclass
class Item:
    """An item that waits for replies. `asked` are the questions that it waits for, `tokens` as of a commit."""

    number: int
    row: Row
    steps: Steps
    asked: Sequence[Ask] = ()
    replies: list[Reply | None] = field(default_factory=list)
    last: Reply | None = None
    tokens: dict[str, tuple[int, int, int]] = field(default_factory=dict)


@dataclass
class Result:
    """What became of an item: rows, or why there are none."""

    item: Item
    made: Sequence[New | Drop]
    drop: Drop | None = None


class Step:
    """Runs a method over rows into an output.

    name:     of the step, for ids and lineages.
    teachers: the models, by the names that questions use; "teacher" answers for the others.
    template: a hash of the method, for lineages.
    seeds:    the input rows, for a method that draws from them.
    """

    def __init__(
        self, name: str, method: Method, template: str, teachers: Mapping[str, Teacher], gate: Gate, output: Output,
        seed: int, seeds: Sequence[Row] = (),
    ) -> None:  # fmt: skip
        self.name, self.method, self.template, self.gate, self.output = name, method, template, gate, output
        self.teachers, self.seed, self.seeds = teachers, seed, seeds
        self.error: Exception | None = None
        self.stale = False
        self._window = max(32, 4 * max(teacher.parallel for teacher in teachers.values()))
        self._active: dict[int, Item] = {}
        self._results: dict[int, Result] = {}
        self._arrived: SimpleQueue[tuple[int, int, Future[Any]]] = SimpleQueue()
        self._pending: set[Future[Any]] = set()
        self._pool: list[Row] = []
        self._pool_items: list[int] = []
        self._recent: list[tuple[int, int]] = []
        self._rouge = RougePool(method.max_rouge, map(question_of, seeds)) if method.max_rouge is not None else None
        for row in read_lines(output.folder / DATA):
            self._remember(row)

    def run(self, rows: Iterator[Row], bar: Bar, stop: Callable[[], bool]) -> bool:
        """Work until no row is left, enough are kept, or a stop is asked for. Returns whether all is done; what is
        finished is written in every case. `error` is what ended the work otherwise."""
        started, more = self.output.totals.items, True
        rows = islice(rows, started, None)
        while True:
            while more and not self._stopping(stop) and self._may_start(started):
                row = None if self._enough() else next(rows, None)
                if row is None:
                    more = False
                else:
                    self._start(started, row)
                    started += 1
            self._write(bar)
            if self._stopping(stop):
                self._cancel()
            elif self._enough():
                more = False
                self._cancel_pending()
            if self._active:
                self._wait()
            elif not more or self._stopping(stop):
                finished = self._enough() or (not more and started == self.output.totals.items)
                return finished and self.error is None

    def _stopping(self, stop: Callable[[], bool]) -> bool:
        return stop() or self.error is not None

    def _enough(self) -> bool:
        count = self.method.count
        return self.stale or (count is not None and self.output.totals.kept >= count)

    def _may_start(self, number: int) -> bool:
        finished = self.output.totals.items
        if self.method.draws:
            return number - number % ROUND <= finished
        return number - finished < self._window

    def _start(self, number: int, row: Row) -> None:
        first = number - number % ROUND
        pool = self._pool[: bisect_left(self._pool_items, first)] if self.method.draws else ()
        at = At(number, self.seed, self.seeds, pool, self._known(len(self.seeds) + len(pool)))
        item = Item(number, row, self.method.steps(row, at))
        self._active[number] = item
        self._advance(item, None)

    def _known(self, count: int) -> Callable[[str], Drop | None]:
        """Whether a prompt is not new among the first texts, however many there are by now."""
        rouge = self._rouge
        return lambda prompt: None if rouge is None else rouge.similar(prompt, count)

    def _advance(self, item: Item, replies: list[Reply] | None) -> None:
        """Send an item its replies; then it asks again, or is finished."""
        try:
            item.asked = next(item.steps) if replies is None else item.steps.send(replies)
        except StopIteration as end:
            made = list(end.value)
            self._finish(Result(item, made, None if made else Drop("nothing made", _raw(item))))
        except Drop as drop:
            self._finish(Result(item, (), self._explained(item, drop)))
        else:
            assert item.asked, f"method {self.name} asks nothing about item {item.number}"
            item.replies = [None] * len(item.asked)
            for place, asked in enumerate(item.asked):
                self._submit(item, place, asked)

    def _submit(self, item: Item, place: int, asked: Ask) -> None:
        body = request_body(asked, self.method.sampling, self.seed)
        future = self._teacher(asked).submit(body, asked.sample, asked.purpose, asked.about)
        self._pending.add(future)
        number = item.number
        future.add_done_callback(lambda done: self._arrived.put((number, place, done)))

    def _teacher(self, asked: Ask) -> Teacher:
        return self.teachers.get(asked.model) or self.teachers["teacher"]

    def _wait(self) -> None:
        """Take what has arrived, if anything arrives within WAIT seconds."""
        try:
            arrived = self._arrived.get(timeout=WAIT)
            while True:
                self._take(*arrived)
                arrived = self._arrived.get_nowait()
        except Empty:
            return

    def _cancel(self) -> None:
        """Wait only for what is in flight, and for nothing after it."""
        for teacher in self.teachers.values():
            teacher.stop()
        self._cancel_pending()

    def _cancel_pending(self) -> None:
        for future in list(self._pending):
            future.cancel()

    def _take(self, number: int, place: int, future: Future[Any]) -> None:
        self._pending.discard(future)
        item = self._active.get(number)
        if item is None or future.cancelled():
            self._active.pop(number, None)
            return
        try:
            result = future.result()
        except (EndpointError, ValueError, OSError) as error:
            if not isinstance(error, EndpointError) or "stop requested" not in str(error):
                self.error = self.error or error
            self._active.pop(number, None)
            return
        asked = item.asked[place]
        body = request_body(asked, self.method.sampling, self.seed)
        sampling = {name: value for name, value in body.items() if name != "messages"}
        reply = as_reply(asked, result, self._teacher(asked).model, sampling)
        item.replies[place] = item.last = reply
        before = item.tokens.get(asked.purpose, (0, 0, 0))
        item.tokens[asked.purpose] = (before[0] + 1, before[1] + reply.tokens[0], before[2] + reply.tokens[1])
        if all(reply is not None for reply in item.replies):
            replies = [reply for reply in item.replies if reply is not None]
            drop = next((reply.drop for reply in replies if reply.drop), None)
            if drop is not None and not self.method.partial:
                item.steps.close()
                self._finish(Result(item, (), drop))
            else:
                self._advance(item, replies)

    def _explained(self, item: Item, drop: Drop) -> Drop:
        """A reply that is in no form because it refuses is a refusal."""
        raw = drop.raw or _raw(item)
        if isinstance(drop, Unparsable) and not refuses(raw):
            return drop
        return Drop("refusal" if isinstance(drop, Unparsable) else drop.reason, raw)

    def _finish(self, result: Result) -> None:
        del self._active[result.item.number]
        self._results[result.item.number] = result

    def _write(self, bar: Bar) -> None:
        """Write the finished items that are next in order."""
        while (result := self._results.pop(self.output.totals.items, None)) is not None:
            if self._enough():
                self._results.clear()
                return
            before = self.output.totals.kept
            self._commit(result)
            kept = self.output.totals.kept
            rows = self.method.count is not None  # the bar counts kept rows, as many as are wanted, or items
            bar.update(kept - before if rows else 1, {"kept": kept, "made": self.output.totals.made})

    def _commit(self, result: Result) -> None:
        item = result.item
        kept: list[Row] = []
        dropped: list[Row] = []
        common = {"name": self.name, "method": self.method, "template": self.template, "item": item}
        for place, new in enumerate(result.made):
            if isinstance(new, Drop):
                dropped.append(dropped_row(common, place, {}, new))
                continue
            row = made_row(common, place, new)
            drop = self._drop(row, len(kept))
            if drop is None:
                self._remember(row)
                kept.append(row)
            else:
                dropped.append(dropped_row(common, place, row, drop))
        if result.drop is not None:
            dropped.append(dropped_item(common, result.drop))
        self.output.commit(kept, dropped, len(result.made), item.tokens)
        if self.method.draws:
            self._look_for_new(len(kept), len(result.made))

    def _drop(self, row: Row, kept: int) -> Drop | None:
        """Why a made row is not kept."""
        if self.method.count is not None and self.output.totals.kept + kept >= self.method.count:
            return Drop("beyond count")
        drop = self.gate.check(row)
        if drop is None and self._rouge is not None:
            drop = self._rouge.similar(question_of(row))
        return drop or self.gate.copy_of(row)

    def _remember(self, row: Row) -> None:
        self.gate.remember(row)
        if self._rouge is not None:
            self._rouge.add(question_of(row))
        if self.method.draws:
            self._pool.append(row)
            self._pool_items.append(row["lineage"]["item"])

    def _look_for_new(self, kept: int, made: int) -> None:
        """A teacher that only repeats itself is not asked for ever."""
        self._recent.append((kept, made))
        del self._recent[: -STALE_ROUNDS * ROUND]
        total = sum(count for _, count in self._recent)
        full = len(self._recent) == STALE_ROUNDS * ROUND
        self.stale = full and sum(count for count, _ in self._recent) < MIN_NEW * max(total, 1)


def _raw(item: Item) -> str:
    return item.last.raw if item.last else ""
