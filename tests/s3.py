"""An S3 server on this machine (moto's), and a proxy before it that fails like a network does."""

import http.client
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.flink import free_port

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class Server:
    """moto's server in a process of its own."""

    def __enter__(self):
        self.port = free_port()
        command = [sys.executable, "-m", "moto.server", "-p", str(self.port)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/moto-api/", timeout=1)
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.1)
                continue
            break
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()


class Proxy:
    """Passes requests on, but for every `every`-th, which fails.

    Args:
      port: the server's.
      every: one in so many requests for an object fails.
      kind: `busy` answers 503; `cut` sends half of the answer and hangs up; `denied` answers 403.
      after: requests that pass before the first failure.
    """

    def __init__(self, port, every, kind, after=0):  # noqa: C901 - one handler, in one place
        self._seen, self.failures, lock, proxy = 0, 0, threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self):
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                with lock:
                    proxy._seen += 1
                    fails = proxy._seen > after and proxy._seen % every == 0
                    proxy.failures += fails
                if fails and kind in ("busy", "denied"):
                    self._answer(503 if kind == "busy" else 403, [], b"")
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", port)
                headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
                upstream.request(self.command, self.path, body, headers)
                answer = upstream.getresponse()
                data = answer.read()
                if fails:
                    self._answer(answer.status, answer.getheaders(), data, cut=True)
                    return
                self._answer(answer.status, answer.getheaders(), data)

            def _answer(self, status, headers, data, cut=False):
                self.send_response(status)
                skipped = ("transfer-encoding", "connection", "content-length")
                length = None
                for name, value in headers:
                    if name.lower() == "content-length":
                        length = value
                    if name.lower() not in skipped:
                        self.send_header(name, value)
                head = self.command == "HEAD"
                self.send_header("Content-Length", (length or "0") if head else str(len(data)))
                self.end_headers()
                if not head:
                    self.wfile.write(data[: len(data) // 2] if cut else data)
                if cut:
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.close()

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
