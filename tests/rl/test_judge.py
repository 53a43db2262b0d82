"""A judge as a part of a reward, with an endpoint in a thread."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tutelage.client import EndpointSettings
from tutelage.config import SettingsError
from tutelage.records import message
from tutelage.rl.judge import read_score
from tutelage.rl.reward_settings import JudgeReward
from tutelage.rl.rewards import Rewards, Sample, Sources

pytestmark = pytest.mark.usefixtures("quiet")


def judged(body: dict[str, Any]) -> str:
    """Likes the word "cat"; says nothing of an answer "mute"."""
    answer = body["messages"][-1]["content"].split("<answer>\n")[1].split("\n</answer>")[0]
    return "No opinion." if answer == "mute" else f"Fine.\n**Score:** {8 if 'cat' in answer else 2.5}"


@pytest.fixture
def endpoint() -> Iterator[Any]:
    path = Path(__file__).parents[1] / "client" / "endpoint.py"
    spec = importlib.util.spec_from_file_location("endpoint", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Endpoint(judged) as running:
        yield running


def sample(text: str) -> Sample:
    return Sample((message("user", "Who sees the fox?"),), None, text, text, 5, 10, "stop")


def test_scores_are_shares_of_the_highest_and_replies_are_asked_for_once(endpoint: Any, tmp_path: Path) -> None:
    settings = JudgeReward(endpoint=EndpointSettings(url=endpoint.url, model="m"), criteria="Names the cat.")
    samples = [sample("the cat"), sample("a dog"), sample("mute")]
    for _ in range(2):  # the second time as after a resume
        made = Rewards({"judge": settings}, Sources(responses=tmp_path / "responses.jsonl"))
        cat, dog, mute = made.score(samples)
        assert (cat.total, dog.total) == (0.8, 0.25)
        assert (mute.total, mute.reason) == (None, "judge: no score")
    assert len(endpoint.seen) == 3
    assert "Names the cat." in endpoint.seen[0]["messages"][0]["content"]
    assert "user: Who sees the fox?" in endpoint.seen[0]["messages"][0]["content"]


def test_an_answer_that_the_endpoint_refuses_has_no_reward(endpoint: Any) -> None:
    settings = JudgeReward(endpoint=EndpointSettings(url=endpoint.url, model="m", attempts=1), criteria="x")
    endpoint.faults = [400]
    refused, cat = (Rewards({"judge": settings}, Sources()).score([sample(text)])[0] for text in ("mute", "cat"))
    assert (refused.total, refused.reason) == (None, "judge: refused with status 400")
    assert cat.total == 0.8
    with pytest.raises(SettingsError, match="highest is 0"):
        Rewards({"judge": JudgeReward(endpoint=settings.endpoint, criteria="x", highest=0)}, Sources())


@pytest.mark.parametrize(
    ("text", "score"),
    [("Score: 7", 0.7), ("Score: 3 ... final **Score**: 10", 1.0), ("Score: 11", None), ("7/10", None), ("", None)],
)
def test_the_last_score_counts(text: str, score: float | None) -> None:
    assert read_score(text, 10) == score
