"""A hub of models on this machine: what huggingface_hub asks of its API, and how it can go wrong."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from safetensors.numpy import save

LARGE = (".safetensors", ".bin")
"""Files with such names are kept in LFS: known by the SHA-256 of their content."""


def weights(seed: int = 0, values: int = 64) -> bytes:
    """A small .safetensors file."""
    return save({"weight": np.random.default_rng(seed).random(values, dtype=np.float32)})


def pipeline() -> dict[str, bytes]:
    """The files of a pipeline of diffusers, and others that are often beside them."""
    parts = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "safety_checker": [None, None]}
    index |= {part: ["diffusers", "Model"] for part in (*parts, "tokenizer", "scheduler")}
    files: dict[str, bytes] = {
        "model_index.json": json.dumps(index).encode(),
        "README.md": b"# a model",
        "all-in-one.safetensors": weights(9),
        "scheduler/scheduler_config.json": b"{}",
        "tokenizer/vocab.json": b'{"a": 0}',
        "tokenizer/merges.txt": b"a b\n",
        "safety_checker/model.safetensors": weights(8),
    }
    for seed, (part, stem) in enumerate(parts.items()):
        files[f"{part}/config.json"] = json.dumps({"part": part}).encode()
        files[f"{part}/{stem}.safetensors"] = weights(seed)
        files[f"{part}/{stem}.fp16.safetensors"] = weights(seed + 100, 32)
        files[f"{part}/{stem}.bin"] = b"\x80\x04pickle"
    return files


@dataclass
class Hub:
    """What the server has, what it does wrong, and what it was asked."""

    url: str
    cache: Path
    repos: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)  # id: commit: name: content
    refs: dict[tuple[str, str], str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    sends: dict[str, bytes] = field(default_factory=dict)  # name: what is sent in place of its content
    cuts: dict[str, int] = field(default_factory=dict)  # name: bytes after which the connection ends, once
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, name of a file, Range

    def put(self, repo: str, files: dict[str, bytes], revision: str = "main") -> str:
        """Commit `files` as all that is in a repository; the commit."""
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.repos.setdefault(repo, {})[commit] = files
        self.refs[repo, revision] = commit
        return commit

    def got(self) -> list[str]:
        """Names of the files whose content was asked for since the last call."""
        names = [name for method, name, _ in self.asked if method == "GET"]
        self.asked.clear()
        return names

    def snapshot(self, repo: str, commit: str) -> Path:
        """Where a commit of a repository lies in the cache."""
        return self.cache / f"models--{repo.replace('/', '--')}" / "snapshots" / commit


def digest(name: str, content: bytes) -> str:
    """What the hub knows a file by."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None: ...

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
                files = self.files(*match.groups())
                if files is not None:
                    self.send(
                        200, json.dumps(self.info(match[1], files)).encode(), {"Content-Type": "application/json"}
                    )
            elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                self.file(*match.groups())
            else:
                self.send(404, b"", {})

        def files(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
            if repo in hub.gated:
                self.send(403, b"", {"X-Error-Code": "GatedRepo"})
            elif repo not in hub.repos:
                self.send(404, b"", {"X-Error-Code": "RepoNotFound"})
            else:
                commit = hub.refs.get((repo, revision), revision)
                if commit in hub.repos[repo]:
                    return commit, hub.repos[repo][commit]
                self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return None

        def info(self, repo: str, found: tuple[str, dict[str, bytes]]) -> dict[str, Any]:
            siblings = []
            for name, content in found[1].items():
                entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": digest("", content)}
                if name.endswith(LARGE):
                    entry["lfs"] = {"sha256": digest(name, content), "size": len(content), "pointerSize": 130}
                siblings.append(entry)
            return {"id": repo, "sha": found[0], "siblings": siblings}

        def file(self, repo: str, revision: str, name: str) -> None:
            found = self.files(repo, revision)
            if found is None:
                return None
            hub.asked.append((self.command, name, self.headers["Range"]))
            content = found[1].get(name)
            if content is None:
                return self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": found[0]})
            head = {"X-Repo-Commit": found[0], "ETag": f'"{digest(name, content)}"'}
            if name.endswith(LARGE):
                head |= {"X-Linked-ETag": head["ETag"], "X-Linked-Size": str(len(content))}
            body, start = hub.sends.get(name, content), 0
            if self.headers["Range"]:
                start = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
                head["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            return self.send(206 if start else 200, body[start:], head, hub.cuts if name in hub.cuts else {}, name)

        def send(
            self, status: int, body: bytes, head: dict[str, str], cuts: dict[str, int] | None = None, name: str = ""
        ) -> None:
            self.send_response(status)
            for key, value in {**head, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if cuts:
                body, self.close_connection = body[: cuts.pop(name)], True
            self.wfile.write(body)

    return Handler


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub of this test's own, its client turned to it, and an empty cache."""
    from huggingface_hub import constants

    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.daemon_threads = True
        found = Hub(f"http://127.0.0.1:{server.server_address[1]}", tmp_path / "hub")
        server.RequestHandlerClass = _handler(found)
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(found.cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield found
        server.shutdown()
        thread.join()
