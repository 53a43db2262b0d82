"""How figures are shown to people: the labels of rates, and numbers."""

from __future__ import annotations

from tutelage.evaluate.statistics import Rate
from tutelage.evaluate.suites import SUITES

# The labels of rates by dotted name, in the order in which they are shown.
RATES = {f"{suite.name}.{name}": label for suite in SUITES.values() for name, label in suite.labels.items()}
LOWER_IS_BETTER = frozenset(f"{suite.name}.{name}" for suite in SUITES.values() for name in suite.lower_is_better)

PROMPT_SETS = {
    "seen": "Prompts it was trained on",
    "in_domain": "Unseen prompts of the same domain",
    "near": "Prompts near that domain",
    "out_of_domain": "Prompts far from that domain",
}


def rate_label(name: str) -> str:
    """The label of a rate; one without a label is shown by its dotted name."""
    suite, _, rest = name.partition(".")
    return RATES.get(name) or f"{suite}: {rest.replace('.', ', ').replace('_', ' ')}"


def prompt_set_label(name: str) -> str:
    """The label of a set of prompts."""
    return PROMPT_SETS.get(name) or name.replace("_", " ").capitalize()


# Means over held-out preferences, in the order in which they are shown.
PREFERENCE_FIGURES = {
    "margin": "margin",
    "chosen_shift": "chosen moved by nats per token",
    "rejected_shift": "rejected moved by nats per token",
    "chosen_reward": "score of chosen",
    "rejected_reward": "score of rejected",
    "calibration_error": "calibration error",
    "ceiling": "noise ceiling of the accuracy",
    "share_of_ceiling": "share of it reached",
}
_FIGURES = {
    "loss": "training loss",
    "trained_tokens": "trained tokens",
    "tokens_per_second": "tokens per second",
    "seconds": "time",
    "peak_rss_bytes": "peak memory",
}


def figure_label(name: str) -> str:
    """The label of a figure that is not a rate: "held_out.chat", "forgetting.world.increase"."""
    if name.startswith("held_out."):
        return f"held-out loss, {name.removeprefix('held_out.')}"
    if name.startswith("forgetting."):
        return f"loss on base text, {name.removeprefix('forgetting.').removesuffix('.increase')}: change"
    return _FIGURES.get(name, name)


def in_display_order(names: set[str]) -> list[str]:
    """Names of rates in the order in which they are shown; those without a label come last."""
    return [name for name in RATES if name in names] + sorted(names - RATES.keys())


def format_pct(value: float) -> str:
    """A share in percent."""
    return f"{value:.1%}"


def format_change(value: float) -> str:
    """A change in percent, with its sign."""
    return f"{value:+.1%}".replace("-", "−")


def format_ci(rate: Rate) -> str:
    """A 95% interval of shares: "93.3% to 96.5%"."""
    return f"{rate.low:.1%} to {rate.high:.1%}"


def format_points(value: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def format_p(value: float) -> str:
    """A p-value."""
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"


def format_count(value: float) -> str:
    """A count as short as three digits allow: 837, 12.3k, 1.05M, 4.32B."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 9.995 * unit or (value >= 0.9995 * unit and letter != "k"):
            scaled = value / unit
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{letter}"
    return f"{value:,.0f}"


def format_bytes(size: float) -> str:
    """Bytes as MiB or GiB."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.0f} MiB"
