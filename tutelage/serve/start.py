"""From the arguments of `tutelage serve` to models that are ready."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from tutelage.find_model import find_model
from tutelage.model.hub import load_model

if TYPE_CHECKING:
    from tutelage.serve.served_model import ServedModel
    from tutelage.serve.server import ServeSettings


def server_modules() -> ModuleType:
    """The server; ValueError, with what to install, where the extra is missing."""
    try:
        from tutelage.serve import server
    except ImportError as error:
        if error.name is None or error.name.startswith("tutelage"):
            raise
        raise ValueError(f"{error.name} is not installed; run: pip install 'tutelage[serve]'") from None
    return server


def load_models(names: Sequence[str], settings: ServeSettings) -> dict[str, ServedModel]:
    """Load models, `PATH` or `NAME=PATH`, and start their engines.

    Raises:
        ValueError: a model cannot be loaded, or two have the same name.
    """
    server = server_modules()
    folders = {}
    for text in names:
        given, found, path = text.partition("=")
        folder = find_model(path if found else text)
        name = given if found else folder.name
        if name in folders:
            raise ValueError(f"two models are named '{name}'; give one another name: NAME=PATH")
        folders[name] = folder
    return {name: server.serve_model(name, load_model(folder), settings) for name, folder in folders.items()}
