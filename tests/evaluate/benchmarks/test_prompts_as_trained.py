"""Prompts begin and end as in training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tokenizers
from tokenizers.processors import TemplateProcessing

from tutelage.chat import make_renderer
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.documents import render_document
from tutelage.engine.requests import Generation
from tutelage.engine.sampling import SamplingSettings
from tutelage.evaluate import sampled_answers
from tutelage.evaluate.answers import text_ends
from tutelage.evaluate.choices import plain_sequence
from tutelage.evaluate.result_cache import ResultCache
from tutelage.evaluate.sampled_answers import chat_prompts, plain_prompts, sample_answers
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation, message
from tutelage.tokenizer import END_OF_TEXT, Tokenizer


def test_pain_e5_a_prompt_begins_with_one_bos(base_model: Checkpoint) -> None:
    (prompt,) = plain_prompts(base_model, ["The answer is"])
    opening = base_model.tokenizer.document_edges[0]
    assert len(opening) == 1 and prompt.ids[0] == opening[0] != prompt.ids[1]
    assert base_model.tokenizer.decode(prompt.ids[1:]) == "The answer is"


def with_bos(model: Checkpoint) -> Checkpoint:
    """The model with a tokenizer whose template adds its end-of-text token before a text, as Llama's does BOS."""
    backend = tokenizers.Tokenizer.from_str(model.tokenizer.backend.to_str())
    bos = model.tokenizer.special_tokens[END_OF_TEXT]
    backend.post_processor = TemplateProcessing(single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, bos)])
    return replace(model, tokenizer=Tokenizer(backend))


@pytest.mark.parametrize("templated", [False, True])
def test_pains_e5_and_e6_every_format_begins_as_in_training(chat_model: Checkpoint, templated: bool) -> None:
    """One BOS in plain text by likelihood and by answer; a chat begins as its rows do in training, and BOS stands
    nowhere else."""
    model = with_bos(chat_model) if templated else chat_model
    bos = model.tokenizer.special_tokens[END_OF_TEXT]
    likelihood, _ = plain_sequence(model.tokenizer, "The answer is", " A")
    (written,) = plain_prompts(model, ["The answer is"])
    trained = render_document("The answer is", model.tokenizer).ids
    for ids in (likelihood.tokens, written.ids):
        assert ids[0] == bos == trained[0] and bos not in ids[1:].tolist()
        assert ids[: len(written.ids)].tolist() == trained[: len(written.ids)].tolist()
    asked = Conversation((message("user", "Who?"),), "1")
    told = replace(asked, messages=(*asked.messages, message("assistant", "A")))
    (prompt,) = chat_prompts(model, [asked])
    renderer = make_renderer(model.tokenizer, model.chat_config)
    ((row,),) = (made for made in renderer.render_rows([told], "last_assistant") if not isinstance(made, ValueError))
    assert prompt.ids.tolist() == row.ids[: len(prompt.ids)].tolist()
    assert (row.weights > 0)[len(prompt.ids)] and not (row.weights > 0)[: len(prompt.ids)].any()


def test_a_model_that_chats_ends_plain_text_at_the_end_of_a_turn_too(
    chat_model: Checkpoint, base_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SmolLM2-Instruct, asked in plain text, closed its turn and wrote further ones until the limit."""
    seen: list[frozenset[int]] = []

    def write(checkpoint: Any, jobs: Any, settings: Any, stop_ids: frozenset[int], *rest: Any) -> Any:
        seen.append(stop_ids)
        return [(key, Generation([stop], stop_token=stop)) for key in jobs for stop in [min(stop_ids)]]

    monkeypatch.setattr(sampled_answers, "_generate", write)
    for model in (chat_model, base_model):
        for chat in (False, True):
            if not chat or model is chat_model:
                sample_answers(
                    model, plain_prompts(model, ["Nora"]), SamplingSettings(), 1, chat, (), ResultCache(), "test"
                )
    of_template, of_documents = seen[1], frozenset(chat_model.tokenizer.document_edges[1].tolist())
    assert seen[0] == of_template | of_documents and not of_documents <= of_template
    assert seen[2] == frozenset(base_model.tokenizer.document_edges[1].tolist())


def test_plain_text_ends_at_what_a_checkpoint_declares(base_model: Checkpoint) -> None:
    """Llama's tokenizer adds BOS alone; answers of its base models went on after "</s>" until the limit."""
    model = with_bos(base_model)
    end = model.tokenizer.special_tokens[END_OF_TEXT]
    assert model.tokenizer.document_edges[1].tolist() == [] and text_ends(model) == frozenset()
    named = ChatConfig(tokenizer_config={"eos_token": {"content": END_OF_TEXT}})
    assert text_ends(replace(model, chat_config=named)) == {end}
    declared = ChatConfig(generation_config={"eos_token_id": [3, 4]})
    assert text_ends(replace(model, chat_config=declared)) == {3, 4}
    assert text_ends(base_model) == {end}
