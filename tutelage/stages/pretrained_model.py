"""A model that exists already, for other stages to start from; nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from tutelage.chat.render.make import has_own_template
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.config import SettingsError, to_plain
from tutelage.corpus.probe import probe_documents
from tutelage.model.hub import load_chat_files, load_config
from tutelage.stages.base import RUN_FILES, Reads, RecipeTables, Stage
from tutelage.stages.data import DataSettings
from tutelage.stages.data_files import ProbeText
from tutelage.text.hashing import file_hash
from tutelage.tokenizer import EncodingError

MODEL_FILES = (".json", ".jinja", ".safetensors")


class PretrainedModel(Stage, tag="model", tag_field="kind", frozen=True, kw_only=True):
    """A model's folder.

    path: the folder; a relative one in a recipe is looked for beside the recipe.
    data: the text the model was trained on, with shares: what is replayed, and what forgetting is measured on. Where it
          is left out, forgetting is measured on two dozen texts of many kinds that come with Tutelage (kind "probe").
    held_out: the share of that text that the model was not trained on.
    lr:   the peak rate it was trained with, from which later stages take theirs.
    """

    reads: ClassVar[Reads] = "documents"
    title: ClassVar[str] = "pretrained model"
    trains: ClassVar[bool] = False

    path: str
    data: dict[str, float] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parent is not None:
            raise SettingsError(f"a model that exists already starts from nothing; take from = '{self.parent}' out")

    def folder(self, name: str, run: Path) -> Path:
        return Path(self.path)

    def content(self) -> list[object]:
        """The files of the model, wherever they lie."""
        files = [path for path in sorted(Path(self.path).iterdir()) if path.suffix in MODEL_FILES]
        hashes = [(path.name, file_hash(path)) for path in files if path.name not in RUN_FILES]
        settings = {key: value for key, value in to_plain(self).items() if key not in ("path", "batch_tokens")}
        return [hashes, settings]

    def has_template(self) -> bool:
        return has_turns(Path(self.path))

    def default_data(self) -> dict[str, DataSettings]:
        return {"probe": ProbeText()} if not self.data and can_encode_probe(Path(self.path)) else {}

    def check(self, name: str, recipe: RecipeTables, here: str) -> None:
        super().check(name, recipe, here)
        try:
            load_config(Path(self.path))
        except ValueError as error:
            raise SettingsError(f"{here}.path: {error}") from None


def has_turns(model: Path) -> bool:
    """Whether a model has a chat template already, so that how it answers can be measured before it is fine-tuned."""
    tokenizer, config = load_chat_files(model)
    return has_own_template(config) or all(name in tokenizer.special_tokens for name in TEMPLATE_TOKENS)


def can_encode_probe(folder: Path) -> bool:
    """Whether a model's tokenizer has all characters of the texts that come with Tutelage; one of characters alone
    has those of its own text."""
    try:
        load_chat_files(folder)[0].encode_batch([document.text for document in probe_documents()])
    except EncodingError:
        return False
    return True
