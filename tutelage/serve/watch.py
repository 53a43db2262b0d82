"""The live view of training: a small server that reads the files of runs and writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from tutelage.doctor.diagnose import diagnose_run
from tutelage.doctor.show import diagnoses_section
from tutelage.report.live import open_run, overview_page, run_page, version
from tutelage.serve.http import Guard


def watch_app(folders: Sequence[Path], hosts: frozenset[str] | None, key: str = "") -> Starlette:
    """The application over the folders of runs; `hosts` and `key` as for `Guard`.

    / is the report of a single run, or an overview of several; /run/NUMBER is the report of one; /version changes with
    every file.
    """
    script = resources.files(__package__).joinpath("page", "watch.js").read_text(encoding="utf-8")

    async def start(request: Request) -> Response:
        return await answer(
            partial(all_runs, folders, script) if len(folders) > 1 else partial(one, folders[0], script)
        )

    async def single(request: Request) -> Response:
        number = request.path_params["number"]
        if number >= len(folders):
            return PlainTextResponse(f"there are {len(folders)} runs", 404)
        return await answer(partial(one, folders[number], script, overview=len(folders) > 1))

    async def changed(request: Request) -> Response:
        digest = await asyncio.to_thread(version, folders)
        return Response(msgspec.json.encode({"version": digest}), media_type="application/json")

    routes = [Route("/", start), Route("/run/{number:int}", single), Route("/version", changed)]
    return Starlette(routes=routes, middleware=[Middleware(partial(Guard, hosts=hosts, key=key, basic=True))])


async def answer(make: partial[str]) -> Response:
    """A page, made in a thread; one sentence where a file of the run is broken."""
    try:
        return HTMLResponse(await asyncio.to_thread(make))
    except ValueError as error:
        return PlainTextResponse(str(error), 500)


def one(folder: Path, script: str, overview: bool = False) -> str:
    """The page of a run; `overview` as for `run_page`."""
    run = open_run(folder)
    return run_page(run, diagnoses_section(diagnose_run(run)), script, overview)


def all_runs(folders: Sequence[Path], script: str) -> str:
    """The page of several runs."""
    return overview_page([open_run(folder) for folder in folders], script)
