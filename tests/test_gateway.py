"""The gateway on real sockets: bytes as the upstream sent them, usage asked for and taken out again, failures passed on."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from headwater.demo import server
from headwater.errors import ConfigError
from headwater.gateway import Gateway, app_from_environment
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from tests.asgi import CHAT, DONE, MODEL, STREAM, USAGE, event, reply, request, scope

Start = Callable[[ASGIApp], str]
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
TEXT = event(object="text_completion", choices=[{"index": 0, "text": "Hi", "finish_reason": "stop"}])


@pytest.fixture
def start() -> Iterator[Start]:
    """Serve apps on real sockets until the test ends."""
    with ExitStack() as stack:

        def begin(app: ASGIApp) -> str:
            listener = stack.enter_context(server.listening(0))
            stack.enter_context(server.serving(app, listener))
            return server.url(listener)

        yield begin


class Upstream:
    """A chat server that remembers what it was asked."""

    def __init__(
        self, *, name: str = "fake", rejects_options: bool = False, headers: dict[str, str] | None = None
    ) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[Request] = []
        self.headers = {"server": name, **(headers or {})}
        self.rejects_options = rejects_options
        self.app = Starlette(
            routes=[
                Route(CHAT, self.chat, methods=["POST"]),
                Route(COMPLETIONS, self.completions, methods=["POST"]),
                Route(EMBEDDINGS, self.embeddings, methods=["POST"]),
                Route("/echo", self.echo, methods=["GET", "POST", "PUT"]),
                Route("/moved", lambda _request: Response(status_code=302, headers={"location": "http://10.0.0.1/"})),
            ]
        )

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        headers = self.headers
        if self.rejects_options and "stream_options" in body:
            return JSONResponse({"error": {"message": "unknown field stream_options"}}, 400)
        if body.get("limited"):
            return JSONResponse({"error": {"message": "limited"}}, 400 if "stream_options" in body else 429)
        if body.get("broken"):
            return JSONResponse({"error": {"message": "broken"}}, 400)
        if not body.get("stream"):
            return Response(reply(), media_type="application/json", headers=headers)
        asked = bool(body.get("stream_options", {}).get("include_usage"))
        return StreamingResponse(iter(self.chunks(asked)), media_type="text/event-stream", headers=headers)

    def chunks(self, asked: bool) -> list[bytes]:
        if not asked:
            return [*STREAM, DONE]
        with_null = [part.replace(b'"model":', b'"usage":null,"model":') for part in STREAM]
        return [*with_null, event(choices=[], usage=USAGE, timings={"prompt_ms": 10.0, "predicted_ms": 20.0}), DONE]

    async def completions(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        asked = bool(body.get("stream_options", {}).get("include_usage"))
        chunks = [TEXT.replace(b'"model":', b'"usage":null,"model":') if asked else TEXT]
        if asked:
            chunks.append(event(object="text_completion", choices=[], usage=USAGE))
        return StreamingResponse(iter([*chunks, DONE]), media_type="text/event-stream", headers=self.headers)

    async def embeddings(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        usage = {"prompt_tokens": 8, "total_tokens": 8}
        return JSONResponse({"object": "list", "data": [{"embedding": [0.5]}], "model": MODEL, "usage": usage})

    async def echo(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(await request.body(), headers={"x-up": "1"}, media_type="application/x-any")


class Compressing(Upstream):
    """Compresses its streams where that is welcome."""

    async def chat(self, request: Request) -> Response:
        answer = await super().chat(request)
        if "gzip" not in request.headers["accept-encoding"]:
            return answer
        body = await request.json()
        whole = gzip.compress(b"".join(self.chunks("stream_options" in body)))
        return Response(whole, media_type="text/event-stream", headers={"content-encoding": "gzip"})


def _post(url: str, body: bytes, key: str = "sk-gw", path: str = CHAT) -> httpx.Response:
    return httpx.post(url + path, content=body, headers={"authorization": f"Bearer {key}"}, timeout=10)


def test_paths_queries_headers_and_bodies_arrive_as_they_were_sent(start: Start, meter: Meter) -> None:
    upstream = Upstream()
    url = start(FootprintMiddleware(Gateway(start(upstream.app)), meter=meter))

    answer = httpx.put(f"{url}/echo?a=1&b=%2F%20x", content=b"\x00\xff", headers={b"x-own": "é".encode()})

    assert (answer.status_code, answer.content, answer.headers["x-up"]) == (200, b"\x00\xff", "1")
    asked = upstream.requests[0]
    assert asked.scope["query_string"] == b"a=1&b=%2F%20x"
    assert (b"x-own", "é".encode()) in asked.scope["headers"]
    assert asked.headers["host"] != httpx.URL(url).netloc.decode()


def test_a_redirect_is_the_clients_to_follow(start: Start) -> None:
    answer = httpx.get(start(Gateway(start(Upstream().app))) + "/moved")

    assert (answer.status_code, answer.headers["location"]) == (302, "http://10.0.0.1/")


def test_a_client_that_did_not_ask_for_usage_gets_the_same_stream_with_an_exact_footprint(
    start: Start, meter: Meter, key: str
) -> None:
    upstream = Upstream()
    url = start(FootprintMiddleware(Gateway(start(upstream.app)), meter=meter))

    answer = _post(url, request(stream=True), key)

    assert upstream.bodies[0]["stream_options"] == {"include_usage": True}
    events = [json.loads(part[6:]) for part in answer.content.split(b"\n\n") if part.startswith(b"data: {")]
    footprint = events[-1].pop("footprint")
    assert footprint["tokens"] == {"input": 25, "cached": 5, "output": 4, "source": "upstream"}
    assert events[-1].pop("timings") == {"prompt_ms": 10.0, "predicted_ms": 20.0}
    assert events == [json.loads(part[6:]) for part in STREAM]
    assert answer.content.endswith(DONE)


@pytest.mark.parametrize("asking", [{}, {"stream_options": {"include_usage": True}}])
def test_what_the_gateway_asked_for_is_taken_out_of_a_compressing_upstreams_stream_too(
    start: Start, meter: Meter, key: str, asking: dict[str, Any]
) -> None:
    """A compressed stream cannot be edited, so where something must be taken out of it, none is asked for."""
    url = start(FootprintMiddleware(Gateway(start(Compressing().app)), meter=meter))

    answer = _post(url, request(stream=True, **asking), key)

    assert answer.headers.get("content-encoding") == ("gzip" if asking else None)
    events = [json.loads(part[6:]) for part in answer.content.split(b"\n\n") if part.startswith(b"data: {")]
    assert any(each["choices"] == [] for each in events) == bool(asking)
    assert meter.ledger.flush(10.0)
    charge = meter.ledger.reader().receipt(answer.headers["headwater-id"])
    assert charge is not None
    assert (charge.outcome, charge.usage.source, charge.usage.output_tokens) == ("completed", "upstream", 4)


def test_a_client_that_asked_for_usage_gets_it(start: Start, meter: Meter, key: str) -> None:
    upstream = Upstream()
    url = start(FootprintMiddleware(Gateway(start(upstream.app)), meter=meter))
    client = openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0)

    with client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Hi"}],
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        last = list(stream)[-1]
    client.close()

    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (25, 4)
    assert (last.usage.model_extra or {})["footprint"]["tokens"]["output"] == 4


def test_an_upstream_that_rejects_the_option_is_asked_once_more_and_never_again(
    start: Start, meter: Meter, key: str
) -> None:
    upstream = Upstream(rejects_options=True)
    url = start(FootprintMiddleware(Gateway(start(upstream.app)), meter=meter))

    answers = [_post(url, request(stream=True), key) for _ in range(2)]

    assert ["stream_options" in body for body in upstream.bodies] == [True, False, False]
    assert [b'"source":"counted"' in answer.content for answer in answers] == [True, True]


def test_an_upstream_that_has_other_reasons_is_asked_again(start: Start, meter: Meter, key: str) -> None:
    upstream = Upstream()
    url = start(FootprintMiddleware(Gateway(start(upstream.app)), meter=meter))

    bad = _post(url, request(stream=True, limited=True), key)
    _post(url, request(stream=True), key)

    assert bad.status_code == 429
    assert ["stream_options" in body for body in upstream.bodies] == [True, False, True]


def test_a_request_that_is_wrong_in_itself_does_not_stop_the_asking(start: Start, meter: Meter, key: str) -> None:
    upstream = Upstream()
    url = start(FootprintMiddleware(Gateway(start(upstream.app)), meter=meter))

    bad = _post(url, request(stream=True, broken=True), key)
    _post(url, request(stream=True), key)

    assert (bad.status_code, bad.json()) == (400, {"error": {"message": "broken"}})
    assert ["stream_options" in body for body in upstream.bodies] == [True, False, True]


@pytest.mark.parametrize(
    "headers", [{"server": "llama.cpp"}, {"x-groq-region": "fra"}, {"mistral-correlation-id": "0198"}]
)
def test_a_server_whose_finish_chunk_counts_is_asked_once_and_not_again(
    headers: dict[str, str], start: Start, meter: Meter, key: str
) -> None:
    upstream = Upstream(headers=headers)
    url = start(FootprintMiddleware(Gateway(start(upstream.app)), meter=meter))

    for _ in range(2):
        _post(url, request(stream=True), key)

    assert ["stream_options" in body for body in upstream.bodies] == [True, False]


def test_completions_are_asked_for_usage_and_answered_without_it(start: Start, meter: Meter, key: str) -> None:
    upstream = Upstream()
    url = start(FootprintMiddleware(Gateway(start(upstream.app)), meter=meter))

    answer = _post(url, json.dumps({"model": MODEL, "prompt": "x", "stream": True}).encode(), key, COMPLETIONS)

    assert upstream.bodies[0]["stream_options"] == {"include_usage": True}
    events = [json.loads(part[6:]) for part in answer.content.split(b"\n\n") if part.startswith(b"data: {")]
    footprint = events[-1].pop("footprint")
    assert footprint["tokens"] == {"input": 25, "cached": 5, "output": 4, "source": "upstream"}
    assert events == [json.loads(TEXT[6:])]


def test_what_an_upstream_rejects_is_remembered_for_each_api_apart(start: Start, meter: Meter, key: str) -> None:
    upstream = Upstream(rejects_options=True)
    url = start(FootprintMiddleware(Gateway(start(upstream.app)), meter=meter))
    text = json.dumps({"model": MODEL, "prompt": "x", "stream": True}).encode()

    _post(url, request(stream=True), key)
    for _ in range(2):
        _post(url, text, key, COMPLETIONS)
    _post(url, request(stream=True), key)

    assert ["stream_options" in body for body in upstream.bodies] == [True, False, True, True, False]


def test_embeddings_are_metered_and_need_not_be_asked(start: Start, meter: Meter, key: str) -> None:
    upstream = Upstream()
    url = start(FootprintMiddleware(Gateway(start(upstream.app)), meter=meter))

    answer = _post(url, json.dumps({"model": MODEL, "input": "x"}).encode(), key, EMBEDDINGS)

    assert upstream.bodies == [{"model": MODEL, "input": "x"}]
    tokens = answer.json()["usage"]["footprint"]["tokens"]
    assert (tokens["input"], tokens["output"], tokens["source"]) == (8, 0, "upstream")


def test_without_the_middleware_nothing_is_asked(start: Start) -> None:
    upstream = Upstream()

    _post(start(Gateway(start(upstream.app))), request(stream=True))
    _post(start(Gateway(start(upstream.app))), b"{no json")

    assert ["stream_options" in body for body in upstream.bodies] == [False]


def test_a_request_that_is_no_json_reaches_the_upstream_as_it_is(start: Start, meter: Meter) -> None:
    async def app(request: Request) -> Response:
        return PlainTextResponse(await request.body(), 422)

    url = start(
        FootprintMiddleware(Gateway(start(Starlette(routes=[Route(CHAT, app, methods=["POST"])]))), meter=meter)
    )

    answer = _post(url, b"{no json")

    assert (answer.status_code, answer.content) == (422, b"{no json")


def test_an_upstream_that_is_not_there_is_a_502_that_says_so(start: Start, meter: Meter, key: str) -> None:
    with server.listening(0) as closed:
        nowhere = server.url(closed)
    url = start(FootprintMiddleware(Gateway(nowhere), meter=meter))

    answer = _post(url, request(), key)

    assert answer.status_code == 502
    assert "cannot be reached" in answer.json()["error"]["message"]
    assert nowhere not in answer.text
    assert meter.ledger.flush(10.0)
    assert meter.ledger.reader().user_row(meter.identity.user(scope(key=key)), meter.month()).incomplete_count == 1


def test_an_upstream_that_is_too_slow_to_connect_is_a_504(
    start: Start, monkeypatch: pytest.MonkeyPatch, meter: Meter
) -> None:
    async def late(self: Gateway, *_arguments: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(Gateway, "_fetch", late)

    assert _post(start(FootprintMiddleware(Gateway("http://127.0.0.1:9"), meter=meter)), request()).status_code == 504


def _raw_upstream(answer: bytes, closed: threading.Event, *, cuts: bool) -> tuple[socket.socket, threading.Thread]:
    """One connection that gets `answer` and nothing more; cuts it off, or tells when the peer closes it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                if not cuts:
                    connection.settimeout(10)
                    while connection.recv(65536):
                        pass
                closed.set()

    thread = threading.Thread(target=serve)
    thread.start()
    return listener, thread


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def test_a_stream_cut_off_upstream_is_cut_off_for_the_client_and_charged(start: Start, meter: Meter, key: str) -> None:
    closed = threading.Event()
    answer = _HEAD + _chunk(STREAM[0]) + _chunk(STREAM[1])
    listener, thread = _raw_upstream(answer, closed, cuts=True)
    url = start(FootprintMiddleware(Gateway(server.url(listener)), meter=meter))
    got = b""

    def read() -> None:
        nonlocal got
        with httpx.stream("POST", url + CHAT, content=request(stream=True), headers={"api-key": key}) as response:
            for part in response.iter_raw():
                got += part

    with pytest.raises(httpx.RemoteProtocolError):
        read()

    thread.join()
    assert got == STREAM[0] + STREAM[1]
    assert meter.ledger.flush(10.0)
    row = meter.ledger.reader().user_row(meter.identity.user(scope(api_key=key)), meter.month())
    assert (row.requests_count, row.incomplete_count, row.output_tokens) == (1, 1, 1)


