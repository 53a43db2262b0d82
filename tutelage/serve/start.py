"""From the arguments of `tutelage serve` to models that are ready."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tutelage.engine.quantization_check import measure_quantization
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


def load_models(
    names: Sequence[str], settings: ServeSettings, adapters: Sequence[str] = (), note: Callable[[str], None] = print
) -> dict[str, ServedModel]:
    """Load models, `PATH` or `NAME=PATH`, and start their engines. With 8-bit weights their loss is measured first, and
    `note` gets it as a sentence.

    adapters: LoRA adapters of these models. Each is served as a model of its own, in the engine of its base.

    Raises:
        ValueError: a model or adapter cannot be loaded, the base of an adapter is not among the models, or two have the
            same name.
    """
    server = server_modules()
    folders = [_named(text) for text in names]
    adapter_folders = [_named(text) for text in adapters]
    twice = [name for name, count in Counter(name for name, _ in [*folders, *adapter_folders]).items() if count > 1]
    if twice:
        raise ValueError(f"two models are named '{twice[0]}'; give one another name: NAME=PATH")
    served = {}
    for name, folder in folders:
        checkpoint = load_model(folder)
        served[name] = server.serve_model(name, checkpoint, settings)
        if settings.engine.int8:
            note(f"{name}: {measure_quantization(checkpoint.model).sentence()}")
    bases = {folder: served[name] for name, folder in folders}
    for name, folder in adapter_folders:
        served[name] = server.serve_adapter(name, folder, bases)
    return served


def _named(text: str) -> tuple[str, Path]:
    """The name and the folder of `PATH` or `NAME=PATH`."""
    name, found, path = text.partition("=")
    folder = find_model(path if found else text).resolve()
    return (name if found else folder.name), folder
