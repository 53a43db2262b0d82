"""Ray: a cluster at RAY_ADDRESS, or a local one for as long as it is needed."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from contextlib import ExitStack
from typing import Any

from tutelage.process import cores

_CONNECT_SECONDS = 20.0
_OBJECT_STORE_BYTES = 128 << 20  # it carries only file names, texts and errors


def connect(workers: int, started: ExitStack, extras: str) -> Any:
    """Ray, connected to the cluster at RAY_ADDRESS, else to a local one that `started` shuts down.

    workers: cores of a local cluster; 0: those of this machine.
    extras:  of the package that bring Ray, for the message where it is missing.

    Raises:
        ValueError: Ray is not installed, did not start, or no cluster answers at RAY_ADDRESS.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"Ray cannot be imported ({error}); run: pip install 'tutelage[{extras}]'") from error
    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS") or None
    local: dict[str, Any] = {"num_cpus": workers or cores(), "object_store_memory": _OBJECT_STORE_BYTES}
    main = threading.current_thread() is threading.main_thread()
    terminate = signal.getsignal(signal.SIGTERM)  # Ray replaces the handler
    path = os.environ.get("PYTHONPATH")
    try:
        if address is not None:
            _check_answers(address)
        else:
            os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # so that its workers import this same package
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(address or "local", **quiet, **({} if address else local | {"include_dashboard": False}))
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        if address is None:
            raise ValueError(f"Ray did not start ({error})") from error
        raise ValueError(f"no Ray cluster answers at {address} ({error}); correct RAY_ADDRESS or unset it") from error
    finally:
        if path is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = path
        if main:
            signal.signal(signal.SIGTERM, terminate)
    started.callback(ray.shutdown)
    return ray


def _check_answers(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT. Ray itself takes two minutes to notice."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
