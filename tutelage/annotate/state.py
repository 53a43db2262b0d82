"""What a log says: items, who got which, and what was submitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tutelage.annotate.events import AnnotationItem, Assignment, Event, LogSettings, Submission

Place = tuple[str, str, int]  # item, person, repeat


@dataclass
class Annotations:
    """The events of a log by what they are about.

    assigned: of each person, in order; the page knows an assignment by its number in this list.
    history:  the revisions at each place, the last one counts.
    by_id:    all submissions.
    orders:   the order in which the answers were shown at each place.
    """

    settings: LogSettings = field(default_factory=lambda: LogSettings(task="rank"))
    items: dict[str, AnnotationItem] = field(default_factory=dict)
    assigned: dict[str, list[Assignment]] = field(default_factory=dict)
    history: dict[Place, list[Submission]] = field(default_factory=dict)
    by_id: dict[str, Submission] = field(default_factory=dict)
    orders: dict[Place, tuple[int, ...]] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Takes in one more event."""
        match event:
            case LogSettings():
                self.settings = event
            case AnnotationItem():
                self.items.setdefault(event.id, event)
            case Assignment():
                self.assigned.setdefault(event.person, []).append(event)
                self.orders[event.item, event.person, event.repeat] = event.order
            case Submission():
                if event.id not in self.by_id:
                    self.by_id[event.id] = event
                    self.history.setdefault((event.item, event.person, event.repeat), []).append(event)

    def current(self, item: str, person: str, repeat: int = 0) -> Submission | None:
        """What a person says of an item now."""
        found = self.history.get((item, person, repeat))
        return found[-1] if found else None

    def votes(self) -> Iterator[Submission]:
        """The last revision of every (item, person, repeat), in the order of their first."""
        return (revisions[-1] for revisions in self.history.values())


def read_events(events: Iterable[Event]) -> Annotations:
    """The state after some events.

    Raises:
        ValueError: one is about an item that none of them adds.
    """
    state = Annotations()
    for event in events:
        if isinstance(event, Assignment | Submission) and event.item not in state.items:
            raise ValueError(f"the log lacks item {event.item}, which {event.person} has; restore its line")
        state.apply(event)
    return state
