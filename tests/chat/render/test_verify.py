from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tutelage.chat.render.encoding import Encoded
from tutelage.chat.render.hf import HFRenderer
from tutelage.chat.render.layout import Layout, VerificationError, concatenate
from tutelage.chat.render.renderer import Rendered
from tutelage.chat.render.verify import verify
from tutelage.records import Conversation, message

Make = Callable[..., HFRenderer]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMED = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}[INST] "
    "{{ message.content | trim }} [/INST]{% else %} {{ message.content | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)
TALK = Conversation(
    (
        message("system", "Be brief."),
        message("user", "What is 2 + 3?"),
        message("assistant", "It is 5."),
        message("user", "Größer als 4? 🙂"),
        message("assistant", "Ja, größer. 🙂"),
    ),
    id="talk",
)


def verified(renderer: HFRenderer, conversation: Conversation) -> tuple[Rendered, Layout, Encoded]:
    layout = renderer.template.layout(conversation, last=False)[0]
    (encoded,) = renderer.encoder.encode([layout.text])
    ((one,),) = renderer.render_rows([conversation])
    assert one.ids.tolist() == encoded.ids.tolist()
    verify(one, layout, encoded, renderer.encoder.table, renderer.stop_ids)
    return one, layout, encoded


@pytest.mark.parametrize("template", [CHATML, TRIMMED])
@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_every_mutation_of_a_mask_is_caught(template: str, kind: str, make: Make) -> None:
    renderer = make(template, eos="<|im_end|>", kind=kind)
    one, layout, encoded = verified(renderer, Conversation(TALK.messages[1:], id="talk"))
    assert encoded.in_bytes == (kind == "bytes")

    def refuses(weights: np.ndarray) -> None:
        wrong = dataclasses.replace(one, weights=weights.astype(np.float32))
        with pytest.raises(VerificationError, match=r"verification failed .token \d+ .* has weight"):
            verify(wrong, layout, encoded, renderer.encoder.table, renderer.stop_ids)

    for token in range(len(one.ids)):  # an answer token or an end dropped, a user, system or header token trained
        weights = one.weights.copy()
        weights[token] = 1 - weights[token]
        refuses(weights)
    for weights in (
        np.roll(one.weights, 1),
        np.roll(one.weights, -1),
        np.zeros(len(one.ids)),
        np.ones(len(one.ids)),
        one.weights / 2,
        one.weights[::-1],
    ):
        refuses(weights)


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_every_mutation_of_the_tokens_is_caught(kind: str, make: Make) -> None:
    renderer = make(CHATML, eos="<|im_end|>", kind=kind)
    one, layout, encoded = verified(renderer, TALK)
    other = int(renderer.tokenizer.backend.token_to_id("z"))

    def refuses(wrong: Rendered) -> None:
        with pytest.raises(VerificationError, match="verification failed"):
            verify(wrong, layout, encoded, renderer.encoder.table, renderer.stop_ids)

    for token in range(len(one.ids)):
        kept = np.arange(len(one.ids)) != token
        refuses(Rendered(one.ids[kept], one.weights[kept], one.roles[kept]))
        ids = one.ids.copy()
        ids[token] = other
        refuses(dataclasses.replace(one, ids=ids))
        columns = (one.ids, one.weights, one.roles)
        refuses(Rendered(*(np.insert(column, token, column[token]) for column in columns)))
    refuses(dataclasses.replace(one, ids=one.ids[::-1].copy()))


def test_every_mutation_of_the_tokens_is_caught_where_the_encoding_has_it_too(make: Make) -> None:
    renderer = make(CHATML, eos="<|im_end|>", kind="bytes")
    one, layout, encoded = verified(renderer, TALK)
    table = renderer.encoder.table

    def refuses(ids: np.ndarray, weights: np.ndarray) -> None:
        ends = np.cumsum(table.lengths(ids))
        forged = dataclasses.replace(encoded, ids=ids, begins=ends - table.lengths(ids), ends=ends)
        wrong = Rendered(ids, weights, np.zeros(len(ids), np.uint8))
        with pytest.raises(VerificationError, match="verification failed"):
            verify(wrong, layout, forged, table, renderer.stop_ids)

    for token in range(len(one.ids)):
        refuses(np.delete(one.ids, token), np.delete(one.weights, token))
        refuses(np.insert(one.ids, token, one.ids[token]), np.insert(one.weights, token, one.weights[token]))
        ids = one.ids.copy()
        ids[token] = int(renderer.tokenizer.backend.token_to_id("z"))
        refuses(ids, one.weights)
    refuses(one.ids[::-1].copy(), one.weights)


def conversation(exchanges: list[tuple[str, str]]) -> Conversation:
    turns = [one for user, answer in exchanges for one in (message("user", user), message("assistant", answer))]
    return Conversation(tuple(turns))


def test_a_mistake_in_one_of_many_is_caught(make: Make) -> None:
    renderer = make(CHATML, eos="<|im_end|>", kind="bytes")
    rows = [conversation([("ask é", "word")]), conversation([("b", "語 z")]), conversation([("a", "b"), ("c", "d")])]
    layout = concatenate([renderer.template.layout(row, last=False)[0] for row in rows])
    encoded = renderer.encoder.encode_concatenated([renderer.template.layout(row, last=False)[0].text for row in rows])
    assert encoded is not None
    alone = [one for made in renderer.render_rows(rows) if isinstance(made, list) for one in made]
    whole = Rendered(*(np.concatenate([getattr(one, name) for one in alone]) for name in ("ids", "weights", "roles")))
    verify(whole, layout, encoded, renderer.encoder.table, renderer.stop_ids)

    def refuses(wrong: Rendered, layout: Any = layout) -> None:
        with pytest.raises(VerificationError, match="verification failed"):
            verify(wrong, layout, encoded, renderer.encoder.table, renderer.stop_ids)

    for token in range(len(whole.ids)):
        weights = whole.weights.copy()
        weights[token] = 1 - weights[token]
        refuses(dataclasses.replace(whole, weights=weights))
        ids = whole.ids.copy()
        ids[token] = (ids[token] + 1) % renderer.tokenizer.vocab_size
        refuses(dataclasses.replace(whole, ids=ids))
    # A special token too many in one and too few in another, and one that begins where no token does.
    refuses(whole, dataclasses.replace(layout, specials_R=layout.specials_R + np.array([1, -1, 0])))
    refuses(whole, dataclasses.replace(layout, rows_R=layout.rows_R + np.array([0, 1, 0])))