def test_a_client_that_leaves_takes_its_request_to_the_upstream_with_it(start: Start, meter: Meter, key: str) -> None:
    closed = threading.Event()
    listener, thread = _raw_upstream(_HEAD + _chunk(STREAM[0]), closed, cuts=False)
    url = start(FootprintMiddleware(Gateway(server.url(listener)), meter=meter))

    with httpx.stream("POST", url + CHAT, content=request(stream=True), headers={"api-key": key}) as response:
        assert next(response.iter_raw()) == STREAM[0]

    assert closed.wait(10)
    thread.join()
    assert _until(lambda: meter.ledger.flush(1.0) and _row(meter, key).requests_count == 1)
    assert (_row(meter, key).incomplete_count, _row(meter, key).output_tokens) == (1, 1)


def _row(meter: Meter, key: str) -> Any:
    return meter.ledger.reader().user_row(meter.identity.user(scope(api_key=key)), meter.month())


def _until(holds: Callable[[], bool]) -> bool:
    """Look again and again, for ten seconds at most, whether something holds."""
    pause = threading.Event()
    return any(holds() or pause.wait(0.02) for _ in range(500))


async def test_a_client_that_leaves_while_sending_is_no_request() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        raise AssertionError("nothing is sent")

    await Gateway("http://127.0.0.1:9")(scope(), receive, send)


