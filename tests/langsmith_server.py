"""A loopback server that takes what the LangSmith client sends, and puts the runs together again.

The client is the real one, with its threads and its compression; only the address is ours.
"""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import zstandard

INFO = {
    "version": "0.13.0",
    "instance_flags": {"zstd_compression_enabled": True},
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
        "scale_up_nthreads_limit": 4,
        "scale_up_qsize_trigger": 1000,
        "scale_down_nempty_trigger": 4,
    },
}


class Ingest:
    """The runs that have arrived, by id, each put together from its post and its patches."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.received_bytes = 0
        self.posts: list[str] = []
        self._lock = threading.Lock()

    def take(self, content_type: str, body: bytes) -> None:
        head = b"Content-Type: " + content_type.encode() + b"\r\n\r\n"
        message = BytesParser(policy=HTTP).parsebytes(head + body)
        with self._lock:
            for part in message.iter_parts():
                name = part.get_param("name", header="content-disposition")
                kind, run_id, *field = str(name).split(".")
                data = json.loads(part.get_payload(decode=True))
                if kind == "post" and not field:
                    self.posts.append(run_id)
                self.merge(kind, run_id, {field[0]: data} if field else data)

    def merge(self, kind: str, run_id: str, data: dict[str, Any]) -> None:
        """A patch may overtake the post of its run, and is the later word all the same."""
        known = self.runs.setdefault(run_id, {"id": run_id})
        told = {name: value for name, value in data.items() if value is not None}
        known.update(told if kind == "patch" else {**told, **known})

    def children(self, run_id: str | None) -> list[dict[str, Any]]:
        found = [run for run in self.runs.values() if run.get("parent_run_id") == run_id]
        return sorted(found, key=lambda run: run["dotted_order"])

    def tree(self, run_id: str | None = None, depth: int = 0) -> list[str]:
        """Names, indented by level, in the order in which the runs started."""
        lines = []
        for run in self.children(run_id):
            lines.append("  " * depth + run["name"])
            lines += self.tree(run["id"], depth + 1)
        return lines

    def named(self, name: str) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if run["name"] == name]

    def of_role(self, role: str) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if metadata(run).get("rlm_role") == role]


def metadata(run: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = run.get("extra", {}).get("metadata", {})
    return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ingest: Ingest

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._reply(200, INFO)

    def do_POST(self) -> None:
        body = self._body()
        self.ingest.received_bytes += len(body)
        encoding = self.headers.get("Content-Encoding")
        if encoding == "zstd":
            body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        elif encoding == "gzip":
            body = gzip.decompress(body)
        if self.path.endswith("/runs/multipart"):
            self.ingest.take(self.headers["Content-Type"], body)
            self._reply(202, {})
        else:
            self._reply(404, {"detail": f"no {self.path} here"})

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _reply(self, code: int, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def langsmith() -> Iterator[Ingest]:
    """LangSmith tracing is on and goes to a server of ours; all has arrived when the block ends."""
    from langchain_core.tracers.langchain import wait_for_all_tracers
    from langsmith import run_trees

    ingest = Ingest()
    handler = type("Handler", (_Handler,), {"ingest": ingest})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        values = {
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_API_KEY": "no key",
            "LANGSMITH_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        }
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
        _forget()
        try:
            yield ingest
            wait_for_all_tracers()
        finally:
            client = run_trees._CLIENT
            if client is not None:
                client.cleanup()
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
            _forget()
            server.shutdown()
            thread.join()


def _forget() -> None:
    """LangSmith remembers the environment and its client."""
    from langsmith import run_trees, utils

    utils.get_env_var.cache_clear()
    utils.get_tracer_project.cache_clear()
    run_trees._CLIENT = None
