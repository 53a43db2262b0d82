"""Transformers-backed models (extra `hub`): architectures that are not built in, behind the interface of `Transformer`.
They are slower and hold all logits of a batch at once, but any model that transformers loads can be trained, decoded
and saved.

Shape suffixes: N tokens laid end to end, V vocabulary, P padded slots, B rows being decoded.
"""

from __future__ import annotations

import json
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
from tutelage.model.carried import whole_checkpoint
from tutelage.model.embedding_rows import TrainedEmbeddingRows
from tutelage.model.families import FAMILIES
from tutelage.model.sizes import ModelConfig
from tutelage.model.transformer import TEMPERATURE, temperatures
from tutelage.model.weights import as_dtype, check_finite, read_tensor, tensor_files, write_weights
from tutelage.progress import status
from tutelage.records import Batch

DEFAULT_CONTEXT = 32_768  # of a model whose config names none


def _import_transformers(where: str, kind: str) -> ModuleType:
    try:
        import transformers
    except ImportError:
        known = ", ".join(FAMILIES)
        raise ValueError(
            f"{where}: models of type '{kind}' are not built in (built in: {known}); to run others through "
            "transformers: pip install 'tutelage[hub]'"
        ) from None
    transformers.utils.logging.disable_progress_bar()  # progress bars are ours
    return transformers


def read_hf_config(folder: Path, table: Mapping[str, Any]) -> ModelConfig:
    """The config of such a model in our terms. Vocabulary, context and parameter count are exact; FLOPs and memory
    computed from the other sizes are estimates.

    Raises:
        ValueError: transformers is not installed, or does not know the model type.
    """
    kind = str(table.get("model_type"))
    transformers = _import_transformers(str(folder), kind)
    try:
        full_config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            parameters = transformers.AutoModelForCausalLM.from_config(full_config).num_parameters()
    except (ValueError, KeyError, OSError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{folder}: transformers has no causal language model of type '{kind}' either ({reason})"
        ) from error
    text_config = full_config.get_text_config()
    heads = getattr(text_config, "num_attention_heads", None) or 1
    return ModelConfig(
        vocab=text_config.vocab_size,
        depth=text_config.num_hidden_layers,
        context=getattr(text_config, "max_position_embeddings", None) or DEFAULT_CONTEXT,
        width=text_config.hidden_size,
        heads=heads,
        kv_heads=getattr(text_config, "num_key_value_heads", None) or heads,
        head_size=getattr(text_config, "head_dim", None) or text_config.hidden_size // heads,
        mlp_width=getattr(text_config, "intermediate_size", None) or 4 * text_config.hidden_size,
        position="rotary",
        rope_theta=10_000.0,
        norm="rms",
        norm_eps=1e-5,
        mlp="swiglu",
        bias=False,
        qk_norm=False,
        tied=bool(text_config.tie_word_embeddings),
        hf_parameters=parameters,
    )


