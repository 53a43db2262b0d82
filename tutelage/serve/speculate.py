"""What `--speculate` of chat and serve asks for: guesses from earlier text, or by a smaller model."""

from __future__ import annotations

from msgspec.structs import replace

from tutelage.engine.engine import Engine, EngineSettings
from tutelage.find_model import find_model
from tutelage.model.hub import Checkpoint, load_model
from tutelage.model.transformer import Transformer

NGRAM = "ngram"
MOST_TOKENS = 8  # guessed for one answer in a step


def make_engine(checkpoint: Checkpoint, settings: EngineSettings, speculate: str | None) -> Engine:
    """An engine over a model. `speculate` is "ngram", or names a draft model; None guesses nothing.

    Raises:
        ValueError: the settings do not fit the model, or the draft model does not.
    """
    if speculate is None:
        return Engine(checkpoint.model, settings)
    draft = None if speculate == NGRAM else _load_draft_model(speculate, checkpoint)
    return Engine(checkpoint.model, replace(settings, speculate=MOST_TOKENS), draft)


def _load_draft_model(speculate: str, checkpoint: Checkpoint) -> Transformer:
    folder = find_model(speculate)
    draft = load_model(folder)
    if draft.tokenizer.backend.get_vocab() != checkpoint.tokenizer.backend.get_vocab():
        raise ValueError(
            f"--speculate: {folder} has another tokenizer than the model; a draft model needs the same one"
        )
    if draft.model.config.hf_parameters is not None:
        raise ValueError(f"--speculate: {folder} is held by transformers; a draft model must be of a built-in family")
    return draft.model
