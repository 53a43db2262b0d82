"""Annotators that are functions of a known utility, behind the same log: to plan with, and to test with.

As in AlpacaFarm (Dubois et al. 2023, arXiv 2305.14387), they differ from each other and from themselves: each adds
noise to the utility, and may be careless now and then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from tutelage.annotate.events import AnnotationItem, LogSettings, PromptTurn
from tutelage.annotate.items import make_item
from tutelage.annotate.log import open_log
from tutelage.annotate.service import AnnotationService, SubmitRequest
from tutelage.annotate.state import Annotations
from tutelage.records import Message, message
from tutelage.world.answers import draw_answer, tasks
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.preferences import RESOLUTION, PreferenceSettings, comparisons
from tutelage.world.society import World
from tutelage.world.utility import AnswerTask, proxy_utility

Utility = Callable[[AnnotationItem, str], float]
READ_WORDS, COMPARE_SECONDS, WRITE_WORDS = 4.0, 3.0, 0.5  # words read and written a second; for one comparison


@dataclass(frozen=True)
class SimulatedAnnotator:
    """Ranks by utility plus noise, so that answer a beats b with probability sigmoid((u(a) - u(b)) / temperature).

    temperature: of the Gumbel noise.
    ties:        noisy utilities in the same interval of this width are tied; 0: no ties.
    careless:    the share of items that get random ranks, in a second each.
    """

    name: str
    temperature: float = 1.0
    ties: float = 0.0
    careless: float = 0.0

    def ranks(self, utilities: Sequence[float], draw: KeyedRandom) -> list[int | None]:
        """The ranks of answers with these utilities; equal ranks are ties."""
        noisy = [utility + self.temperature * gumbel(draw) for utility in utilities]
        levels = [math.floor(value / self.ties) if self.ties else value for value in noisy]
        order = sorted({*levels}, reverse=True)
        return [order.index(level) + 1 for level in levels]

    def is_careless(self, draw: KeyedRandom) -> bool:
        """Whether an item gets random ranks."""
        return draw.randbelow(RESOLUTION) < self.careless * RESOLUTION


def gumbel(draw: KeyedRandom) -> float:
    """A Gumbel variable; ranks by utility plus such noise follow Plackett-Luce (Yellott 1977)."""
    return -math.log(-math.log((draw.randbelow(RESOLUTION) + 0.5) / RESOLUTION))


def simulate(
    path: Path,
    settings: LogSettings,
    items: Sequence[AnnotationItem],
    annotators: Sequence[SimulatedAnnotator],
    utility: Utility,
    decided: Callable[[Annotations], bool] = lambda state: False,
    written: Callable[[AnnotationItem, KeyedRandom], str] | None = None,
) -> Annotations:
    """Let simulated annotators rank, or with `written` write, all items in turn, through the service that the page
    uses. Their time is simulated too. A draw is a function of seed, item, person and repeat alone.

    Raises:
        DiskError, ValueError: the log cannot be written, or is another's.
    """
    now = [0.0]
    with open_log(path) as log:
        if log.events:
            raise ValueError(f"{path} exists; simulated votes need a log of their own, so choose another --out")
        log.append(settings, *items)
        log.events.extend([settings, *items])
        service = AnnotationService(log, decided, clock=lambda: now[0])
        left = [*annotators]
        while left:
            for annotator in [*left]:
                shown = service.next(annotator.name)
                if shown.get("done"):
                    left.remove(annotator)
                    continue
                request = _request(service, annotator, shown["number"], utility, written)
                now[0] += request.seconds
                service.submit(annotator.name, request)
        return service.state


def _request(
    service: AnnotationService,
    annotator: SimulatedAnnotator,
    number: int,
    utility: Utility,
    written: Callable[[AnnotationItem, KeyedRandom], str] | None,
) -> SubmitRequest:
    assignment = service.state.assigned[annotator.name][number]
    item = service.state.items[assignment.item]
    draw = KeyedRandom(service.state.settings.seed, "annotator", annotator.name, item.id, assignment.repeat)
    name = f"{annotator.name}/{item.id}/{assignment.repeat}"
    id_ = blake2b(name.encode(), digest_size=16).hexdigest()
    if written is not None:
        text = written(item, draw)
        seconds = len(text.split()) / WRITE_WORDS
        return SubmitRequest(id=id_, number=number, revision=0, text=text, seconds=seconds)
    careless = annotator.is_careless(draw)
    values = [0.0 if careless else utility(item, item.answers[place]) for place in assignment.order]
    ranks = annotator.ranks(values, draw)
    if len(values) > 1 and not service.state.settings.ties:
        assert len({*ranks}) == len(ranks), "an annotator with ties in a log without"
    seconds = 1.0 if careless else ranking_seconds(item.prompt[-1].content, item.answers)
    return SubmitRequest(id=id_, number=number, revision=0, ranks=ranks, seconds=seconds)


def ranking_seconds(prompt: str, answers: Sequence[str]) -> float:
    """How long a ranking takes: all texts are read once, and sorting K answers takes log2(K!) comparisons."""
    words = sum(len(text.split()) for text in (prompt, *answers))
    return words / READ_WORDS + COMPARE_SECONDS * math.log2(math.factorial(len(answers)))


def world_items(world: World, settings: PreferenceSettings) -> tuple[list[AnnotationItem], Utility]:
    """Questions about the people of a world with answers of mixed quality, and the utility that the labeller of the
    settings gives to each."""
    items: dict[str, AnnotationItem] = {}
    known: dict[tuple[str, str], float] = {}
    for comparison in comparisons(world, settings):
        item = make_item((PromptTurn("user", comparison.task.prompt),), comparison.answers)
        items[item.id] = item
        for answer in item.answers:
            utility = proxy_utility(comparison.task, answer, settings.flaw, settings.strength)
            known[item.id, answer] = utility
    return [*items.values()], lambda item, answer: known[item.id, answer]


def scored_utility(
    items: Sequence[AnnotationItem], score: Callable[[Sequence[tuple[tuple[Message, ...], str]]], list[float | None]]
) -> Utility:
    """The utility that a model gives to answers, such as `RewardModel.score`; an answer that it cannot score is worth
    as little as the worst of all.

    Raises:
        ValueError: it can score none.
    """
    asked = [(item, text) for item in items for text in item.answers]
    chats = [(tuple(message(turn.role, turn.content) for turn in item.prompt), text) for item, text in asked]
    scores = score(chats)
    known = [value for value in scores if value is not None]
    if not known:
        raise ValueError("the model can score none of the answers; give one whose context is long enough")
    table = {
        (item.id, text): min(known) if value is None else value
        for (item, text), value in zip(asked, scores, strict=True)
    }
    return lambda item, answer: table[item.id, answer]


def world_prompts(
    world: World, rows: int, drafts: int = 4
) -> tuple[list[AnnotationItem], Callable[[AnnotationItem, KeyedRandom], str]]:
    """Other questions about those people, and a writer who makes `drafts` answers and submits the best."""
    asked: dict[str, tuple[AnnotationItem, AnswerTask]] = {}
    for task in tasks(world, "train", "standard", rows, "demonstrations"):
        item = make_item((PromptTurn("user", task.prompt),))
        asked.setdefault(item.id, (item, task))

    def write(item: AnnotationItem, draw: KeyedRandom) -> str:
        _, task = asked[item.id]
        return max(
            (draw_answer(task, draw) for _ in range(drafts)), key=lambda text: proxy_utility(task, text, "none", 0)
        )

    return [item for item, _ in asked.values()], write


def team(count: int, temperature: float, ties: float, careless: float) -> Iterator[SimulatedAnnotator]:
    """Annotators of the same noise; the last one alone is careless."""
    for number in range(count):
        yield SimulatedAnnotator(f"person{number + 1}", temperature, ties, careless if number == count - 1 else 0.0)
