"""The options of commands that ask a judge at an OpenAI-compatible endpoint, and what they set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tutelage.client import EndpointSettings

ENDPOINT = (
    click.option("--url", required=True, help="Base URL of the endpoint, without /chat/completions."),
    click.option("--model", required=True, metavar="NAME", help="Model name of the judge."),
    click.option("--key-variable", metavar="NAME", help="The environment variable that holds the API key."),
    click.option("--parallel", type=click.IntRange(min=1), default=8, show_default=True, help="Concurrent requests."),
    click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=120.0,
        show_default=True,
        help="Timeout per request, in seconds.",
    ),
    click.option("--attempts", type=click.IntRange(min=1), default=8, show_default=True, help="Attempts per request."),
    click.option("--max-requests", type=click.IntRange(min=0), metavar="N", help="Stop after this many requests."),
    click.option("--max-tokens-total", type=click.IntRange(min=0), metavar="N", help="Stop after this many tokens."),
    click.option(
        "--request", multiple=True, metavar="KEY=VALUE", help="Further field of every request: max_tokens=900."
    ),
)
_SETTINGS = ("url", "model", "key_variable", "parallel", "timeout", "attempts", "max_requests", "max_tokens_total")


def endpoint_settings(given: Mapping[str, Any]) -> EndpointSettings:
    """The settings of the endpoint from the values of the options."""
    from tutelage.client import EndpointSettings

    return EndpointSettings(**{name: given[name] for name in _SETTINGS})


def request_fields(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of every request: those of a command, and those of --request over them."""
    from tutelage.config import apply_overrides

    fields = apply_overrides({}, given["request"])
    # Newer OpenAI models accept max_completion_tokens and reject max_tokens.
    replaced = "max_tokens" if "max_completion_tokens" in fields else None
    return {**{name: value for name, value in defaults.items() if name != replaced}, **fields}
