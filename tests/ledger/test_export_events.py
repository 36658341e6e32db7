"""CloudEvents over HTTP: a receiver that fails, hangs up, or answers too late has each charge once by source and id."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from headwater.cli import app
from headwater.errors import ConfigError
from headwater.exports import Events, ExportError, Record, Summary, Unavailable, export
from headwater.exports.events import BATCH_TYPE, SINGLE_TYPE, event
from headwater.ledger.books import Books
from headwater.ledger.connection import READ_TIMEOUT_S
from headwater.ledger.exporting import Subscription
from headwater.ledger.redis import Store
from headwater.records import Charge
from tests.ledger.conftest import Add
from tests.ledger.support import ADA, KEY, NOV_23_MS, Server, charge, opened

Answer = tuple[int, dict[str, str], bytes]
TAKEN: Answer = (204, {}, b"")
NOW_S = 1_795_435_200.0


class Receiver:
    """A real HTTP server that keeps events by source and id, and answers as the test says: `answers` are the next ones; with
    `drop`, it takes what it was sent and hangs up without a word."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        self.repeats_count = 0
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.answers: list[Answer | str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.requests.append(
                    (self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                )
                answer = receiver.answers.pop(0) if receiver.answers else TAKEN
                if answer == "hang up":
                    self.close_connection = True
                    return
                if isinstance(answer, str) or answer[0] < 300:
                    receiver.take(body if isinstance(body, list) else [body])
                if isinstance(answer, str):
                    self.close_connection = True
                    return
                status, headers, words = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(words)))
                self.end_headers()
                self.wfile.write(words)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/api/v1/events"

    def take(self, events: list[dict[str, Any]]) -> None:
        for each in events:
            key = each["source"], each["id"]
            self.repeats_count += key in self.events
            self.events.setdefault(key, each)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    """A store for reading: with time for long answers."""
    made = Store(server.url, timeout_s=READ_TIMEOUT_S)
    made.check(KEY)
    yield made
    made.close()


@pytest.fixture
def feed(store: Store) -> Subscription:
    made = Subscription(Books(store), "there")
    made.begin({"to": "there", "format": "cloudevents"})
    return made


class Send:
    """Sends a feed to a receiver, and remembers how long it would have waited."""

    def __init__(self, feed: Subscription, receiver: Receiver) -> None:
        self.waits_s: list[float] = []
        self._feed = feed
        self._url = receiver.url

    def __call__(self, **options: Any) -> Summary:
        target = Events(self._url, sleep=self.waits_s.append, clock=lambda: NOW_S, **options)
        try:
            return export(self._feed, target)
        finally:
            target.close()


@pytest.fixture
def send(feed: Subscription, receiver: Receiver) -> Send:
    return Send(feed, receiver)


def some(count: int) -> list[Charge]:
    return [charge(number) for number in range(1, count + 1)]


def test_an_event_is_one_of_version_1_0_with_the_charge_as_its_data() -> None:
    made = event(Record(0, "1-0", charge(ended_ms=NOV_23_MS + 1_500)), "chat.example")

    data = made.pop("data")
    assert made == {
        "specversion": "1.0",
        "id": charge().request_id,
        "source": "chat.example",
        "type": "headwater.request",
        "subject": ADA,
        "time": "2026-11-23T12:00:01.500Z",
        "datacontenttype": "application/json",
    }
    assert (data["energy_microjoules"], data["model"], data["input_tokens"]) == (1_001, "llama-3.1-70b", 25)
    assert data["started_at"] == "2026-11-23T12:00:00.000Z"
    assert event(Record(0, "1-0", opened()), "x")["data"]["energy_microjoules"] is None


def test_charges_are_sent_in_batches_with_the_token(
    add: Add, send: Send, receiver: Receiver, feed: Subscription
) -> None:
    add(*some(5))

    summary = send(per_request=2, token="t0ken")

    assert summary.exported_count == 5
    assert [len(body) for _, _, body in receiver.requests] == [2, 2, 1]
    path, headers, _ = receiver.requests[0]
    assert (path, headers["content-type"], headers["authorization"]) == ("/api/v1/events", BATCH_TYPE, "Bearer t0ken")
    assert {request for _, request in receiver.events} == {each.request_id for each in some(5)}
    assert feed.standings()[0].unacknowledged_count == 0


def test_charges_are_sent_one_by_one_where_asked(add: Add, send: Send, receiver: Receiver) -> None:
    add(*some(2))

    send(per_request=1)

    assert [body["id"] for _, _, body in receiver.requests] == [each.request_id for each in some(2)]
    assert receiver.requests[0][1]["content-type"] == SINGLE_TYPE
    assert "authorization" not in receiver.requests[0][1]


