"""A trainer gives a served model new weights, and whoever has no key or another folder does not."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("starlette")
from served import TEXT, Served, serving, tiny_checkpoint

from tutelage.engine.weights_digest import weights_digest
from tutelage.model.hub import save_tensors
from tutelage.serve.server import ServeSettings, weights_folder

WEIGHTS = "/v1/weights"
KEY = {"Authorization": "Bearer sesame"}


def written_by(served: Served) -> tuple[str, str]:
    body = {"model": "tiny", "prompt": "Good day", "temperature": 0, "max_tokens": 8}
    answer = served.post(TEXT, body, **KEY).json()
    return answer["choices"][0]["text"], answer["system_fingerprint"]


def test_new_weights_write_and_the_answer_says_so(tmp_path: Path) -> None:
    other = tiny_checkpoint(seed=1).model
    save_tensors(tmp_path / "new.safetensors", dict(other.named_parameters()))
    with serving(settings=ServeSettings(api_key="sesame", weights_from=str(tmp_path))) as served:
        before, old = written_by(served)
        assert old == weights_digest(served.model.checkpoint.model)
        asked = {"model": "tiny", "path": str(tmp_path / "new.safetensors")}
        assert served.post(WEIGHTS, asked).status_code == 401
        answer = served.post(WEIGHTS, asked, **KEY)
        assert answer.json() == {"model": "tiny", "weights": weights_digest(other)}
        after, new = written_by(served)
    assert new == weights_digest(other) != old
    assert after != before


def test_what_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "outside.safetensors").write_bytes(b"")
    (inside / "broken.safetensors").write_bytes(b"no tensors")
    few = dict(list(tiny_checkpoint().model.named_parameters())[:2])
    save_tensors(inside / "few.safetensors", few)
    with serving(settings=ServeSettings(api_key="sesame", weights_from=str(inside))) as served:

        def refused(path: Path, status: int, said: str, model: str = "tiny") -> None:
            answer = served.post(WEIGHTS, {"model": model, "path": str(path)}, **KEY)
            assert answer.status_code == status
            assert said in answer.json()["error"]["message"]

        refused(tmp_path / "outside.safetensors", 403, "not below the folder")
        refused(inside / ".." / "outside.safetensors", 403, "not below the folder")
        refused(inside / "none.safetensors", 404, "no such file")
        refused(inside / "broken.safetensors", 400, "cannot be read")
        refused(inside / "few.safetensors", 400, "other tensors than the model")
        refused(inside / "few.safetensors", 404, "", "nobody")
        worker = served.model.worker
        worker.call(lambda engine: engine.add([1, 2, 3], frozenset(), served_settings())).result(60)
        worker.call(lambda engine: engine.step()).result(60)
        refused(inside / "few.safetensors", 409, "requests run")
    with serving(settings=ServeSettings()) as served:
        refused_open = served.post(WEIGHTS, {"model": "tiny", "path": str(inside / "few.safetensors")})
        assert refused_open.status_code == 403
        assert "--weights-from" in refused_open.json()["error"]["message"]
    with pytest.raises(ValueError, match="--weights-from needs a key"):
        weights_folder(ServeSettings(weights_from=str(inside)))


def served_settings() -> object:
    from tutelage.engine.sampling import SamplingSettings

    return SamplingSettings(max_tokens=100_000)
