"""Models that the one transformer cannot be, held by `transformers` (the extra `hub`) behind the same interface.
Slower, and all logits of a batch exist at once; but whatever it loads can be trained, decoded and written back.

Shape suffixes: N tokens end to end, V vocabulary, P padded slots, B rows being decoded.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from tutelage.model import attention
from tutelage.model.families import FAMILIES
from tutelage.model.sizes import ModelConfig
from tutelage.model.weights import refuse_not_finite, tensor_files
from tutelage.records import Batch

UNBOUNDED = 32_768  # the context of a model that names none


def _transformers(where: str, kind: str) -> ModuleType:
    try:
        import transformers
    except ImportError:
        known = ", ".join(FAMILIES)
        raise ValueError(
            f"{where}: models of type '{kind}' are not built in (those that are: {known}); to run others through "
            "transformers: pip install 'tutelage[hub]'"
        ) from None
    transformers.utils.logging.disable_progress_bar()  # bars are for us to draw
    return transformers


def read_foreign_config(folder: Path, table: Mapping[str, Any]) -> ModelConfig:
    """What can be said of such a model in our terms: its vocabulary, context and number of parameters are right, what
    is reckoned from the other sizes is a guess.

    Raises:
        ValueError: transformers is not installed, or does not know the model either.
    """
    kind = str(table.get("model_type"))
    transformers = _transformers(str(folder), kind)
    try:
        whole = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            parameters = transformers.AutoModelForCausalLM.from_config(whole).num_parameters()
    except (ValueError, KeyError, OSError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{folder}: transformers has no language model of type '{kind}' either ({reason})") from error
    said = whole.get_text_config()
    heads = getattr(said, "num_attention_heads", None) or 1
    return ModelConfig(
        vocab=said.vocab_size,
        depth=said.num_hidden_layers,
        context=getattr(said, "max_position_embeddings", None) or UNBOUNDED,
        width=said.hidden_size,
        heads=heads,
        kv_heads=getattr(said, "num_key_value_heads", None) or heads,
        head_size=getattr(said, "head_dim", None) or said.hidden_size // heads,
        mlp_width=getattr(said, "intermediate_size", None) or 4 * said.hidden_size,
        position="rotary",
        rope_theta=10_000.0,
        norm="rms",
        norm_eps=1e-5,
        mlp="swiglu",
        bias=False,
        qk_norm=False,
        tied=bool(said.tie_word_embeddings),
        foreign_parameters=parameters,
    )


class ForeignModel(nn.Module):
    """What the stages and the decoder ask of a model, answered by one of transformers. What `hidden` gives are already
    the logits: what such a model does to them after its last norm is its own affair."""

    def __init__(self, inner: Any, config: ModelConfig) -> None:
        super().__init__()
        self.inner, self.config, self.tokens = inner, config, config.vocab

    @property
    def embedding(self) -> nn.Embedding:
        return self.inner.get_input_embeddings()

    def forward(self, batch: Batch) -> torch.Tensor:
        """The log-probabilities of the labels at the graded positions, float32 [graded], in order."""
        graded = batch.weights_N.nonzero()[:, 0]
        scores_NV = self.hidden(batch.tokens_N, batch.positions_N, batch.lengths).index_select(0, graded)
        wide = torch.promote_types(scores_NV.dtype, torch.float32)
        labels = batch.labels_N.index_select(0, graded)
        return scores_NV.log_softmax(dim=-1, dtype=wide).gather(1, labels[:, None])[:, 0]

    def hidden(self, tokens_N: torch.Tensor, positions_N: torch.Tensor, attend: Sequence[int]) -> torch.Tensor:
        """The scores of every token at every position, [N, V]; `attend` is what `within_segments` gave."""
        how = attention.plan(attend, tokens_N.device)
        tokens_P = tokens_N if how.slots_P is None else tokens_N.index_select(0, how.slots_P)
        real_P = torch.ones_like(tokens_P)
        if how.padding is not None:
            real_P[how.padding] = 0
        sizes = [segments * length for segments, length in how.shapes]
        scores = [
            self.inner(input_ids=ids.view(shape), attention_mask=real.view(shape), use_cache=False).logits.flatten(0, 1)
            for shape, ids, real in zip(how.shapes, tokens_P.split(sizes), real_P.split(sizes), strict=True)
        ]
        scores_PV = scores[0] if len(scores) == 1 else torch.cat(scores)
        return scores_PV if how.homes_N is None else scores_PV.index_select(0, how.homes_N)

    def logits(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        return hidden_ND

    def within_segments(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        return lengths


class ForeignCache:
    """What transformers keeps of the tokens read so far, for rows that end in the same column."""

    def __init__(self, model: ForeignModel, real_BT: torch.Tensor) -> None:
        self.model, self.real_BT = model, real_BT
        self.past: Any = None

    def step(self, tokens_B: torch.Tensor, positions_B: torch.Tensor) -> torch.Tensor:
        """Read one more token a row; returns the logits after it, [B, V]."""
        self.real_BT = torch.cat([self.real_BT, torch.ones_like(self.real_BT[:, :1])], dim=1)
        return self.read(tokens_B[:, None], positions_B[:, None])

    def keep(self, rows: torch.Tensor) -> None:
        """Forget all rows but these."""
        self.past.batch_select_indices(rows)
        self.real_BT = self.real_BT.index_select(0, rows)

    def read(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Read [B, T] tokens at their positions; returns the logits after the last, [B, V]."""
        out = self.model.inner(
            input_ids=ids,
            attention_mask=self.real_BT,
            position_ids=positions,
            past_key_values=self.past,
            use_cache=True,
            logits_to_keep=1,
        )
        self.past = out.past_key_values
        return out.logits[:, -1]