@pytest.mark.parametrize(
    ("trouble", "repeats_count"),
    [
        (["hang up"], 0),
        (["take and hang up"], 2),
        (["take and hang up", (500, {}, b"later"), "hang up", "take and hang up"], 4),
        ([(429, {}, b""), (503, {}, b""), (408, {}, b"")], 0),
    ],
)
def test_whatever_the_receiver_does_it_ends_with_each_charge_once(
    add: Add, send: Send, receiver: Receiver, trouble: list[Answer | str], repeats_count: int
) -> None:
    add(*some(6))
    receiver.answers = [TAKEN, *trouble]

    assert send(per_request=2).exported_count == 6

    assert len(receiver.events) == 6
    assert receiver.repeats_count == repeats_count
    assert len(send.waits_s) == len(trouble)


def test_waits_grow_and_heed_the_receiver(add: Add, send: Send, receiver: Receiver) -> None:
    add(*some(1))
    receiver.answers = [
        (503, {}, b""),
        (503, {"retry-after": "7"}, b""),
        (503, {"retry-after": formatdate(NOW_S + 90, usegmt=True)}, b""),
        (503, {"retry-after": "Fri, 13 Nov 2026 00:00:00"}, b""),  # long ago
        (503, {"retry-after": "soon"}, b""),
        (503, {"retry-after": "86400"}, b""),
    ]

    send()

    assert send.waits_s == [0.5, 7.0, 90.0, 4.0, 8.0, 600.0]


def test_a_receiver_that_stays_away_stops_the_export_and_loses_nothing(
    add: Add, send: Send, receiver: Receiver, feed: Subscription
) -> None:
    add(*some(3))
    receiver.answers = [(500, {}, b"\x1b[31mno disk")] * 4

    with pytest.raises(Unavailable, match=r"answers 500 Internal Server Error: .*no disk; nothing is lost") as refused:
        send(tries_count=4)

    assert "\x1b" not in str(refused.value)
    assert feed.standings()[0].unacknowledged_count == 3
    assert (send().again_count, len(receiver.events)) == (3, 3)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((400, {}, b'{"detail": "no meter"}'), '400 Bad Request: {"detail": "no meter"}'),
        ((401, {}, b""), "401 Unauthorized; nothing is lost"),
        ((302, {"location": "https://else.example/"}, b""), "wants to send us to 'https://else.example/'"),
    ],
)
def test_a_refusal_stops_the_export_with_the_receivers_words(
    add: Add, send: Send, receiver: Receiver, feed: Subscription, answer: Answer, words: str
) -> None:
    add(*some(3))
    receiver.answers = [answer]

    with pytest.raises(ExportError) as refused:
        send()

    assert words in str(refused.value)
    assert (len(receiver.requests), send.waits_s, feed.standings()[0].unacknowledged_count) == (1, [], 3)


def test_a_reply_that_never_ends_is_not_read_to_its_end(add: Add, send: Send, receiver: Receiver) -> None:
    add(*some(2))
    receiver.answers = [(200, {}, b"x" * 1_000_000)]

    assert send(per_request=1).exported_count == 2


def test_a_receiver_that_does_not_answer_in_time_is_asked_again(add: Add, feed: Subscription) -> None:
    add(*some(1))
    silent = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # listens, and nobody accepts
    waits_s: list[float] = []
    target = Events(f"http://127.0.0.1:{silent.server_port}", timeout_s=0.02, tries_count=3, sleep=waits_s.append)

    with pytest.raises(Unavailable, match="does not answer: timed out; nothing is lost"):
        export(feed, target)

    assert waits_s == [0.5, 1.0]
    silent.server_close()


@pytest.mark.parametrize(
    ("url", "token", "words"),
    [
        ("https://", None, "must begin with https:// and name a host"),
        ("https://x.example:port/", None, "cannot be used"),
        ("https://ada:secret@x.example/", None, "must not carry a password"),
        ("http://x.example/", "t0ken", "must not go to x.example in clear text"),
        ("https://x.example/", "a\nb", "has characters that no token has"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_at_once(url: str, token: str | None, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Events(url, token=token)

    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_command_sends_events_and_remembers_the_address(
    add: Add, receiver: Receiver, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    add(*some(3))
    environment = {
        "HEADWATER_REDIS_URL": server.url,
        "HEADWATER_DATA_DIR": str(tmp_path),
        "HEADWATER_EXPORT_TOKEN": "t0ken",
    }
    run: Callable[..., Any] = lambda *arguments: CliRunner().invoke(app, ["export", *arguments], env=environment)  # noqa: E731

    first = run("--to", f"{receiver.url}?key=secret", "--source", "chat.example")
    second = run("--to", f"{receiver.url}?key=secret", "--source", "chat.example")
    other = run("--to", receiver.url, "--name", "second", "--source", "chat.example")
    status = run("--status")

    assert first.stdout == f"exported 3 charges to {receiver.url}\n", first.output
    assert second.stdout == f"exported 0 charges to {receiver.url}\n"
    assert other.stdout == f"exported 3 charges to {receiver.url}\n"
    assert receiver.requests[0][0] == "/api/v1/events?key=secret"
    assert receiver.requests[0][1]["authorization"] == "Bearer t0ken"
    assert {source for source, _ in receiver.events} == {"chat.example"}
    assert (len(receiver.events), receiver.repeats_count) == (3, 3)
    assert "second" in status.stdout
    assert "secret" not in status.stdout
