"""What a model's tokenizer and template make of the conversations: what fails verification, and how long they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tutelage.chat.audit.scan_result import EXAMPLES, ExampleRow
from tutelage.chat.render.renderer import Renderer, TrainOn
from tutelage.chat.render.template import exchanges
from tutelage.records import Conversation


@dataclass(eq=False)
class TokenCounts:
    """Renders conversations as training does, and counts tokens.

    context:           the most tokens the model reads at once; None: do not check lengths.
    refused:           the conversations that fail verification, by reason, and `examples` of each reason.
    longest, total, trained: per conversation: the tokens of its longest example, of all its examples, and the trained
                       ones among them; 0 where it is refused.
    unsplittable:      conversations of which one exchange alone is longer than the context.
    """

    renderer: Renderer
    context: int | None
    train_on: TrainOn = "assistant"
    refused: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    examples: dict[str, list[ExampleRow]] = field(default_factory=lambda: defaultdict(list))
    longest: list[int] = field(default_factory=list)
    total: list[int] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    unsplittable: list[int] = field(default_factory=list)

    def add(self, conversations: Sequence[Conversation]) -> None:
        """Count the next conversations of the file."""
        for conversation, rendered in zip(
            conversations, self.renderer.render_rows(conversations, self.train_on), strict=True
        ):
            row = len(self.longest)
            if isinstance(rendered, ValueError):
                reason = getattr(rendered, "reason", "a message that cannot be learned from")
                self.refused[reason].append(row)
                if len(self.examples[reason]) < EXAMPLES:
                    self.examples[reason].append(ExampleRow(row, conversation.id, str(rendered)))
                rendered = []
            self.longest.append(max((len(example.ids) for example in rendered), default=0))
            self.total.append(sum(len(example.ids) for example in rendered))
            self.trained.append(sum(int(np.count_nonzero(example.weights)) for example in rendered))
            if self.context and self.longest[-1] > self.context and not self._splittable(conversation):
                self.unsplittable.append(row)

    def too_long(self) -> list[int]:
        """The conversations that are longer than the context."""
        return [row for row, length in enumerate(self.longest) if self.context and length > self.context]

    def _splittable(self, conversation: Conversation) -> bool:
        """Whether each exchange fits into the context by itself, with the system message before it."""
        system = conversation.messages[:1] if conversation.messages[0].role == "system" else ()
        parts = [
            replace(conversation, messages=system + part) for part in exchanges(conversation.messages[len(system) :])
        ]
        return all(
            isinstance(rendered, list) and all(len(example.ids) <= (self.context or 0) for example in rendered)
            for rendered in self.renderer.render_rows(parts, self.train_on)
        )

    def profile(self) -> dict[str, Any]:
        """Figures for the report: total tokens, their distribution, and what each policy for long conversations
        loses."""
        lengths = np.array([length for length in self.longest if length], np.int64)
        figures: dict[str, Any] = {
            "tokens.total": sum(self.total),
            "tokens.trained": sum(self.trained),
            "tokens.trained_share": sum(self.trained) / max(1, sum(self.total)),
        }
        if len(lengths):
            quantiles = np.quantile(lengths, (0.5, 0.9, 0.99), method="higher")
            figures |= {
                f"tokens.{name}": int(length) for name, length in zip(("median", "p90", "p99"), quantiles, strict=True)
            }
            figures["tokens.longest"] = int(lengths.max())
        if self.context:
            long = self.too_long()
            figures |= {
                "context.tokens": self.context,
                "context.too_long": len(long),
                "context.error.stops": bool(long),
                "context.drop.tokens_lost": sum(self.total[row] for row in long),
                "context.drop.trained_tokens_lost": sum(self.trained[row] for row in long),
                "context.split.unsplittable": len(self.unsplittable),
            }
        return figures
