"""Runs the server of `tutelage annotate` over a log until a signal comes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tutelage.annotate.app import annotation_app
from tutelage.annotate.events import AnnotationItem, Event, LogSettings
from tutelage.annotate.log import open_log
from tutelage.annotate.service import AnnotationService
from tutelage.annotate.state import Annotations, read_events
from tutelage.files import read_json, write_json
from tutelage.serve.server import ServeSettings, allowed_hosts, is_local, listen, run_app


@dataclass(frozen=True)
class Access:
    """Where the server listens and who may annotate. `annotators` get a key each, kept in a file beside the log; with
    none, the page asks for a name, which is possible on this machine only."""

    host: str = "127.0.0.1"
    port: int = 8002
    allow_hosts: tuple[str, ...] = ()
    annotators: tuple[str, ...] = ()


def run_session(
    path: Path,
    settings: LogSettings,
    new_items: Callable[[Annotations], Iterable[AnnotationItem]],
    access: Access,
    note: Callable[[str], None],
    decided: Callable[[Annotations], bool] = lambda state: False,
) -> Annotations:
    """Serve the page over a log, made if it is missing, and return what the log then says. `new_items` gives the items
    to add to what the log holds; `note` gets what the user must know, such as the address.

    Raises:
        ValueError: the log is of another task, holds no item, or the server cannot listen.
        DiskError: the log cannot be written.
    """
    if not access.annotators and not is_local(access.host):
        raise ValueError(f"others can reach {access.host}; name each annotator with --annotator, who then gets a key")
    keys = annotator_keys(path, access.annotators)
    with open_log(path) as log:
        state = read_events(log.events)
        if log.events and state.settings.task != settings.task:
            raise ValueError(f"{path} is a log of `annotate {state.settings.task}`; choose another --out")
        added = [item for item in new_items(state) if item.id not in state.items]
        changed = [settings] if not log.events or settings != state.settings else []
        events: list[Event] = [*changed, *added]
        log.append(*events)
        log.events.extend(events)
        service = AnnotationService(log, decided)
        if not service.state.items:
            raise ValueError(f"{path} has no items; name a file of prompts or answers that has some")
        server = ServeSettings(host=access.host, port=access.port, allow_hosts=access.allow_hosts)
        with listen(access.host, access.port) as listener:
            address = f"http://{access.host}:{listener.getsockname()[1]}/"
            for line in invitations(address, keys):
                note(line)
            run_app(annotation_app(service, allowed_hosts(server), keys), listener, lambda: None, 0.0)
        return service.state


def invitations(address: str, keys: Mapping[str, str]) -> Sequence[str]:
    """What to open, a line for each annotator."""
    if not keys:
        return [f"annotate at {address}"]
    return [f"{person}: {address}#key={key}" for person, key in keys.items()]


def annotator_keys(log: Path, annotators: Sequence[str]) -> dict[str, str]:
    """The key of each annotator, as in the file beside the log, or a new one, which is then written there."""
    if not annotators:
        return {}
    path = log.with_name(f"{log.name}.keys")
    known: dict[str, str] = msgspec.convert(read_json(path), dict[str, str]) if path.exists() else {}
    keys = {person: known.get(person) or secrets.token_urlsafe(16) for person in annotators}
    if keys.items() - known.items():
        write_json(path, {**known, **keys})
        path.chmod(0o600)
    return keys
