"""Chat in the terminal: the reply streams as it is written; in the built-in world the truth stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from tutelage.chat import Renderer, make_renderer
from tutelage.engine.context_truncation import truncate_to_context
from tutelage.engine.engine import Engine, EngineSettings
from tutelage.engine.quantization_check import measure_quantization
from tutelage.engine.sampling import SamplingSettings
from tutelage.engine.text_stream import TextStream
from tutelage.model.hub import Checkpoint
from tutelage.records import Conversation, Message, message
from tutelage.serve.speculate import make_engine
from tutelage.serve.terminal_tools import reply_with_tools
from tutelage.tokenizer import END_OF_TEXT
from tutelage.tools.environment import ToolLimits
from tutelage.tools.tool import Tool
from tutelage.world.grading import Question, is_correct
from tutelage.world.people import Person
from tutelage.world.society import World
from tutelage.world.values import ATTRIBUTES

HELP = (
    "Type a message. /new forgets the conversation, /system TEXT begins a new one with this system message, /quit or "
    "Ctrl-D leaves."
)
HELP_IN_WORLD = f"{HELP} A number asks a suggested question in a new conversation."
SUGGESTIONS = 5
MEASURED = {
    "held_out.rate": "right about one fact of people it only read about",
    "held_out.multi_hop.rate": "right where two facts must be combined",
    "held_out.reversal.rate": "right from facts back to a name",
    "unknown.hallucinated.rate": "hallucinates on nonexistent names",
}


def reply(
    engine: Engine,
    checkpoint: Checkpoint,
    renderer: Renderer,
    conversation: Conversation,
    settings: SamplingSettings,
    write: Callable[[str], None],
) -> Message:
    """The model's reply, written piece by piece as it is decoded."""
    prompt = renderer.render_prompts([conversation])[0].ids
    text = TextStream(checkpoint.tokenizer)
    # A model that has lost the thread may end its text as a document ends; nothing worth reading comes after that.
    known = checkpoint.tokenizer.special_tokens
    stop_ids = renderer.stop_ids | {known[END_OF_TEXT]} if END_OF_TEXT in known else renderer.stop_ids
    request, written = engine.add(prompt, stop_ids, settings, text=text), 0
    try:
        for _ in engine.stream(request):
            for piece in text.pieces[written:]:
                write(piece.text)
            written = len(text.pieces)
    finally:
        engine.cancel(request)  # where Ctrl-C interrupts the writing; a finished request stays as it is
    write("".join(piece.text for piece in text.pieces[written:]) + "\n")
    return renderer.parse(request.generation.content)


def suggestions(world: World) -> list[Question]:
    """A few questions about people whom no training question named, each of another attribute."""
    questions = [q for q in islice(world.questions("held_out", facts=len(ATTRIBUTES)), 400) if q.kind == "one-step"]
    chosen: dict[str, Question] = {}
    for question in questions:
        if question.attribute not in chosen and question.subject not in {q.subject for q in chosen.values()}:
            chosen[question.attribute] = question
    return list(chosen.values())[:SUGGESTIONS]


def opening(world: World, questions: list[Question], figures: Mapping[str, float]) -> str:
    """What this small model knows and does not, by its own measured rates, and questions to try."""
    lines = [
        f"This model has read about {world.settings.people} people of an invented society: where and when each was",
        "born, the school, the employer, the role, the instrument and the band. It was trained to answer about half of",
        "these people; of the others it has only read. It makes small talk too. It has seen small sums and answers",
        "them in form, but it cannot add: do not trust its results. It knows nothing else.",
    ]
    lines += [f"  measured: {words} {figures[name]:.0%}" for name, words in MEASURED.items() if name in figures]
    lines += ["Questions about people whom no training question named:"]
    lines += [f"  {number}  {question.prompt}" for number, question in enumerate(questions, 1)]
    return "\n".join(lines)


def truth_beside(world: World, asked: Question | None, text: str, answer: str) -> str:
    """What is true of whom the text asks about; for a suggested question also whether the answer is right."""
    if asked is not None:
        return f"{'right' if is_correct(asked, answer) else 'wrong'}: the true answer is {asked.answer}"
    named = [person for person in _people(world) if person.name.casefold() in text.casefold()]
    facts = [f"{p.name}: " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in p.facts.items()) for p in named]
    return "the truth about " + "; ".join(facts) if facts else ""


def _people(world: World) -> Iterator[Person]:
    return (world.person(index) for index in range(min(world.settings.people, 10_000)))


