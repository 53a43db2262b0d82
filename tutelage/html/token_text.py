"""Running text of coloured tokens: who speaks, what is graded, how sure the model was.

Nothing hangs on colour alone: each turn begins with the name of its role, graded tokens are underlined, special tokens
are outlined, and what a token is stands in words when it is pointed at or focused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from tutelage.html.markup import Html, escape, join, tag
from tutelage.records import ROLES

_VISIBLE = {"\n": "⏎", "\r": "␍", "\t": "⇥"}
_PIECES = re.compile(r"([ \n\r\t])")
_LONG = 24  # a token of more characters may be broken over lines


@dataclass(frozen=True, slots=True)
class Token:
    """A token to show. `probability`, from 0 to 1, is its shade; `title` is said of it when it is pointed at."""

    text: str
    role: str = "document"
    graded: bool = False
    special: bool = False
    probability: float | None = None
    title: str = ""


def tokens(shown: Sequence[Token], legend: bool = True) -> Html:
    """Tokens as running text, a paragraph a turn, with spaces and line ends made visible and line breaks kept.

    One can walk through them with the arrow keys.

    Raises:
        ValueError: a role is not in records.ROLES, or a probability lies outside 0 to 1.
    """
    for number, token in enumerate(shown):
        if token.role not in ROLES:
            raise ValueError(f"token {number} has the role {token.role!r}; use one of {', '.join(ROLES)}")
        if token.probability is not None and not 0 <= token.probability <= 1:
            raise ValueError(f"token {number} has the probability {token.probability}; it must lie between 0 and 1")
    turns = [list(turn) for _, turn in groupby(shown, lambda token: token.role)]
    # Text that belongs to no conversation needs no name, unless it stands beside some that does.
    named = len(turns) > 1 or any(turn[0].role != "document" for turn in turns)
    text = tag(
        "div", *(_turn(turn, named, number == 0) for number, turn in enumerate(turns)), attributes={"class": "tokens"}
    )
    return join([_legend(shown), text]) if legend else text


def _turn(turn: Sequence[Token], named: bool, first: bool) -> Html:
    role = turn[0].role
    speaker = tag("span", role, attributes={"class": "speaker"}) if named else None
    words = join(_token(token, reachable=first and number == 0) for number, token in enumerate(turn))
    return tag("div", speaker, tag("p", words, attributes={"class": "words"}), attributes={"class": f"turn {role}"})


def one_token(shown: Token) -> Html:
    """A token in a cell of a table or in a line of text: as in running text, but without its title."""
    return tag("span", _token(replace(shown, title=""), reachable=False), attributes={"class": f"words {shown.role}"})


def _token(token: Token, reachable: bool) -> Html:
    long = len(token.text) > _LONG
    kinds = [
        "graded" * token.graded,
        "special" * token.special,
        "sure" * (token.probability is not None),
        "long" * long,
    ]
    attributes = {"class": " ".join(filter(None, kinds))} if any(kinds) else {}
    if reachable:
        attributes["tabindex"] = "0"
    if token.probability is not None:
        attributes["style"] = f"--sure:{token.probability:.2f}"
    if token.title:
        attributes["title"] = token.title
    # A line may break before a token that opens with a space, and not between the space and its word.
    breaks = tag("wbr") if token.text.startswith(" ") else None
    return join([breaks, tag("span", visible(token.text), attributes=attributes)])


def visible(text: str) -> Html:
    """Text with signs for what cannot be seen. A space stays a space, for those who copy it, with a dot behind it."""
    return join(_piece(piece) for piece in _PIECES.split(text) if piece)


def _piece(piece: str) -> Html:
    if piece == " ":
        return tag("i", " ")
    if piece in _VISIBLE:
        # The sign is drawn by the style sheet, so that copied text has the line end and no sign.
        return join([tag("i", attributes={"data-sign": _VISIBLE[piece]}), "\n" if piece == "\n" else ""])
    return escape("".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in piece))


def _legend(shown: Sequence[Token]) -> Html | None:
    """What the looks of these tokens mean; roles stand beside their turns."""
    entries = []
    if any(token.graded for token in shown):
        entries.append(tag("span", tag("span", "graded", attributes={"class": "graded"}), " is trained on"))
    if any(token.special for token in shown):
        entries.append(
            tag("span", tag("span", "special", attributes={"class": "special"}), " token, which no text can produce")
        )
    if any(token.probability is not None for token in shown):
        shades = (
            tag("span", f"{sure:.0%}", attributes={"class": "sure", "style": f"--sure:{sure}"}) for sure in (0, 0.5, 1)
        )
        entries.append(tag("span", *shades, " how sure the model was"))
    return tag("div", *entries, attributes={"class": "legend"}) if entries else None
