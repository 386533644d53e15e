"""Files on servers and other file systems: what they leave out, and how they fail."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import fsspec
import pytest
from fsspec.registry import known_implementations

from tango_beam.errors import RefusedError
from tests.io.test_files import CSV, LINES, ROWS, ids, inspect, parquet


class Web:
    """Serves bytes; `chunked` without a length, `whole` without parts, `parts` as it should be."""

    def __init__(self, kind, files):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                self.answer(405 if kind == "chunked" else 200, False)

            def do_GET(self):
                self.answer(200, True)

            def answer(self, status, body):
                data = files.get(urlsplit(self.path).path)
                status = 500 if kind == "failing" and body else status
                if data is None or status != 200:
                    self.send_response(404 if data is None else status)
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                ranged = self.headers.get("Range") if kind == "parts" else None
                if ranged:
                    start, stop = ranged.removeprefix("bytes=").split("-")
                    total, start = len(data), int(start)
                    data = data[start : int(stop) + 1]
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{stop}/{total}")
                else:
                    self.send_response(200)
                if kind == "chunked" or kind == "torn":
                    self.send_header("Transfer-Encoding", "chunked")
                    data = b"%x\r\n%s\r\n" % (len(data), data) + (b"0\r\n\r\n" * (kind != "torn"))
                else:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if body:
                    self.wfile.write(data)
                    self.close_connection = kind == "torn"

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("kind", ["chunked", "whole", "parts"])
def test_a_server_need_not_say_a_length_nor_give_parts(kind):
    files = {
        "/a.jsonl": LINES,
        "/a.csv": CSV,
        "/a.json": json.dumps(ROWS).encode(),
        "/a.jsonl.gz": gzip.compress(LINES),
        "/a.parquet": parquet(),
    }
    with Web(kind, files) as web:
        for name in files:
            for behind in ("", "?download=true", "#part"):
                if name == "/a.parquet" and kind != "parts":
                    with pytest.raises(RefusedError, match="download the file first"):
                        inspect(web.url + name + behind)
                else:
                    given = inspect(web.url + name + behind, checkpoint_bytes=40)
                    assert ids(given) == [0, 1, 2, 3], (name, behind)


def test_a_connection_that_breaks_is_a_file_that_breaks():
    with Web("torn", {"/a.jsonl": LINES, "/a.csv": CSV}) as web:
        for name in ("/a.jsonl", "/a.csv"):
            with pytest.raises((OSError, RefusedError)) as broke:
                ids(inspect(web.url + name))
            assert name in str(broke.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nope://x/a.jsonl", "Protocol not known"),
        ("hf://datasets/some/where/a.parquet", "hf://"),
        ("http://127.0.0.1:9/a.jsonl", "Cannot connect"),
        ("http://127.0.0.1:9/*.jsonl", "127.0.0.1:9"),
        ("gs://bucket/a.jsonl", "pip install 'gcsfs'"),
        ("abfs://bucket/a.jsonl", "pip install"),
        ("s3://[]/a", "s3://[]/a"),
        ("zip://a.jsonl::/none/there.zip", "there.zip"),
        ("a\0b", "null byte"),
        ("x" * 5000, "too long"),
    ],
)
def test_a_file_system_that_does_not_answer_is_one_line(url, said, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RefusedError) as refused:
        inspect(url)
    assert str(refused.value).startswith(f"--input {url}: expected ")
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("protocol", "package"),
    [("s3", "s3fs"), ("gs", "gcsfs"), ("hf", "huggingface_hub"), ("https", "aiohttp")],
)
def test_a_package_that_is_missing_is_named(monkeypatch, protocol, package):
    missing = ImportError(known_implementations[protocol]["err"])
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (_ for _ in ()).throw(missing))
    with pytest.raises(RefusedError, match=f"pip install '{package}'$"):
        inspect(f"{protocol}://x/a.jsonl")


def test_a_server_that_fails_later_is_an_unreadable_file():
    files = {"/a.parquet": parquet() * 3, "/b.jsonl": LINES}
    with Web("failing", files) as web:
        for name in files:
            with pytest.raises(RefusedError, match=f"{name}: expected a readable"):
                inspect(web.url + name)
