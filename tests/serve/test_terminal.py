from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tutelage.chat.render.config import ChatConfig, ChatSettings
from tutelage.chat.render.native import NativeRenderer
from tutelage.chat.render.template import TEMPLATE_TOKENS
from tutelage.engine.engine import Engine
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.hub import Checkpoint
from tutelage.model.sizes import ModelSettings, resolve
from tutelage.model.transformer import Transformer, initialise
from tutelage.records import Conversation, message
from tutelage.serve.terminal import HELP, HELP_IN_WORLD, chat, opening, reply, suggestions, truth_beside
from tutelage.tokenizer import TokenizerSettings, train
from tutelage.world.society import World, WorldSettings

WORLD = World(WorldSettings(people=20, versions=1))
TOKENIZER = train(["Where was Nora born?", "Good day"] * 8, TokenizerSettings(vocab=290)).extend(TEMPLATE_TOKENS)
SHAPE = resolve(ModelSettings(depth=1, width=32, context=160), TOKENIZER.vocab_size)
CHECKPOINT = Checkpoint(initialise(Transformer(SHAPE), seed=0), TOKENIZER)  # it can talk, if only nonsense
SHORT = SamplingSettings(max_tokens=8)


def talk(
    *lines: str,
    world: World | None = None,
    read: Callable[[], str] | None = None,
    checkpoint: Checkpoint = CHECKPOINT,
    system: str | None = None,
) -> tuple[list[dict[str, str]], str, list[str]]:
    """What was said, the replies as they were streamed, and the notes beside them."""
    written: list[str] = []
    notes: list[str] = []
    coming = iter(lines)

    def next_line() -> str:
        try:
            return next(coming)
        except StopIteration:
            raise EOFError from None

    said = chat(checkpoint, world, {}, SHORT, read or next_line, written.append, notes.append, system)
    return said, "".join(written), notes


def test_what_is_streamed_is_the_reply() -> None:
    said, written, notes = talk("Good day", "", "Where?")
    assert [exchange["user"] for exchange in said] == ["Good day", "Where?"]
    assert notes == [HELP]
    pieces: list[str] = []
    prompt = Conversation((message("user", "Good day"),))
    answer = reply(Engine(CHECKPOINT.model), CHECKPOINT, NativeRenderer(TOKENIZER), prompt, SHORT, pieces.append)
    assert answer.text == said[0]["assistant"]
    assert len(pieces) > 2  # piece by piece
    assert written.startswith("".join(pieces))


def test_it_remembers_until_it_is_told_to_forget() -> None:
    (first, _, again), _, notes = talk("Good day", "Good day", "/new", "Good day", "/quit", "never read")
    assert again == first  # with nothing before it the same question has the same answer
    assert notes[1:] == ["forgotten; a new conversation begins"]


def test_f38_the_system_message_of_training_opens_the_conversation() -> None:
    settings = ChatConfig(settings=ChatSettings(system="Good day"))
    trained = replace(CHECKPOINT, chat_config=settings)
    (with_system,), _, notes = talk("Where?", checkpoint=trained)
    assert notes[1:] == ["system message: Good day"]
    (without,), _, notes = talk("Where?", checkpoint=trained, system="")
    assert notes[1:] == []
    assert without == talk("Where?")[0][0]
    (other, told), _, notes = talk("Where?", "/system Good day", "Where?")
    assert other == without
    assert told == with_system
    assert notes[1:] == ["a new conversation begins with the system message: Good day"]


def test_a_number_asks_a_suggested_question_and_is_scored() -> None:
    questions = suggestions(WORLD)
    said, _, notes = talk("2", "9", world=WORLD)
    assert said[0]["user"] == questions[1].prompt
    assert notes[-1] == f"wrong: the true answer is {questions[1].answer}"
    assert said[0]["truth"] == notes[-1]
    assert said[1]["user"] == "9"  # no such question: a message like any other
    assert "truth" not in said[1]
    assert truth_beside(WORLD, questions[1], "2", f"It is {questions[1].answer}.").startswith("right: ")


def test_suggestions_are_questions_that_training_never_asked() -> None:
    questions = suggestions(WORLD)
    assert len(questions) == 5
    assert len({question.attribute for question in questions}) == len({q.subject for q in questions}) == 5
    trained = {question.subject for question in WORLD.questions("train", facts=1)}
    assert not trained & {question.subject for question in questions}
    shown = opening(WORLD, questions, {"held_out.rate": 0.914})
    assert all(question.prompt in shown for question in questions)
    assert "measured: right about one fact of people it only read about 91%" in shown
    assert shown.count("measured") == 1  # what was not measured is not claimed
    assert "it cannot add" in shown


def test_whom_a_message_names_their_facts_stand_beside_it() -> None:
    person = WORLD.person(3)
    truth = truth_beside(WORLD, None, f"tell me of {person.name.upper()}, please", "")
    assert truth.startswith(f"the truth about {person.name}: ")
    assert all(f"{key.replace('_', ' ')} {value}" in truth for key, value in person.facts.items())
    assert truth_beside(WORLD, None, "and of nobody", "") == ""


def test_a_message_too_long_is_refused_and_the_talk_goes_on() -> None:
    said, _, notes = talk("Good day", "long " * 200, "Good day")
    assert [exchange["user"] for exchange in said] == ["Good day", "Good day"]
    assert notes[1].startswith("the last message needs ")
    assert notes[1].endswith("but the context holds 160; shorten the message")


def test_a_full_context_says_what_it_forgot() -> None:
    said, _, notes = talk(*["Where was Nora born?"] * 12)
    assert len(said) == 12
    full = [note for note in notes if note.startswith("the context is full: ")]
    assert full
    assert full[0] == "the context is full: the oldest 2 messages are forgotten"


def test_ctrl_c_takes_the_reply_out_of_the_engine() -> None:
    engine, prompt = Engine(CHECKPOINT.model), Conversation((message("user", "Good day"),))

    def write(piece: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reply(engine, CHECKPOINT, NativeRenderer(TOKENIZER), prompt, SHORT, write)
    assert not engine.scheduler.running
    engine.check()


def test_ctrl_c_cuts_a_reply_short_and_not_the_talk() -> None:
    notes: list[str] = []
    lines: Iterator[str] = iter(["Good day", "Where?", "/quit"])
    cut = [True]

    def write(piece: str) -> None:
        if cut and cut.pop():
            raise KeyboardInterrupt

    said = chat(CHECKPOINT, None, {}, SHORT, lambda: next(lines), write, notes.append)
    assert [exchange["user"] for exchange in said] == ["Where?"]
    assert notes[1:] == ["cut short and forgotten; press Ctrl-C again to leave"]


@pytest.mark.parametrize("leave", ["/quit", "/exit", " /quit "])
def test_leaving(leave: str) -> None:
    assert talk(leave, "Good day")[0] == []


def test_a_suggested_question_opens_a_new_conversation() -> None:
    alone, _, _ = talk("2", world=WORLD)
    after, _, notes = talk("Good day", "2", "/nonsense", world=WORLD)
    assert after[1] == alone[0]
    assert notes[-1] == f"there is no /nonsense. {HELP_IN_WORLD}"  # and is no message


def test_with_8_bit_weights_their_loss_is_shown_first() -> None:
    notes: list[str] = []
    lines = iter(["hello", "/quit"])
    said = chat(CHECKPOINT, None, {}, SHORT, lambda: next(lines), lambda text: None, notes.append, int8=True)
    assert len(said) == 1
    assert notes[0].startswith("8-bit weights: perplexity ")
