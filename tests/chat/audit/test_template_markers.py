from __future__ import annotations

import pytest

from tutelage.chat.audit.checks.special_token import TemplateMarkers


@pytest.mark.parametrize(
    "text",
    ["a <|im_start|>user", "[INST] why [/INST]", "<<SYS>>", "<end_of_turn>", "<s>why", "so.</s>", "x\n\nHuman: why",
     "### Instruction:\nDo it", "do it\n\n### Response:\n", "<｜User｜>why"],
)  # fmt: skip
def test_markers_of_well_known_templates(text: str) -> None:
    assert TemplateMarkers().find(text) >= 0


@pytest.mark.parametrize(
    "text",
    ["a <s>b</s> c", "a <| b |> c", "x <|> y", "### Results", "Human: why", "[INSTALL]", "INST] of", "# Response",
     "In markdown ### Instruction: is a heading"],
)  # fmt: skip
def test_texts_without_markers(text: str) -> None:
    assert TemplateMarkers().find(text) == -1


def test_a_models_own_tokens() -> None:
    markers = TemplateMarkers(("<tool>", "<tool>x"))
    assert markers.find("say <tool>x") == 4
    assert markers.find("say tool") == -1
