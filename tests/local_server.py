"""A web server on this computer that fails as real ones do."""

import hashlib
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Fault:
    """What goes wrong at one request.

    Parameters
    ----------
    status
        Answer with this status and nothing else.
    cut
        Break off after so many bytes of the body.
    hold
        And keep the connection for so many seconds before.
    silent
        Say nothing for so many seconds, then break off.
    shifted
        Answer a request for a part with another part.
    """

    status: int = 0
    cut: int | None = None
    hold: float = 0.0
    silent: float = 0.0
    shifted: bool = False
    headers: dict[str, str] = field(default_factory=dict)


class LocalServer:
    """Serve `files` {path: content}; each path goes through its `faults` first, one per request.

    Parameters
    ----------
    ranges
        Whether parts can be asked for.
    mark
        "ETag", "weak" (an ETag that does not promise equal bytes), "Last-Modified"
        or "" for none.
    lengths
        Whether the size of a file is stated.
    """

    def __init__(self, *, ranges: bool = True, mark: str = "ETag", lengths: bool = True) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.ranges, self.mark, self.lengths = ranges, mark, lengths
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host}:{port}"

    def asked(self, method: str = "GET") -> list[str]:
        """Paths of the requests, in order."""
        return [path for found, path, _ in self.requests if found == method]

    def marks(self, content: bytes) -> dict[str, str]:
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        date = f"Mon, 01 Jan 2024 00:00:{len(content) % 60:02d} GMT"
        return {
            "ETag": {"ETag": tag},
            "weak": {"ETag": f"W/{tag}"},
            "Last-Modified": {"Last-Modified": date},
        }.get(self.mark, {})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self)

            def do_HEAD(self) -> None:
                server._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.lstrip("/")
        self.requests.append((handler.command, path, dict(handler.headers)))
        waiting = self.faults[path]
        fault = waiting.pop(0) if waiting and handler.command == "GET" else Fault()
        if fault.silent:
            time.sleep(fault.silent)
            return
        if fault.status or path not in self.files:
            handler.send_response(fault.status or 404)
            for key, value in fault.headers.items():
                handler.send_header(key, value)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        self._send(handler, self.files[path], fault)

    def _send(self, handler: BaseHTTPRequestHandler, content: bytes, fault: Fault) -> None:
        total, start = len(content), 0
        marks = self.marks(content)
        asked = handler.headers.get("Range", "")
        same = handler.headers.get("If-Range", next(iter(marks.values()), "")) in ("", *marks.values())
        if self.ranges and asked and same:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= total:
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{total}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            start += 1 if fault.shifted else 0
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            handler.send_response(200)
        if self.lengths:
            handler.send_header("Content-Length", str(total - start))
        for key, value in marks.items():
            handler.send_header(key, value)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(content[start : total if fault.cut is None else start + fault.cut])
            handler.wfile.flush()
            self._released.wait(fault.hold)
