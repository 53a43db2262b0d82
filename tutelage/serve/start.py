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


def load_models(names: Sequence[str], settings: ServeSettings, adapters: Sequence[str] = ()) -> dict[str, ServedModel]:
    """Load models, `PATH` or `NAME=PATH`, and start their engines; then LoRA adapters, `NAME=PATH`, over those models.

    Raises:
        ValueError: a model or adapter cannot be loaded, the base of an adapter is not among the models, or two have the
            same name.
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
    models = {name: server.serve_model(name, load_model(folder), settings) for name, folder in folders.items()}
    served = dict(models)
    for text in adapters:
        name, given, path = text.partition("=")
        if not given or name in served:
            raise ValueError(f"--adapter {text}: give it as NAME=PATH, with a name that no other model has")
        served[name] = server.serve_adapter(name, find_model(path), list(models.values()))
    return served
