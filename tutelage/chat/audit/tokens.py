"""What a model's own tokenizer and template make of the conversations: what cannot be proven, and how long they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tutelage.chat.audit.report import EXAMPLES
from tutelage.chat.render.hf import Renderer
from tutelage.chat.render.native import TrainOn
from tutelage.chat.render.template import exchanges
from tutelage.records import Conversation


@dataclass(eq=False)
class Tokens:
    """Renders conversations as a training would, and counts.

    context:      the most tokens the model reads at once; None where that is not to be judged.
    refused:      the conversations that cannot be proven, by reason, and what was `said` of the first few of each.
    longest, total, graded: of each conversation the tokens of its longest example, of all its examples, and those that
                  are graded; 0 where it is refused.
    inseparable:  conversations of which one exchange alone is longer than the context.
    """

    renderer: Renderer
    context: int | None
    train_on: TrainOn = "assistant"
    refused: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    said: dict[str, list[tuple[int, str, str]]] = field(default_factory=lambda: defaultdict(list))
    longest: list[int] = field(default_factory=list)
    total: list[int] = field(default_factory=list)
    graded: list[int] = field(default_factory=list)
    inseparable: list[int] = field(default_factory=list)

    def add(self, conversations: Sequence[Conversation]) -> None:
        """Counts the next conversations of the file."""
        for conversation, made in zip(
            conversations, self.renderer.render_rows(conversations, self.train_on), strict=True
        ):
            row = len(self.longest)
            if isinstance(made, ValueError):
                reason = getattr(made, "reason", "a message that cannot be learned from")
                self.refused[reason].append(row)
                if len(self.said[reason]) < EXAMPLES:
                    self.said[reason].append((row, conversation.id, str(made)))
                made = []
            self.longest.append(max((len(one.ids) for one in made), default=0))
            self.total.append(sum(len(one.ids) for one in made))
            self.graded.append(sum(int(np.count_nonzero(one.weights)) for one in made))
            if self.context and self.longest[-1] > self.context and not self._separable(conversation):
                self.inseparable.append(row)

    def too_long(self) -> list[int]:
        """The conversations that are longer than the context."""
        return [row for row, length in enumerate(self.longest) if self.context and length > self.context]

    def _separable(self, conversation: Conversation) -> bool:
        """Whether each exchange fits into the context by itself, with the system message before it."""
        opening = conversation.messages[:1] if conversation.messages[0].role == "system" else ()
        parts = [
            replace(conversation, messages=opening + part) for part in exchanges(conversation.messages[len(opening) :])
        ]
        rendered = self.renderer.render_rows(parts, self.train_on)
        return all(
            isinstance(made, list) and all(len(one.ids) <= (self.context or 0) for one in made) for made in rendered
        )

    def profile(self) -> dict[str, Any]:
        """Figures for the report: tokens in all, their spread, and what each policy for long conversations loses."""
        lengths = np.array([length for length in self.longest if length], np.int64)
        found: dict[str, Any] = {
            "tokens.total": sum(self.total),
            "tokens.graded": sum(self.graded),
            "tokens.graded_share": sum(self.graded) / max(1, sum(self.total)),
        }
        if len(lengths):
            places = np.quantile(lengths, (0.5, 0.9, 0.99), method="higher")
            found |= {f"tokens.{name}": int(at) for name, at in zip(("median", "p90", "p99"), places, strict=True)}
            found["tokens.longest"] = int(lengths.max())
        if self.context:
            long = self.too_long()
            found |= {
                "context.tokens": self.context,
                "context.too_long": len(long),
                "context.error.stops": bool(long),
                "context.drop.tokens_lost": sum(self.total[row] for row in long),
                "context.drop.graded_lost": sum(self.graded[row] for row in long),
                "context.split.cannot_be_split": len(self.inseparable),
            }
        return found