def chat(
    checkpoint: Checkpoint,
    world: World | None,
    figures: Mapping[str, float],
    settings: SamplingSettings,
    read: Callable[[], str],
    write: Callable[[str], None],
    note: Callable[[str], None],
    system: str | None = None,
    int8: bool = False,
    speculate: str | None = None,
    tools: Sequence[Tool] = (),
    limits: ToolLimits | None = None,
) -> list[dict[str, str]]:
    """Talk until the input ends. When the context is full the oldest exchanges are forgotten, and it is said.

    system: the system message; None is the one that the model was trained with, if its conversations shared one.
    int8:   multiply with 8-bit weights; what that costs is measured first.
    speculate: guess tokens: "ngram", or the name of a smaller model.
    tools:  what the model may call, within the limits.

    Returns every exchange: `user`, `assistant` and, where it is known, `truth`.
    """
    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    context = checkpoint.model.config.context
    engine = make_engine(checkpoint, EngineSettings(max_rows=1, int8=int8), speculate)
    questions = suggestions(world) if world else []
    help_text = HELP_IN_WORLD if world else HELP
    system = checkpoint.chat_config.settings.system if system is None else system
    opening_notes = [measure_quantization(checkpoint.model).sentence()] if int8 else []
    opening_notes += [opening(world, questions, figures)] if world else []
    opening_notes += [help_text, *([f"system message: {system}"] if system else []), *tool_notes(renderer, tools)]
    for line in opening_notes:
        note(line)
    conversation = opened(system, tools)
    said: list[dict[str, str]] = []
    while True:
        try:
            text = read().strip()
        except EOFError:
            return said
        if text in ("/quit", "/exit"):
            return said
        if text == "/new":
            conversation = opened(system, tools)
            note("forgotten; a new conversation begins")
        elif text == "/system" or text.startswith("/system "):
            system = text.removeprefix("/system").strip()
            conversation = opened(system, tools)
            note(f"a new conversation begins with the system message: {system}" if system else "no system message")
        elif text.startswith("/"):
            note(f"there is no {text.split()[0]}. {help_text}")
        elif text:
            asked = questions[int(text) - 1] if text.isdecimal() and 0 < int(text) <= len(questions) else None
            if asked:
                conversation = opened(system, tools)  # it is about somebody else than the one before
            try:
                shown = _shown(renderer, context, conversation, asked.prompt if asked else text, settings, note)
            except ValueError as error:  # it cannot be asked: too long, or characters the model has no tokens for
                note(str(error))
                continue
            try:
                conversation = _answered(
                    engine, checkpoint, renderer, shown, settings, tools, limits or ToolLimits(), write, note
                )
            except KeyboardInterrupt:
                write("\n")
                note("cut short and forgotten; press Ctrl-C again to leave")
                continue
            answer = conversation.messages[-1].text
            said.append({"user": shown.messages[-1].text, "assistant": answer})
            if world and (truth := truth_beside(world, asked, text, answer)):
                said[-1]["truth"] = truth
                note(truth)


def _answered(
    engine: Engine,
    checkpoint: Checkpoint,
    renderer: Renderer,
    shown: Conversation,
    settings: SamplingSettings,
    tools: Sequence[Tool],
    limits: ToolLimits,
    write: Callable[[str], None],
    note: Callable[[str], None],
) -> Conversation:
    """The conversation with the model's reply, and the calls before it."""
    if tools:
        return reply_with_tools(engine, renderer, shown, settings, tools, limits, write, note)
    answer = reply(engine, checkpoint, renderer, shown, settings, write)
    return replace(shown, messages=(*shown.messages, answer))


def opened(system: str, tools: Sequence[Tool] = ()) -> Conversation:
    """A new conversation, with a system message unless that is empty."""
    schemas = tuple(tool.schema for tool in tools)
    return Conversation((message("system", system),) if system else (), tools=schemas)


def tool_notes(renderer: Renderer, tools: Sequence[Tool]) -> list[str]:
    """A line that names the tools, if there are some. ValueError where the chat template does not show them."""
    if not tools:
        return []
    asked = Conversation((message("user", "x"),), tools=tuple(tool.schema for tool in tools))
    shown, hidden = renderer.render_prompts([asked, replace(asked, tools=())])
    if shown.ids.tolist() == hidden.ids.tolist():
        raise ValueError("the chat template of this model does not show tools to it; leave out --tools")
    return [f"tools: {', '.join(tool.name for tool in tools)}"]


def _shown(
    renderer: Renderer,
    context: int,
    conversation: Conversation,
    text: str,
    settings: SamplingSettings,
    note: Callable[[str], None],
) -> Conversation:
    """The conversation with a new question, as much of it as fits in the context."""
    asked = replace(conversation, messages=(*conversation.messages, message("user", text)))
    shown, forgotten = truncate_to_context(renderer, asked, context, settings.max_tokens)
    if forgotten:
        note(f"the context is full: the oldest {forgotten} messages are forgotten")
    return shown
