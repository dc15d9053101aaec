"""A server of files on 127.0.0.1, as the publishers of weights have one, and what can go wrong with it."""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WeightsServer(ThreadingHTTPServer):
    """Serves files, and parts of files.

    Attributes:
        files: bytes by path.
        broken: paths whose file breaks off halfway, the next time.
        requests: (method, path) of each request.
        open: an event; no request is answered until the event is set.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.broken, self.requests, self.open = {}, set(), [], threading.Event()
        self.open.set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"

    def downloads(self):
        """Paths of the files that have been asked for, one for each request."""
        return [path for method, path in self.requests if method == "GET"]

    def add_repository(self, name, files):
        """Serves a repository of files, bytes by name, as huggingface.co does."""
        self.files |= {f"/{name}/resolve/main/{file}": content for file, content in files.items()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        self.server.requests.append((self.command, self.path))
        self.server.open.wait(20)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")  # as huggingface.co says that a repository lacks a file
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            self.close_connection = self.path in self.server.broken
            self.server.broken.discard(self.path)
            self.wfile.write(content[start : len(content) // 2] if self.close_connection else content[start:])

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving():
    """A server that runs within the context."""
    with WeightsServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
