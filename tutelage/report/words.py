"""How figures are said to a person: the names of rates, and numbers in words."""

from __future__ import annotations

from tutelage.evaluate.statistics import Rate

# The dotted names of rates, in the order in which they are shown, and how a person says them.
RATES = {
    "format": "keeps the form of a conversation",
    "format.has_content": "says something",
    "format.stops": "stops by itself",
    "format.keeps_its_turn": "never speaks for the user",
    "format.seen": "form, prompts it was trained on",
    "format.in_domain": "form, unseen prompts of the same domain",
    "format.near": "form, prompts near that domain",
    "format.out_of_domain": "form, prompts far from that domain",
    "format.real_words": "its words occur in what it was trained on",
    "format.base_words": "the base model's words occur in what that was trained on",
    "format.verbatim": "answers are copied from training, letter for letter",
    "knowledge.trained": "trained people, one-step questions",
    "knowledge.held_out": "held-out people, one-step questions",
    "knowledge.trained.reverse": "trained people, from facts to name",
    "knowledge.held_out.reverse": "held-out people, from facts to name",
    "knowledge.trained.two_step": "trained people, two-step questions",
    "knowledge.held_out.two_step": "held-out people, two-step questions",
    "knowledge.cloze.trained": "trained people, unfinished sentences",
    "knowledge.cloze.held_out": "held-out people, unfinished sentences",
    "knowledge.unknown.made_up": "makes up facts about names that do not exist",
}
LOWER_IS_BETTER = frozenset({"format.verbatim", "knowledge.unknown.made_up"})

PROMPT_SETS = {
    "seen": "Prompts it was trained on",
    "in_domain": "Unseen prompts of the same domain",
    "near": "Prompts near that domain",
    "out_of_domain": "Prompts far from that domain",
}


def rate_words(name: str) -> str:
    """How a person says the dotted name of a rate; one that is not known by heart is taken apart."""
    suite, _, rest = name.partition(".")
    if suite == "before":
        return f"before: {rate_words(rest)}"
    return RATES.get(name) or f"{suite}: {rest.replace('.', ', ').replace('_', ' ')}"


def set_words(name: str) -> str:
    """How a person says the name of a set of prompts."""
    return PROMPT_SETS.get(name) or name.replace("_", " ").capitalize()


_FIGURES = {
    "loss": "training loss",
    "trained_tokens": "trained tokens",
    "tokens_per_second": "tokens a second",
    "seconds": "time",
    "peak_rss_bytes": "peak memory",
}


def figure_words(name: str) -> str:
    """How a person says the name of a figure that is no rate: "held_out.chat", "forgetting.world.increase"."""
    if name.startswith("held_out."):
        return f"held-out loss, {name.removeprefix('held_out.')}"
    if name.startswith("forgetting."):
        return f"loss on base text, {name.removeprefix('forgetting.').removesuffix('.increase')}: change"
    return _FIGURES.get(name, name)


def in_order(names: set[str]) -> list[str]:
    """Names of rates in the order in which they are shown; those not known by heart come last."""
    return [name for name in RATES if name in names] + sorted(names - RATES.keys())


def share(value: float) -> str:
    """A share in percent."""
    return f"{value:.1%}"


def change(value: float) -> str:
    """A change in percent, with its sign."""
    return f"{value:+.1%}".replace("-", "−")


def reach(rate: Rate) -> str:
    """A 95% interval of shares in words: "93.3% to 96.5%"."""
    return f"{rate.low:.1%} to {rate.high:.1%}"


def points(value: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    said = f"{100 * value:+.1f}"
    return "0.0" if said in ("+0.0", "-0.0") else said.replace("-", "−")


def short(value: float) -> str:
    """A count as short as three digits allow: 837, 12.3k, 1.05M, 4.32B."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 9.995 * unit or (value >= 0.9995 * unit and letter != "k"):
            scaled = value / unit
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{letter}"
    return f"{value:,.0f}"


def memory(size: float) -> str:
    """Bytes as a person says them."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.0f} MiB"