async def _never() -> Any:
    raise AssertionError("nothing is read")


async def test_only_paths_are_forwarded() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await Gateway("http://127.0.0.1:9")({**scope("*", method="OPTIONS"), "raw_path": b"*"}, _never, send)

    assert sent[0]["status"] == 400


async def test_websockets_are_told_that_the_gateway_has_none() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await Gateway("http://127.0.0.1:9")({**scope(), "type": "websocket"}, receive, send)

    assert (sent[0]["type"], sent[0]["code"]) == ("websocket.close", 1011)


@pytest.mark.parametrize(
    "upstream", ["127.0.0.1:8000", "ftp://x", "http://", "http://x?y=1", "", "http://user:secret@x"]
)
def test_an_address_that_is_none_is_refused_by_name(upstream: str) -> None:
    with pytest.raises(ConfigError, match="upstream") as caught:
        Gateway(upstream)
    assert "secret" not in str(caught.value)


def test_an_address_that_ends_like_an_sdks_is_taken_without_its_version() -> None:
    assert Gateway("http://127.0.0.1:8000/v1/").upstream == "http://127.0.0.1:8000"


def test_a_gateway_that_leads_back_to_itself_says_so(start: Start) -> None:
    with server.listening(0) as listener:
        gateway = Gateway(server.url(listener))
        with server.serving(gateway, listener):
            answer = httpx.get(server.url(listener) + "/health", timeout=10)

    assert answer.status_code == 508
    assert "back to itself" in answer.text


