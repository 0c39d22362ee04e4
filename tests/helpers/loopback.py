"""A small model hub on the loopback address, for the real client of huggingface_hub.

It knows what the client asks for: a revision's commit and files with their digests, and the files.
Faults are ordered beforehand for the next requests of a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import defaultdict
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

FAULTS = ("busy", "cut", "slow", "altered", "truncated", "missing")


def sha1(content: bytes) -> str:
    """Git's digest of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """Repositories and their revisions.

    Attributes:
        gated: repository -> the token that may read its files.
        faults: file -> what goes wrong with its next requests, one after the other.
        instead: (commit, file) -> what is served whatever is listed, until it is taken away.
        requests: what was asked for, as (method, file or ``api``, first byte).
        waits: slow answers wait until it is set.
    """

    def __init__(self) -> None:
        self.refs: dict[str, dict[str, str]] = defaultdict(dict)
        self.commits: dict[str, dict[str, bytes]] = {}
        self.gated: dict[str, str] = {}
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.instead: dict[tuple[str, str], bytes] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.waits = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Of", (Handler,), {"hub": self}))
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def endpoint(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        """Stop serving."""
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home: Path) -> dict[str, str]:
        """The environment of a process that takes this for the hub."""
        others = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        return others | {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def publish(self, repo: str, revision: str, files: dict[str, bytes] | Path) -> str:
        """Let a branch of a repository hold these files from now on; its commit."""
        if isinstance(files, Path):
            files = {p.name: p.read_bytes() for p in sorted(files.iterdir()) if p.is_file()}
        text = repo + "".join(f"{name} {sha1(files[name])}" for name in sorted(files))
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.commits[commit] = files
        self.refs[repo][revision] = commit
        return commit


class Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Facts of a file."""
        self.answer()

    def do_GET(self) -> None:
        """A file, or facts of a revision."""
        self.answer()

    def answer(self) -> None:
        """Find what is meant, and fail as ordered."""
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        api = parts[0] == "api"
        parts = parts[1:] if api else parts
        kind = parts.pop(0) if parts[0] in ("models", "datasets") else "models"
        repo = "/".join(parts[:2])
        revision, name = parts[3], "api" if api else "/".join(parts[4:])
        first = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        self.hub.requests.append((self.command, name, first))
        fault = ""
        if self.hub.faults[name] and (api or self.command == "GET"):
            fault = self.hub.faults[name].pop(0)
        refs = self.hub.refs.get(repo)
        if fault == "busy":
            self.send(503, b"", {})
        elif refs is None:
            self.send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif not api and repo in self.hub.gated and self.token != self.hub.gated[repo]:
            self.send(403 if self.token else 401, b"", {"X-Error-Code": "GatedRepo"})
        elif (commit := refs.get(revision, revision)) not in self.hub.commits:
            self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif api and fault.startswith("says "):
            self.send(200, fault.removeprefix("says ").encode(), {})
        elif api:
            self.send(200, self.listing(repo, kind, commit), {"Content-Type": "application/json"})
        elif name not in self.hub.commits[commit] or fault == "missing":
            self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        else:
            self.file(self.hub.commits[commit][name], commit, name, first, fault)

    @property
    def token(self) -> str:
        """The token that came with the request."""
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def listing(self, repo: str, kind: str, commit: str) -> bytes:
        """Facts of a revision, as the hub's API gives them."""
        siblings = []
        for name, content in self.hub.commits[commit].items():
            facts = {"rfilename": name, "size": len(content), "blobId": sha1(content)}
            if is_large(name):
                digest = hashlib.sha256(content).hexdigest()
                facts["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(facts)
        found = {"id": repo, "sha": commit, "siblings": siblings}
        return json.dumps(found | ({"gated": "manual"} if repo in self.hub.gated else {})).encode()

    def file(self, content: bytes, commit: str, name: str, first: int, fault: str) -> None:
        """A file from a byte on."""
        large = is_large(name)
        etag = hashlib.sha256(content).hexdigest() if large else sha1(content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if large:
            headers |= {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        content = self.hub.instead.get((commit, name), content)
        if fault == "altered":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if fault == "truncated":
            content = content[: len(content) // 2]
        if fault == "slow":
            self.hub.waits.wait(5)
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.send(206 if first else 200, content[first:], headers, cut=fault == "cut")

    def send(self, status: int, body: bytes, headers: dict[str, str], cut: bool = False) -> None:
        """One answer; cut off in the middle where that is asked for."""
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has lost its patience
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True


def is_large(name: str) -> bool:
    """Whether the hub keeps such a file outside git, by its SHA-256."""
    return name.endswith((".safetensors", ".bin", ".parquet"))
