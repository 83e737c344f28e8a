from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from carl.model import CARL, CARLConfig
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig


class FileServer:
    """Local web server with configurable answers.

    Attributes:
        files: contents by path.
        redirects: addresses by path.
        with_ranges: whether Range requests are answered.
        breaks_after: bytes of a body after which the connection is closed.
        status: HTTP status of all answers, if not 200.
        asked: path and Range of every request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.with_ranges = True
        self.breaks_after: int | None = None
        self.status = 200
        self.asked: list[tuple[str, str | None]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers["Range"]
        self.asked.append((request.path, wanted))
        content = self.files.get(request.path)
        if request.path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[request.path])
            request.end_headers()
            return
        if content is None or self.status != 200:
            request.send_error(self.status if self.status != 200 else 404)
            return
        start = 0
        if wanted and self.with_ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                request.send_error(416)
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        request.wfile.write(content[start:][: self.breaks_after])


@pytest.fixture
def server() -> Iterator[FileServer]:
    """Start a local web server."""
    running = FileServer()
    yield running
    running.close()


@pytest.fixture
def tiny_model() -> CARL:
    """Return a network that runs in milliseconds, with all weights random."""
    torch.manual_seed(0)
    config = CARLConfig(
        patch_size=4,
        spec_encoder_kwargs=SpectralEncoderConfig(
            embed_dim=16, n_queries=3, depth=4, num_heads=2, layer_scale=0.1
        ),
        spat_encoder_kwargs=SpatialEncoderConfig(
            "vit_tiny_patch16_224", 3, {"embed_dim": 24, "num_heads": 2, "depth": 3}
        ),
    )
    model = CARL(config, name="tiny")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()