class HFModel(nn.Module):
    """A model of transformers with the interface that stages and decoder use. `hidden` returns logits already, since
    what such a model computes after its last norm differs by architecture."""

    def __init__(self, inner: Any, config: ModelConfig) -> None:
        super().__init__()
        self.inner, self.config, self.token_count = inner, config, config.vocab
        self.heads = nn.ModuleDict()  # always empty: named heads need a built-in architecture
        self.embedding_rows: TrainedEmbeddingRows | None = None
        self.lora_dropout = None  # needs a built-in architecture
        inner.get_input_embeddings().register_forward_hook(self._with_trained_rows)
        inner.get_output_embeddings().register_forward_hook(self._with_trained_logits)

    @property
    def embedding(self) -> nn.Embedding:
        return self.inner.get_input_embeddings()

    @property
    def head(self) -> nn.Linear | None:
        """The output matrix; None if it is tied to the embedding."""
        output: nn.Linear = self.inner.get_output_embeddings()
        return None if output.weight is self.embedding.weight else output

    def _with_trained_rows(self, _: nn.Module, args: tuple[torch.Tensor, ...], x: torch.Tensor) -> torch.Tensor:
        rows = self.embedding_rows
        return x if rows is None else rows.replace_embeddings(args[0], x)

    def _with_trained_logits(self, output: nn.Module, args: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
        rows = self.embedding_rows
        if rows is None:
            return y
        scores = args[0] @ rows.head_rows.to(args[0].dtype).T
        bias = getattr(output, "bias", None)
        scores = scores if bias is None else scores + bias[rows.ids_R]
        return y.index_copy(y.dim() - 1, rows.ids_R, scores.to(y.dtype))

    def head_outputs(self, hidden_ND: torch.Tensor) -> dict[str, torch.Tensor]:
        """The outputs of named heads: none."""
        return {}

    def forward(self, batch: Batch) -> torch.Tensor:
        """The log-probabilities of the labels at the trained positions, float32 [trained], in order."""
        trained = batch.weights_N.nonzero()[:, 0]
        logits_NV = self.hidden(batch.tokens_N, batch.positions_N, batch.lengths).index_select(0, trained)
        if TEMPERATURE in batch.scalars:
            logits_NV = logits_NV / temperatures(batch).index_select(0, trained)
        dtype = torch.promote_types(logits_NV.dtype, torch.float32)
        labels = batch.labels_N.index_select(0, trained)
        return logits_NV.log_softmax(dim=-1, dtype=dtype).gather(1, labels[:, None])[:, 0]

    def hidden(self, tokens_N: torch.Tensor, positions_N: torch.Tensor, attend: Sequence[int]) -> torch.Tensor:
        """Logits, [N, V]; `attend` is what `within_segments` returned."""
        plan = attention.plan_padding(attend, tokens_N.device)
        tokens_P = tokens_N if plan.token_of_slot_P is None else tokens_N.index_select(0, plan.token_of_slot_P)
        real_P = torch.ones_like(tokens_P)
        if plan.padding is not None:
            real_P[plan.padding] = 0
        sizes = [segments * length for segments, length in plan.shapes]
        logits = [
            self.inner(input_ids=ids.view(shape), attention_mask=real.view(shape), use_cache=False).logits.flatten(0, 1)
            for shape, ids, real in zip(plan.shapes, tokens_P.split(sizes), real_P.split(sizes), strict=True)
        ]
        logits_PV = logits[0] if len(logits) == 1 else torch.cat(logits)
        return logits_PV if plan.slot_of_token_N is None else logits_PV.index_select(0, plan.slot_of_token_N)

    def logits(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """`hidden` returned them already."""
        return hidden_ND

    def within_segments(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        """What `hidden` takes as `attend`."""
        return lengths


class HFCache:
    """The key-value cache of transformers, for rows whose prompts end in the same column."""

    def __init__(self, model: HFModel, real_BT: torch.Tensor) -> None:
        self.model, self.real_BT = model, real_BT
        self.past: Any = None

    def step(self, tokens_B: torch.Tensor, positions_B: torch.Tensor) -> torch.Tensor:
        """Append one token per row; returns the logits after it, [B, V]."""
        self.real_BT = torch.cat([self.real_BT, torch.ones_like(self.real_BT[:, :1])], dim=1)
        return self.read(tokens_B[:, None], positions_B[:, None])

    def keep(self, rows: torch.Tensor) -> None:
        """Keep only these rows."""
        self.past.batch_select_indices(rows)
        self.real_BT = self.real_BT.index_select(0, rows)

    def read(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Append [B, T] tokens at their positions; returns the logits after the last, [B, V]."""
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


def hf_prefill(model: HFModel, prompts: Sequence[np.ndarray]) -> tuple[HFCache, torch.Tensor]:
    """Run all prompts, padded on the left; returns the filled cache and the last logits, [B, V]."""
    longest, device = max(map(len, prompts)), model.embedding.weight.device
    ids_BT = np.zeros((len(prompts), longest), dtype=np.int64)
    real_BT = np.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :], real_BT[row, longest - len(prompt) :] = prompt, 1
    positions_BT = np.maximum(real_BT.cumsum(axis=1) - 1, 0)
    ids, real, positions = (torch.from_numpy(x).to(device) for x in (ids_BT, real_BT, positions_BT))
    cache = HFCache(model, real)
    return cache, cache.read(ids, positions)


def load_hf_model(folder: Path, config: ModelConfig, device: str, dtype: torch.dtype) -> HFModel:
    """Load a model.

    Raises:
        ValueError: its files do not fit together, where transformers would only warn.
    """
    transformers = _import_transformers(str(folder), "")
    tensor_files(folder)  # raises for pickles and missing shards
    try:
        inner, loading_info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(f"{folder}: {str(error).strip().partition(chr(10))[0]}") from error
    for problem, names in (
        ("lacks", loading_info["missing_keys"]),
        ("has unexpected", loading_info["unexpected_keys"]),
    ):
        if names:
            raise ValueError(f"{folder} {problem} {min(names)}; its weights do not match its config.json")
    for name, parameter in inner.named_parameters():
        check_finite(parameter, name, folder)
    return HFModel(inner.train(False).to(device), config)


def save_hf_weights(folder: Path, model: HFModel, dtype: torch.dtype, source: Path | None) -> bool:
    """Save the weights with transformers; they replace the old ones once all are on disk.

    source: the checkpoint that the model was loaded from. Its tensors that the model does not have, such as those of a
            vision tower, are saved as they are there, and all keep their names.

    Returns whether the folder holds the whole checkpoint; False where its names do not fit, so that only the model
    itself is saved.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as temporary:
        state = {name: as_dtype(tensor, dtype) for name, tensor in model.inner.state_dict().items()}
        model.inner.save_pretrained(temporary, state_dict=state)
        files = tensor_files(Path(temporary))
        if source is None or files.keys() == tensor_files(source).keys():
            for path in [*folder.glob("model*.safetensors"), *folder.glob("*.safetensors.index.json")]:
                path.unlink()
            for path in Path(temporary).glob("model*.safetensors*"):
                os.replace(path, folder / path.name)
            return True
        tensors = {name: read_tensor(path, name) for name, path in files.items()}
        whole = whole_checkpoint(tensors, source)
        write_weights(folder, whole[0] if whole else tensors)
    if whole is None:
        status(f"{folder}: saved as the text model that was trained; other parts of {source} are not in it")
    elif whole[1]:
        status(f"{folder}: {len(whole[1])} tensors that were not trained are saved as they were ({whole[1][0]} ...)")
    return whole is not None


def text_config(model: HFModel, dtype: torch.dtype) -> dict[str, Any]:
    """The config.json of the model by itself, without the other parts of its checkpoint."""
    table = json.loads(model.inner.config.to_json_string(use_diff=False))
    return {**table, "architectures": [type(model.inner).__name__], "dtype": str(dtype).removeprefix("torch.")}


def hf_module_names(model: HFModel) -> dict[str, tuple[str, ...]]:
    """The names of the embedding and of the output matrix within the model."""
    names = {module: name for name, module in model.inner.named_modules()}
    embedding, output = model.inner.get_input_embeddings(), model.inner.get_output_embeddings()
    return {"embedding": (names[embedding],), "head": (names[output],)}


@torch.no_grad()
def resize_hf_vocabulary(model: HFModel, vocab: int) -> HFModel:
    """The model, changed in place, with `vocab` rows in its embedding and output matrix; added rows are zeros."""
    inner, known = model.inner, model.config.vocab
    inner.resize_token_embeddings(vocab, mean_resizing=False)
    for matrix in (inner.get_input_embeddings(), inner.get_output_embeddings()):
        matrix.weight[known:] = 0
    return HFModel(inner, msgspec.structs.replace(model.config, vocab=vocab, hf_parameters=inner.num_parameters()))


@torch.no_grad()
def resize_hf_embeddings(model: HFModel, known: int, wanted: int, generator: torch.Generator) -> HFModel:
    """Extend the embeddings from `known` to `wanted` tokens, in place; new rows as in `extend_vocabulary`."""
    inner, vocab = model.inner, max(wanted, model.config.vocab)
    if vocab > model.config.vocab:
        inner.resize_token_embeddings(vocab, mean_resizing=False)
    weights = inner.get_input_embeddings().weight, inner.get_output_embeddings().weight
    for weight in weights[:1] if weights[0] is weights[1] else weights:
        rows = weight[:known]
        noise = torch.randn((wanted - known, weight.shape[1]), generator=generator).to(weight) * rows.std() / 10
        weight[known:wanted] = rows.mean(dim=0, keepdim=True) + noise
    config = msgspec.structs.replace(model.config, vocab=vocab, hf_parameters=inner.num_parameters())
    return HFModel(inner, config)
