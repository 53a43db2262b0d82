from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tutelage.config import SettingsError
from tutelage.corpus.batch import DocumentBatch
from tutelage.corpus.corpus_step import Corpus
from tutelage.corpus.pii import PiiDomainSettings, PiiSettings, pii, pii_domains
from tutelage.records import Document


def test_a_document_full_of_it_is_dropped() -> None:
    batch = DocumentBatch(
        [
            Document("a@firm.com", "one"),
            Document(" ".join(f"n{n}@firm.com" for n in range(6)), "six"),
            Document("nobody", "none"),
        ]
    )
    batch.enter("pii")
    pii(PiiSettings(max_spans=5))(batch)
    assert [document.text for document in batch.documents] == ["email@example.com", "nobody"]
    assert [(gone.document.id, gone.reason, gone.detail) for gone in batch.dropped] == [
        ("six", "too much personal data", "6 spans")
    ]
    assert batch.dropped[0].document.text.startswith("n0@firm.com")  # as it came to the step


def test_only_the_kinds_asked_for_are_masked() -> None:
    batch = DocumentBatch([Document("a@firm.com, (212) 664-7665")])
    batch.enter("pii")
    pii(PiiSettings(kinds=("email",)))(batch)
    assert batch.texts == ["email@example.com, (212) 664-7665"]


def test_domains_full_of_it_are_dropped_over_all_shards(tmp_path: Path) -> None:
    full = " ".join(f"n{n}@firm.com" for n in range(3))

    def page(domain: str, text: str) -> Document:
        return Document(text, meta={"url": f"http://www.{domain}/{len(text)}"})

    shards = [
        [page("lists.org", full), page("good.org", "words"), page("lists.org", "words"), page("few.org", full)],
        [
            page("lists.org", full),
            page("good.org", full),
            page("good.org", "words"),
            Document(full),
            page("lists.org", full),
        ],
    ]
    step = pii_domains(PiiDomainSettings(documents=3))
    batches = [DocumentBatch(shard) for shard in shards]
    collected = [step.collect(batch) for batch in batches]
    columns = {name: [one[name] for one in collected] for name in ("host", "full")}
    figures = step.decide(Corpus(columns, tmp_path, 1 << 20))
    assert figures == {"domains": 3, "domains_dropped": 1}
    left = []
    for number, batch in enumerate(batches):
        decisions = np.load(tmp_path / f"domain-{number:05d}.npy")
        batch.enter("pii_domains")
        assert len(decisions) == step.rows(batch)["domain"]
        step.apply(batch, {"domain": decisions})
        left += [document.meta.get("url", "")[11:19] for document in batch.documents]
    assert left == ["good.org", "few.org/", "good.org", "good.org", ""]


def test_settings_that_cannot_be_used_are_a_sentence() -> None:
    with pytest.raises(SettingsError, match="share must be at least 0"):
        PiiDomainSettings(share=1)
