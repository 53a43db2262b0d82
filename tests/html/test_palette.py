"""Everything can be read, in light and in dark: contrast after WCAG 2, measured on the page's own style sheet."""

from __future__ import annotations

import re

import pytest

from tutelage.html.document import resource
from tutelage.html.palette import PALETTE, both_modes, resolved
from tutelage.records import ROLES

MODES = dict(zip(("light", "dark"), re.findall(r"\{(color-scheme:[^}]*)\}", both_modes())[:2], strict=True))


def colours(mode: str) -> dict[str, tuple[float, ...]]:
    """Name -> red, green and blue, from 0 to 1, read from the style sheet."""
    entries = re.findall(r"--([\w-]+):#(\w{2})(\w{2})(\w{2});", MODES[mode])
    return {name: tuple(int(part, 16) / 255 for part in parts) for name, *parts in entries}


def mixed(over: tuple[float, ...], under: tuple[float, ...], share: float) -> tuple[float, ...]:
    return tuple(share * a + (1 - share) * b for a, b in zip(over, under, strict=True))


def contrast(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    def luminance(colour: tuple[float, ...]) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_measure_is_right() -> None:
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)


@pytest.mark.parametrize("mode", MODES)
def test_text_can_be_read(mode: str) -> None:
    of = colours(mode)
    assert set(of) == set(PALETTE)
    for name in ("ink", "muted", "accent", "good", "bad", "warn", *ROLES):
        for ground in ("paper", "tint"):
            assert contrast(of[name], of[ground]) >= 4.5, (name, ground)


@pytest.mark.parametrize("mode", MODES)
def test_marks_can_be_seen(mode: str) -> None:
    of = colours(mode)
    for name in of:
        if name.startswith("series-"):
            assert contrast(of[name], of["paper"]) >= 3, name


@pytest.mark.parametrize("mode", MODES)
def test_tokens_can_be_read_on_their_shades(mode: str) -> None:
    of = colours(mode)
    style = resource("style.css")
    trained = max(int(share) for share in re.findall(r"var\(--role\) (\d+)%", style)) / 100
    surest = int(re.findall(r"var\(--sure\) \* (\d+)%", style)[0]) / 100
    assert 0.1 < trained < surest < 1
    for role in ROLES:
        assert contrast(of[role], mixed(of[role], of["paper"], trained)) >= 4.5, role
        assert contrast(of["ink"], mixed(of[role], of["paper"], surest)) >= 4.5, role


def test_every_colour_that_a_style_names_is_one_of_the_palette() -> None:
    named = set(re.findall(r"var\(--([\w-]+)\)", resource("style.css") + resource("plot.css")))
    assert named - {"role", "sure", "sans"} <= set(PALETTE)
    assert "var(" not in resolved(resource("plot.css"), "dark")