@pytest.mark.parametrize("path", ["/../b", "/%2e%2e/b", "/a/..%2f../b", "/a\\..\\..\\b"])
async def test_no_path_climbs_out_of_the_upstreams_prefix(path: str) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    raw = {**scope(path), "raw_path": path.encode()}
    await Gateway("http://127.0.0.1:9/tenant-a")(raw, _never, send)

    assert sent[0]["status"] == 400


def test_what_belongs_to_one_connection_is_not_forwarded(start: Start) -> None:
    upstream = Upstream()
    url = start(Gateway(start(upstream.app)))
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as connection:
        connection.sendall(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nX-Own: 2\r\n"
            b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok"
        )
        while connection.recv(65536):
            pass

    headers = upstream.requests[0].headers
    assert (headers.get("x-hop"), headers.get("expect"), headers.get("x-own")) == (None, None, "2")
    assert headers["via"].startswith("1.1 headwater-")


def test_the_gateway_of_the_environment(monkeypatch: pytest.MonkeyPatch, data_dir: Any) -> None:
    monkeypatch.setenv("HEADWATER_UPSTREAM", "http://127.0.0.1:9/base/")
    monkeypatch.setenv("HEADWATER_DATA_DIR", str(data_dir))

    made = app_from_environment()

    assert isinstance(made.app, Gateway)
    assert made.app.upstream == "http://127.0.0.1:9/base"
