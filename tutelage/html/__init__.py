"""The page kit of all reports: self-contained HTML pages of tables, plots and coloured tokens."""

from tutelage.html.document import page, section
from tutelage.html.interval_plot import Interval, interval_plot
from tutelage.html.line_plot import Series, line_plot
from tutelage.html.markup import (
    Html,
    Tone,
    badge,
    bullets,
    code,
    columns,
    details,
    facts,
    heading,
    join,
    link,
    paragraph,
    table,
    tag,
)
from tutelage.html.scales import tick_label, ticks
from tutelage.html.standalone import svg
from tutelage.html.token_text import Token, one_token, tokens

__all__ = [
    "Html",
    "Interval",
    "Series",
    "Token",
    "Tone",
    "badge",
    "bullets",
    "code",
    "columns",
    "details",
    "facts",
    "heading",
    "interval_plot",
    "join",
    "line_plot",
    "link",
    "one_token",
    "page",
    "paragraph",
    "section",
    "svg",
    "table",
    "tag",
    "tick_label",
    "ticks",
    "tokens",
]
