"""The endpoint that writes the samples of a stage, and how it gets the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tutelage.chat import make_renderer
from tutelage.client import Client
from tutelage.config import SettingsError
from tutelage.engine.remote import RemoteEngine
from tutelage.engine.sampling import SamplingSettings
from tutelage.model.hub import Checkpoint, save_model
from tutelage.model.transformer import Transformer
from tutelage.rl.remote import OWN_SERVER, RemoteEngineSettings, RemoteWriter, publish_to_own_server
from tutelage.rl.rewards import load_function
from tutelage.stages.base import StageContext

FOLDER = "sampler_weights"


def make_writer(
    settings: RemoteEngineSettings,
    sampling: SamplingSettings,
    group_size: int,
    at: StageContext,
    checkpoint: Checkpoint,
) -> RemoteWriter:
    """What writes samples at the endpoint.

    Raises:
        SettingsError: its address, key or `reload` is wrong.
    """
    try:
        client = Client(settings)
        reload = None if settings.reload == OWN_SERVER else load_function(settings.reload)
    except ValueError as error:
        raise SettingsError(f"stage {at.name}: engine: {error}") from error

    def publish(model: Transformer, folder: Path) -> None:
        if reload is None:
            publish_to_own_server(client, model, folder)
        else:
            save_model(folder / "model", replace(checkpoint, model=model))
            reload(folder / "model")

    renderer = make_renderer(checkpoint.tokenizer, checkpoint.chat_config)
    engine = RemoteEngine(client, checkpoint.tokenizer, checkpoint.model.config.context)
    return RemoteWriter(engine, settings, sampling, renderer.stop_ids, group_size, at.folder / FOLDER, publish)
