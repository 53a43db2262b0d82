from __future__ import annotations

from tutelage.corpus.probe import probe_documents


def test_every_text_is_held_out_and_has_a_name_of_its_own() -> None:
    texts = list(probe_documents())
    assert len(texts) == len({one.id for one in texts}) == len({one.text for one in texts}) == 24
    assert all(one.split == "held_out" and one.text.strip() == one.text and "%%" not in one.text for one in texts)
