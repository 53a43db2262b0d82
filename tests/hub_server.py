"""A stand-in for the Hugging Face hub: what `huggingface_hub` asks for to download and upload a repository."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

PARTS = {"api/models": "model", "api/datasets": "dataset", "datasets": "dataset"}


class Hub:
    """Repositories by (kind, name, revision), each {path: content}; `status` of those that refuse; `broken` has the
    number of bytes after which the first download of a file breaks off; `ranges` are the ranges asked for; `private`
    says of models that were made whether they are. Uploads need the token "secret"."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str, str], dict[str, bytes]] = {}
        self.status: dict[str, tuple[int, str]] = {}
        self.broken: dict[str, int] = {}
        self.ranges: list[str] = []
        self.private: dict[str, bool] = {}
        self.url = ""

    def add(self, kind: str, name: str, files: dict[str, bytes], revision: str = "main") -> None:
        self.repositories[kind, name, revision] = files

    def find(self, kind: str, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and the files of a revision, which may be the commit itself."""
        for (a_kind, a_name, a_revision), files in self.repositories.items():
            commit = hashlib.sha1(f"{a_kind} {a_name} {a_revision}".encode()).hexdigest()
            if (a_kind, a_name) == (kind, name) and revision in (a_revision, commit):
                return commit, files
        return None


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub that answers at its `url`."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            kind = "model"
            api = path.startswith("api/")
            for prefix, found in PARTS.items():
                if path.startswith(f"{prefix}/"):
                    path, kind = path.removeprefix(f"{prefix}/"), found
            if path.count("/") < 2:
                return self.answer(404)
            owner, name, action, *rest = path.split("/")
            name = f"{owner}/{name}"
            known = any(key[:2] == (kind, name) for key in hub.repositories)
            if name in hub.status or not known:
                return self.answer(*hub.status.get(name, (401, "RepoNotFound")))
            for end in range(len(rest), 0, -1):
                if found_files := hub.find(kind, name, "/".join(rest[:end])):
                    return self.of_revision(api, action, name, *found_files, "/".join(rest[end:]))
            return self.answer(404, "RevisionNotFound")

        def do_POST(self) -> None:
            """What an upload asks for: a repository, how to send files, and a commit of files in base64."""
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            path = unquote(urlsplit(self.path).path).strip("/")
            if self.headers.get("Authorization") != "Bearer secret":
                return self.answer(401, "RepoNotFound")
            if path == "api/repos/create":
                request = json.loads(body)
                name = "/".join(filter(None, (request.get("organization"), request["name"])))
                hub.repositories.setdefault(("model", name, "main"), {})
                hub.private[name] = "private" in (request.get("visibility"), request.get("private") and "private")
                return self.answer(200, body={"url": f"{hub.url}/{name}", "name": name})
            if path == "api/validate-yaml":
                return self.answer(200, body={"warnings": [], "errors": []})
            owner, name, action, revision = path.removeprefix("api/models/").split("/")
            if action == "preupload":
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
                return self.answer(200, body={"files": files})
            files = hub.repositories["model", f"{owner}/{name}", revision]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return self.answer(200, body={"commitUrl": f"{hub.url}/{owner}/{name}/commit/1", "commitOid": "1"})

        def of_revision(
            self, api: bool, action: str, name: str, commit: str, files: dict[str, bytes], path: str
        ) -> None:
            if api and action == "revision":
                siblings = [{"rfilename": file} for file in files]
                return self.answer(200, body={"id": name, "sha": commit, "siblings": siblings, "private": False})
            if api and action == "tree":
                entries = [
                    {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for file, content in files.items()
                ]
                return self.answer(200, body=entries)
            if path not in files:
                return self.answer(404, "EntryNotFound")
            content = files[path]
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": commit}
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            if start:
                hub.ranges.append(self.headers["Range"])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            cut = hub.broken.pop(path, None) if self.command == "GET" else None
            self.send(206 if start else 200, content[start:], headers, cut)

        def answer(self, status: int, code: str = "", body: Any = None) -> None:
            headers = {"X-Error-Code": code} if code else {}
            self.send(status, json.dumps(body if body is not None else {"error": code}).encode(), headers)

        def send(self, status: int, content: bytes, headers: dict[str, str], cut: int | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content if cut is None else content[:cut])
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
