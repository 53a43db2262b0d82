"""A log of annotations served to tests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from tutelage.annotate.app import annotation_app
from tutelage.annotate.events import AnnotationItem, Event, LogSettings, PromptTurn, Submission
from tutelage.annotate.items import make_item
from tutelage.annotate.log import open_log
from tutelage.annotate.service import AnnotationService
from tutelage.annotate.state import Annotations, read_events
from tutelage.serve.server import listen

Ranks = Sequence[int | None]
HOSTS = frozenset({"127.0.0.1"})
HOSTILE = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>'


def items(count: int, answers: int = 3, gold: Sequence[int] = ()) -> list[AnnotationItem]:
    """Items with the models m1, m2 ...; `gold` are the numbers of gold items, whose answers get worse."""
    return [
        make_item(
            [PromptTurn("user", f"Question {number}?")],
            [f"Answer {place} to {number}." for place in range(answers)],
            [f"runs/m{place + 1}" for place in range(answers)],
            [*range(1, answers + 1)] if number in gold else None,
        )
        for number in range(count)
    ]


@contextmanager
def service(
    path: Path,
    new: Sequence[AnnotationItem] = (),
    settings: LogSettings | None = None,
    decided: Callable[[Annotations], bool] = lambda state: False,
    clock: Callable[[], float] = time.time,
) -> Iterator[AnnotationService]:
    """The service over a log, with new items."""
    with open_log(path) as log:
        events: list[Event] = [*([settings] if settings else []), *new]
        if events:
            log.append(*events)
            log.events.extend(events)
        yield AnnotationService(log, decided, clock)


@contextmanager
def served(service: AnnotationService, keys: Mapping[str, str] = {}) -> Iterator[str]:
    """The address of the page over a service."""
    listener = listen("127.0.0.1", 0)
    app = annotation_app(service, HOSTS, keys)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", http="h11"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(30)


def post(url: str, path: str, body: Mapping[str, Any], **headers: str) -> httpx2.Response:
    """Ask the server as the page does."""
    return httpx2.post(f"{url}api/{path}", json=body, headers=headers, timeout=60, trust_env=False)


def log_of(
    new: Sequence[AnnotationItem], votes: Sequence[tuple[int, str, Ranks]], seconds: float = 100.0
) -> Annotations:
    """A log of votes: the number of the item, the person, the ranks. A second vote of a person is a repeat."""
    events: list[Event] = [LogSettings(task="rank", overlap=2), *new]
    seen: set[tuple[int, str]] = set()
    for number, person, ranks in votes:
        again = (number, person) in seen
        seen.add((number, person))
        id_ = f"{len(events):08d}"
        events.append(
            Submission(
                id=id_, item=new[number].id, person=person, repeat=int(again), ranks=tuple(ranks), seconds=seconds
            )
        )
    state = read_events(events)
    for _, person in seen:
        state.assigned.setdefault(person, [])
    return state
