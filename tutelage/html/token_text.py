"""Running text of coloured tokens: their role, whether they are trained, and their probability.

Colour is never the only cue: each turn begins with the name of its role, trained tokens are underlined, special tokens
are outlined, and a tooltip describes the token under the pointer or with the focus.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from tutelage.html.markup import Html, escape, join, tag
from tutelage.records import ROLES

_VISIBLE = {"\n": "⏎", "\r": "␍", "\t": "⇥"}
_WHITE_SPACE = re.compile(r"([ \n\r\t])")
SHIFTS = {
    "unshifted": " the base model writes it too",
    "marginal": " one of its next likeliest two",
    "shifted": " beyond that",
}
_LONG = 24  # a token of more characters may be broken over lines


@dataclass(frozen=True, slots=True)
class Token:
    """A token to show. `probability`, from 0 to 1, is its shade; `shift` is its class under a base model, of SHIFTS;
    `title` is its tooltip."""

    text: str
    role: str = "document"
    trained: bool = False
    special: bool = False
    probability: float | None = None
    title: str = ""
    shift: str = ""


def tokens(shown: Sequence[Token], legend: bool = True) -> Html:
    """Tokens as running text, one paragraph per turn, with visible spaces and line ends.

    The arrow keys move the focus from token to token.

    Raises:
        ValueError: a role is not in records.ROLES, or a probability lies outside 0 to 1.
    """
    for number, token in enumerate(shown):
        if token.role not in ROLES:
            raise ValueError(f"token {number} has the role {token.role!r}; use one of {', '.join(ROLES)}")
        if token.probability is not None and not 0 <= token.probability <= 1:
            raise ValueError(f"token {number} has the probability {token.probability}; it must be between 0 and 1")
    turns = [list(turn) for _, turn in groupby(shown, lambda token: token.role)]
    # Text outside a conversation needs no role name, unless it is beside a conversation.
    named = len(turns) > 1 or any(turn[0].role != "document" for turn in turns)
    text = tag(
        "div", *(_turn(turn, named, number == 0) for number, turn in enumerate(turns)), attributes={"class": "tokens"}
    )
    return join([_legend(shown), text]) if legend else text


def _turn(turn: Sequence[Token], named: bool, first: bool) -> Html:
    role = turn[0].role
    speaker = tag("span", role, attributes={"class": "speaker"}) if named else None
    text = join(_token(token, reachable=first and number == 0) for number, token in enumerate(turn))
    return tag("div", speaker, tag("p", text, attributes={"class": "words"}), attributes={"class": f"turn {role}"})


def one_token(shown: Token) -> Html:
    """A token in a table cell or a line of text: as in running text, but without its tooltip."""
    return tag("span", _token(replace(shown, title=""), reachable=False), attributes={"class": f"words {shown.role}"})


def _token(token: Token, reachable: bool) -> Html:
    long = len(token.text) > _LONG
    kinds = [
        "trained" * token.trained,
        "special" * token.special,
        "sure" * (token.probability is not None),
        "long" * long,
        token.shift,
    ]
    attributes = {"class": " ".join(filter(None, kinds))} if any(kinds) else {}
    if reachable:
        attributes["tabindex"] = "0"
    if token.probability is not None:
        attributes["style"] = f"--sure:{token.probability:.2f}"
    if token.title:
        attributes["title"] = token.title
    # A line may break before a token that begins with a space, but not between the space and its word.
    breaks = tag("wbr") if token.text.startswith(" ") else None
    return join([breaks, tag("span", visible(token.text), attributes=attributes)])


def visible(text: str) -> Html:
    """Text with visible white space. A space is still a space when it is copied, with a dot drawn behind it."""
    return join(_piece(piece) for piece in _WHITE_SPACE.split(text) if piece)


def _piece(piece: str) -> Html:
    if piece == " ":
        return tag("i", " ")
    if piece in _VISIBLE:
        # The style sheet draws the sign, so that copied text has the line end and no sign.
        return join([tag("i", attributes={"data-sign": _VISIBLE[piece]}), "\n" if piece == "\n" else ""])
    return escape("".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in piece))


def _legend(shown: Sequence[Token]) -> Html | None:
    """The meaning of the styles of these tokens; roles are named at their turns."""
    entries = []
    if any(token.trained for token in shown):
        entries.append(tag("span", tag("span", "trained", attributes={"class": "trained"}), " tokens carry loss"))
    if any(token.special for token in shown):
        entries.append(
            tag("span", tag("span", "special", attributes={"class": "special"}), " token, which no text can produce")
        )
    if any(token.probability is not None for token in shown):
        shades = (
            tag("span", f"{share:.0%}", attributes={"class": "sure", "style": f"--sure:{share}"})
            for share in (0, 0.5, 1)
        )
        entries.append(tag("span", *shades, " probability"))
    if any(token.shift for token in shown):
        entries += [tag("span", tag("span", name, attributes={"class": name}), what) for name, what in SHIFTS.items()]
    return tag("div", *entries, attributes={"class": "legend"}) if entries else None