def foreign_prefill(model: ForeignModel, prompts: Sequence[np.ndarray]) -> tuple[ForeignCache, torch.Tensor]:
    """Read all prompts, padded on the left; returns the filled cache and the last logits, [B, V]."""
    longest, device = max(map(len, prompts)), model.embedding.weight.device
    ids_BT = np.zeros((len(prompts), longest), dtype=np.int64)
    real_BT = np.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :], real_BT[row, longest - len(prompt) :] = prompt, 1
    positions_BT = np.maximum(real_BT.cumsum(axis=1) - 1, 0)
    ids, real, positions = (torch.from_numpy(x).to(device) for x in (ids_BT, real_BT, positions_BT))
    cache = ForeignCache(model, real)
    return cache, cache.read(ids, positions)


def load_foreign(folder: Path, config: ModelConfig, device: str, dtype: torch.dtype) -> ForeignModel:
    """Read a model; ValueError where its files do not fit together, which transformers would only warn of."""
    transformers = _transformers(str(folder), "")
    tensor_files(folder)  # refuses pickles and missing shards in our words
    try:
        inner, found = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(f"{folder}: {str(error).strip().partition(chr(10))[0]}") from error
    for what, names in (("lacks", found["missing_keys"]), ("holds unknown", found["unexpected_keys"])):
        if names:
            raise ValueError(f"{folder} {what} {min(names)}; its weights do not belong to its config.json")
    for name, parameter in inner.named_parameters():
        refuse_not_finite(parameter, name, folder)
    return ForeignModel(inner.train(False).to(device), config)


def write_foreign(folder: Path, model: ForeignModel) -> None:
    """Write the weights as transformers writes them, put in place once they are all on disk."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as temporary:
        model.inner.save_pretrained(temporary)
        for path in [*folder.glob("model*.safetensors"), *folder.glob("*.safetensors.index.json")]:
            path.unlink()
        for path in Path(temporary).glob("model*.safetensors*"):
            os.replace(path, folder / path.name)


@torch.no_grad()
def grow_foreign(model: ForeignModel, known: int, wanted: int, generator: torch.Generator) -> ForeignModel:
    """The same model, changed in place, with rows for `wanted` tokens; the new ones as in `hub.extend_vocabulary`."""
    inner, vocab = model.inner, max(wanted, model.config.vocab)
    if vocab > model.config.vocab:
        inner.resize_token_embeddings(vocab, mean_resizing=False)
    ends = inner.get_input_embeddings().weight, inner.get_output_embeddings().weight
    for weight in ends[:1] if ends[0] is ends[1] else ends:
        rows = weight[:known]
        noise = torch.randn((wanted - known, weight.shape[1]), generator=generator).to(weight) * rows.std() / 10
        weight[known:wanted] = rows.mean(dim=0, keepdim=True) + noise
    config = msgspec.structs.replace(model.config, vocab=vocab, foreign_parameters=inner.num_parameters())
    return ForeignModel(inner, config)
