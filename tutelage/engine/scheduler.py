"""The scheduler: which tokens each step reads, who holds pages, and who has to wait.

In every step all decoding requests come first, one token each. Prompts fill the rest of the step's token budget, in
order of arrival, a long one in chunks: so no prompt holds up the answers that are being written. When the pool has no
page left for the next token, the youngest request is preempted: it gives up its pages and waits, and its tokens are
computed again later. The oldest request always advances.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from tutelage.engine.pages import PAGE, PagePool
from tutelage.engine.requests import Chunk, Request, StepPlan


class QueueFullError(ValueError):
    """The queue holds as many requests as it may; try again later."""


class Scheduler:
    """Waiting and running requests. Every request of `running` has a row, and pages for all of its ids.

    max_rows:     most requests that run at once.
    chunk_tokens: most tokens that a step reads, decoding requests included.
    queue:        most requests that may wait; None: any number.
    static:       for models without rows of their own: requests start only when none runs, whole prompts in one step.
    match:        takes the cached pages of a request's beginning.
    admit:        called when a request starts, with all its pages held and those of its beginning computed; it also
                  gets the number of all running and waiting requests.
    preempt:      called before a preempted request gives up its pages.
    """

    def __init__(
        self,
        pool: PagePool,
        max_rows: int,
        chunk_tokens: int,
        queue: int | None,
        static: bool,
        match: Callable[[Request], list[int]],
        admit: Callable[[Request, int], None],
        preempt: Callable[[Request], None],
    ) -> None:
        self.pool, self.max_rows, self.chunk_tokens, self.queue, self.static = (
            pool,
            max_rows,
            chunk_tokens,
            queue,
            static,
        )
        self.match, self.admit, self.preempt = match, admit, preempt
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []  # oldest first
        self.paused: list[Request] = []

    def add(self, request: Request) -> None:
        """Put a request into the queue.

        Raises:
            QueueFullError: as many wait as may.
            ValueError: its prompt and one more token need more pages than there are.
        """
        if self.queue is not None and len(self.waiting) >= self.queue:
            raise QueueFullError(f"{len(self.waiting)} requests wait already and no more may; try again later")
        self.check_room(len(request.ids))
        self.waiting.append(request)

    def check_room(self, tokens: int) -> None:
        """ValueError if so many tokens and one more need more pages than there are."""
        if pages_for(tokens + 1) > self.pool.total:
            raise ValueError(
                f"the prompt has {tokens} tokens, but the cache holds {self.pool.total * PAGE}; "
                "shorten it, or give the engine more pages"
            )

    def make_room(self) -> Request | None:
        """Give every running request pages for all of its ids. Preempts the youngest where there are none. Returns
        a request that is alone and still finds none: it must end."""
        for request in list(self.running):
            while request.state == "running" and len(request.pages) * PAGE < len(request.ids):
                page = self.pool.allocate(1)
                if page is not None:
                    request.pages += page
                elif self._reclaim():
                    continue
                elif len(self.running) == 1:
                    return request
                else:
                    self._preempt(self.running[-1])
        return None

    def plan(self) -> StepPlan:
        """What the next step reads. `make_room` comes before it."""
        decodes = [request for request in self.running if request.decodes]
        budget = self.chunk_tokens - len(decodes)
        chunks = []
        for request in self.running:
            if not request.decodes and budget > 0:
                chunks.append(Chunk(request, min(budget, len(request.ids) - request.computed)))
                budget -= chunks[-1].count
        while self.waiting and len(self.running) < self.max_rows and (budget > 0 or self.static):
            if self.static and decodes:
                break
            request = self.waiting[0]
            if not self._start(request):
                break
            rest = len(request.ids) - request.computed
            chunks.append(Chunk(request, rest if self.static else min(budget, rest)))
            budget -= chunks[-1].count
        return StepPlan(decodes, chunks)

    def remove(self, request: Request) -> None:
        """Take a request out, in whatever state it is; its pages are free afterwards."""
        if request.state == "waiting":
            self.waiting.remove(request)
        elif request.state == "running":
            self.running.remove(request)
        elif request.state == "paused":
            self.paused.remove(request)
        self._release(request)

    def pause(self, request: Request) -> None:
        """Take a running request out of the batch; it keeps the pages of what it has computed."""
        self.running.remove(request)
        kept = pages_for(request.computed)
        self.pool.release(request.pages[kept:])
        del request.pages[kept:]
        request.state = "paused"
        self.paused.append(request)

    def resume(self, request: Request) -> None:
        """Put a paused request at the head of the queue."""
        self.paused.remove(request)
        request.state = "waiting"
        self.waiting.appendleft(request)

    def _start(self, request: Request) -> bool:
        """Give the first waiting request its pages, those of its prefix first; False if there are too few. One page
        for each running request is left, since a request that starts must not be preempted at once."""
        kept = bool(request.pages)  # since it was paused
        if not kept:
            request.pages = self.match(request)
            request.published, request.computed = len(request.pages), len(request.pages) * PAGE
        wanted = pages_for(len(request.ids)) - len(request.pages)
        reserve = len(self.running) + 1 if self.running else 0
        while wanted + reserve > self.pool.available and not self.running and self._reclaim(request):
            pass
        own = self.pool.allocate(wanted) if wanted + reserve <= self.pool.available else None
        if own is None:
            if not kept:
                self._release(request)
            return False
        self.waiting.popleft()
        request.pages += own
        request.state = "running"
        self.running.append(request)
        self.admit(request, len(self.running) + len(self.waiting))
        return True

    def _preempt(self, request: Request) -> None:
        self.preempt(request)
        self.running.remove(request)
        self._release(request)
        request.state = "waiting"
        self.waiting.appendleft(request)

    def _reclaim(self, starting: Request | None = None) -> bool:
        """Take the pages of the youngest request that holds some without running: it computes its tokens again when it
        is resumed. False if there is none."""
        idle = [request for request in (*self.paused, *self.waiting) if request.pages and request is not starting]
        if idle:
            self._release(max(idle, key=lambda request: request.number))
        return bool(idle)

    def _release(self, request: Request) -> None:
        self.pool.release(request.pages)
        request.pages, request.published, request.computed = [], 0, 0


def pages_for(tokens: int) -> int:
    """How many pages hold this many tokens."""
    return -(-tokens // PAGE)
