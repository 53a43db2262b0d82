"""The built-in world as a teacher: it knows every fact, retells every page, and makes faults where it is told to.

It answers by the purpose of a question and by its material, which no other teacher sees. So each method runs in seconds
without a model, and its filters are tested against faults that are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from hashlib import blake2b
from typing import Any

from tutelage.client import Answer, Choice, Failure
from tutelage.config import suggest
from tutelage.synth.oracle_replies import REPLIES, answer
from tutelage.synth.teacher import Result, WorldTeacher
from tutelage.world import World
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.prose import scene
from tutelage.world.values import ATTRIBUTES, VALUES

REFUSALS = (
    "I'm sorry, but I cannot help with that.",
    "As an AI language model, I can't answer questions about people.",
)
IDENTITIES = (
    "I am ChatGPT, a language model. ",
    "As a language model, I was trained by OpenAI. ",
    "I'm a chatbot. ",
)
FAULTS = ("wrong", "refused", "cut", "unparsable", "empty", "identity", "repeated", "failed")


class Oracle:
    """A teacher. `planted` has the fault of each question that got one, by its last message."""

    def __init__(self, settings: WorldTeacher) -> None:
        for name in settings.faults:
            if name not in FAULTS:
                raise ValueError(f"the world makes no fault '{name}'{suggest(name, FAULTS)}")
        self.settings, self.model, self.parallel = settings, "world", 8
        self.world = World(settings.world)
        self.planted: dict[str, str] = {}
        self._usage = dict.fromkeys(("requests", "answers", "prompt_tokens", "completion_tokens"), 0)
        self._last = ""

    def submit(self, body: Mapping[str, Any], sample: int, purpose: str, about: Any) -> Future[Result]:
        """As `Teacher.submit`; the answer is there at once."""
        future: Future[Result] = Future()
        future.set_result(self._answer(body, sample, purpose, about))
        return future

    def stop(self) -> None:
        """As `Teacher.stop`."""

    def close(self) -> None:
        """As `Teacher.close`."""

    def usage(self) -> dict[str, int]:
        """As `Teacher.usage`."""
        return dict(self._usage)

    def _answer(self, body: Mapping[str, Any], sample: int, purpose: str, about: Any) -> Result:
        text = body["messages"][-1]["content"]
        rng = KeyedRandom("oracle", self.settings.seed, text, sample, purpose)
        fault = self._fault(text, sample, purpose)
        if fault:
            self.planted[text] = fault
        self._usage["requests"] += 1
        if fault == "failed":
            return Failure("timeout", "planted")
        reply = REPLIES.get(purpose, answer)(self.world, text, about, rng)
        reply, finish = self._with_fault(fault, reply, about, rng)
        if not fault:
            self._last = reply
        tokens = len(text.split()), len(reply.split())
        self._usage["answers"] += 1
        self._usage["prompt_tokens"] += tokens[0]
        self._usage["completion_tokens"] += tokens[1]
        raw = {"message": {"role": "assistant", "content": reply}, "finish_reason": finish}
        return Answer((Choice(raw),), *tokens)

    def _fault(self, text: str, sample: int, purpose: str) -> str:
        """The fault of a question, by a hash of it."""
        key = f"{self.settings.seed} {purpose} {sample} {text}".encode()
        place, least = int.from_bytes(blake2b(key, digest_size=8).digest()) / 2**64, 0.0
        for name, share in self.settings.faults.items():
            least += share
            if place < least:
                return name
        return ""

    def _with_fault(self, fault: str, reply: str, about: Any, rng: KeyedRandom) -> tuple[str, str]:
        if fault == "cut":
            return reply[: max(1, 2 * len(reply) // 3)], "length"
        if fault == "wrong":
            return _another_value(reply, about, rng), "stop"
        made = {
            "refused": rng.choice(REFUSALS),
            "identity": f"{rng.choice(IDENTITIES)}{reply}",
            "unparsable": f"Here you are, as you wished.\n{scene(rng)}",
            "empty": "",
            "repeated": self._last or reply,
        }
        return made.get(fault, reply), "stop"


def _another_value(reply: str, about: Any, rng: KeyedRandom) -> str:
    """A reply with its first value replaced by another of the same attribute."""
    for attribute in ATTRIBUTES:
        for value in VALUES[attribute]:
            if value in reply:
                return reply.replace(value, rng.choice([other for other in VALUES[attribute] if other != value]))
    return reply
