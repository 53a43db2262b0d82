"""An endpoint as a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tutelage.client import Client, EndpointSettings
from tutelage.synth.teacher import EndpointTeacher, Result


class EndpointModel:
    """An endpoint; see `Client`. Answers are cached in a file.

    Raises:
        ValueError: as `Client`; or the endpoint has several models, and none is named.
    """

    def __init__(self, settings: EndpointTeacher, cache: Path) -> None:
        model = settings.model
        if not model:
            with Client(settings) as client:
                names = client.models()
            if len(names) != 1:
                raise ValueError(f"{settings.url} has {len(names)} models; name one: teacher.model=NAME")
            model = names[0]
        fields = {name: getattr(settings, name) for name in EndpointSettings.__struct_fields__}
        self.settings = EndpointSettings(**{**fields, "model": model})
        self.model, self.parallel = model, settings.parallel
        self.client = Client(self.settings, cache)
        self._threads = ThreadPoolExecutor(self.parallel)

    def submit(self, body: Mapping[str, Any], sample: int, purpose: str, about: Any) -> Future[Result]:
        """As `Teacher.submit`; the future raises EndpointError where the endpoint cannot be used any more."""
        return self._threads.submit(self.client.ask, body, sample)

    def stop(self) -> None:
        """As `Teacher.stop`."""
        self.client.stop()

    def close(self) -> None:
        """As `Teacher.close`; requests in flight are cancelled."""
        self.client.__exit__()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def usage(self) -> dict[str, int]:
        """As `Teacher.usage`."""
        return self.client.usage.to_dict()
