"""Probing: sample answers to questions, and write rows that teach the model to refuse what it does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tutelage.config import SettingsError
from tutelage.engine.sampling import SamplingSettings
from tutelage.ledger import Ledger
from tutelage.model.hub import load_model
from tutelage.probing.calibration import calibration, class_counts
from tutelage.probing.probe import probe, score_by_verifiers
from tutelage.probing.questions import ProbeQuestion, impossible_questions, task_questions
from tutelage.probing.rows import RefusalRecipe, probe_rows
from tutelage.stages.base import DataSetup, DataStage, Reads, StageContext
from tutelage.stages.data import tasks
from tutelage.stages.data_world import WorldProbe, find_world
from tutelage.tools.world_conversations import offered_tools
from tutelage.world.probe_tasks import VERIFIER, probe_replies
from tutelage.world.society import World


class KnowledgeProbe(DataStage, tag="knowledge_probe", tag_field="kind", frozen=True, kw_only=True):
    """Write conversations: the model's own right answers to the questions that it can answer, and refusals of those
    that it cannot, so that a later stage learns where its knowledge ends.

    samples:     answers to each question, besides a greedy one.
    temperature: of the samples.
    refusals:    "article" refuses what is never right, and keeps the right answers of what is sometimes right;
                 "llama3" refuses only what is answered informatively and wrong each time; "control" refuses random
                 questions that the model knows, as large a share of the rows.
    max_refused: refusals are at most this share of the rows.
    answers:     right answers kept of each question, the most frequent first.
    offer_tools: whether each right answer is also a row in which search and calculator are offered and not called, for
                 a stage that learns from "world-tools" too.
    impossible:  how many questions about dates that do not exist, and trick questions, are asked too.
    verifier:    compares answers with gold, such as "contains"; data of the built-in world has its own.
    max_tokens:  of an answer; one that was cut off is neither right nor wrong.
    """

    reads: ClassVar[Reads] = "prompts"
    title: ClassVar[str] = "knowledge probe"

    samples: int = 8
    temperature: float = 0.7
    refusals: RefusalRecipe = "article"
    max_refused: float = 0.5
    answers: int = 1
    offer_tools: bool = False
    impossible: int = 0
    verifier: str = "contains"
    max_tokens: int = 96
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1 or self.answers < 1 or self.max_tokens < 1:
            raise SettingsError("samples, answers and max_tokens must be at least 1")
        if self.temperature <= 0:
            raise SettingsError(f"temperature is {self.temperature}; sampled answers need one above 0")
        if not 0 <= self.max_refused <= 1:
            raise SettingsError(f"max_refused is {self.max_refused}; it is a share of the rows, from 0 to 1")

    def make(self, at: StageContext) -> DataSetup:
        """The rows, and what the model knows."""
        ledger, figures = Ledger(f"{at.name}: questions to rows"), dict[str, Any]()
        return DataSetup(self._rows(at, ledger, figures), ledger, figures)

    def _rows(self, at: StageContext, ledger: Ledger, figures: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
        questions: list[ProbeQuestion] = []
        for name in self.data:
            if isinstance(data := at.data[name], WorldProbe):
                replies = probe_replies(World(find_world(data, at.data)), data.facts, data.unknown)
                questions += task_questions(replies, VERIFIER)
            else:
                questions += task_questions(((task, "") for task in tasks(name, at.data)), self.verifier)
        questions += impossible_questions(self.impossible, self.seed)
        settings = SamplingSettings(temperature=self.temperature, max_tokens=self.max_tokens, seed=self.seed)
        checkpoint = load_model(at.parent_folder(self))
        probed = probe(checkpoint, questions, self.samples, settings, score_by_verifiers, at.name)
        answerable = [item for item in probed if item.question.gold is not None]
        figures |= {
            "answerable": class_counts(answerable),
            "unanswerable": class_counts([item for item in probed if item.question.gold is None]),
            "calibration": calibration(probed),
        }
        rows = probe_rows(probed, self.refusals, self.max_refused, self.answers, self.seed, ledger)
        figures["refused"] = sum(row["meta"]["knowledge"] == "refused" for row in rows)
        for row in rows:
            yield row
            if self.offer_tools and row["meta"]["knowledge"] != "refused":
                ledger.rows_out += 1
                yield {**row, "id": f"{row['id']}/tools", "tools": [json.loads(tool) for tool in offered_tools()]}
