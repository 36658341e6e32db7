"""CloudEvents 1.0 over HTTP: JSON, structured mode, one event or a batch a request. Talks to the one address it was given.

A request that may or may not have arrived is sent again: receivers drop what they have by `source` and `id`.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Collection
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from headwater.errors import ConfigError
from headwater.exports import jsonl
from headwater.exports.columns import Record, Value, finite, time_text, values
from headwater.exports.run import ExportError, Unavailable
from headwater.printable import printable

TYPE: Final = "headwater.request"
SOURCE: Final = "headwater"
BATCH_TYPE: Final = "application/cloudevents-batch+json"
SINGLE_TYPE: Final = "application/cloudevents+json"
EVENTS_PER_REQUEST: Final = 100
TIMEOUT_S: Final = 30.0
TRIES_COUNT: Final = 8
FIRST_BACKOFF_S: Final = 0.5
LAST_BACKOFF_S: Final = 60.0
MOST_WAIT_S: Final = 600.0
"""A receiver that asks for more patience is asked again after this."""
_MOST_REPLY_BYTES: Final = 65_536
_MOST_WORDS: Final = 500
_BESIDE: Final = ("v", "request_id", "user", "ended_at")
"""Columns that an event tells by itself: schema, id, subject and time."""
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class Events:
    """The target.

    Raises:
        ConfigError: the address cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        source: str = SOURCE,
        token: str | None = None,
        per_request: int = EVENTS_PER_REQUEST,
        tries_count: int = TRIES_COUNT,
        timeout_s: float = TIMEOUT_S,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address = _checked(url, token)
        self._source = source
        self._per_request = per_request
        self._tries_count = tries_count
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._clock = clock
        self._headers = {"content-type": SINGLE_TYPE if per_request == 1 else BATCH_TYPE, "user-agent": "headwater"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._connection: http.client.HTTPConnection | None = None
        self._events: list[dict[str, Any]] = []

    @property
    def is_full(self) -> bool:
        """Whether a request is full."""
        return len(self._events) >= self._per_request

    def held(self, _shard: int, _entry_ids: Collection[str]) -> set[str]:
        """None: the receiver is not asked, it drops what it has."""
        return set()

    def add(self, record: Record) -> None:
        """Take a charge."""
        self._events.append(event(record, self._source))

    def commit(self) -> None:
        """Send what was taken, until the receiver has said that it has it.

        Raises:
            Unavailable: it did not, after all tries.
            ExportError: it refuses; the message has its words.
        """
        if not self._events:
            return
        what: Any = self._events if self._per_request > 1 else self._events[0]
        body = json.dumps(what, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        backoff_s = FIRST_BACKOFF_S
        for left in range(self._tries_count - 1, -1, -1):
            try:
                self._send(body)
                break
            except Unavailable as error:
                if not left:
                    raise
                self._sleep(max(backoff_s, min(error.wait_s, MOST_WAIT_S)))
                backoff_s = min(backoff_s * 2, LAST_BACKOFF_S)
        self._events = []

    def discard(self) -> None:
        """Forget what was not sent, or not answered."""
        self._events = []

    def _send(self, body: bytes) -> None:
        try:
            if self._connection is None:
                self._connection = _connect(self._address, self._timeout_s)
            self._connection.request("POST", _target(self._address), body, self._headers)
            reply = self._connection.getresponse()
            words = reply.read(_MOST_REPLY_BYTES)
            if not reply.isclosed():
                self.close()  # a very long reply: not to be read
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable(
                f"{_shown(self._address)} does not answer: {_words(error)}; nothing is lost, export again later"
            ) from error
        if 200 <= reply.status < 300:
            return
        said = printable(words.decode("utf-8", "replace"))[:_MOST_WORDS].strip()
        answer = f"{_shown(self._address)} answers {reply.status} {reply.reason}{said and ': '}{said}"
        if reply.status in (408, 425, 429) or reply.status >= 500:
            wait_s = _wait_s(reply.getheader("retry-after"), self._clock())
            raise Unavailable(f"{answer}; nothing is lost, export again later", wait_s)
        if 300 <= reply.status < 400:
            raise ExportError(
                f"{answer}; it wants to send us to {shown(reply.getheader('location') or '')!r}: name the right address"
            )
        raise ExportError(f"{answer}; nothing is lost, export again when the receiver takes it")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def event(record: Record, source: str) -> dict[str, Any]:
    """A charge as a CloudEvent; its data are the columns that the event does not tell by itself."""
    row: list[Value] = finite(values(record))
    charge = record.charge
    data = jsonl.document(row)
    return {
        "specversion": "1.0",
        "id": charge.request_id,
        "source": source,
        "type": TYPE,
        "subject": charge.user,
        "time": time_text(charge.ended_ms),
        "datacontenttype": "application/json",
        "data": {name: value for name, value in data.items() if name not in _BESIDE},
    }


def shown(url: str) -> str:
    """An address without its query, where secrets may stand."""
    return _shown(urlsplit(url))


def _checked(url: str, token: str | None) -> SplitResult:
    try:
        address = urlsplit(url)
        host, _ = address.hostname, address.port
    except ValueError as error:
        raise ConfigError(f"the address cannot be used: {error}") from None
    if address.scheme not in ("http", "https") or not host:
        raise ConfigError(f"the address {_shown(address)!r} must begin with https:// and name a host")
    if address.username is not None or address.password is not None:
        raise ConfigError("an address must not carry a password; put a token into HEADWATER_EXPORT_TOKEN")
    if address.scheme == "http" and token and host not in _LOCAL:
        raise ConfigError(f"a token must not go to {host} in clear text; name an address with https://")
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError("HEADWATER_EXPORT_TOKEN has characters that no token has; set it anew")
    return address


def _connect(address: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    host = str(address.hostname)
    if address.scheme == "https":
        return http.client.HTTPSConnection(host, address.port, timeout=timeout_s, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, address.port, timeout=timeout_s)


def _target(address: SplitResult) -> str:
    return (address.path or "/") + (f"?{address.query}" if address.query else "")


def _shown(address: SplitResult) -> str:
    place = address.netloc.rpartition("@")[2]
    return f"{address.scheme}://{place}{address.path}"


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _wait_s(text: str | None, now_s: float) -> float:
    """The seconds that Retry-After asks for, as a number or as a date; 0 where it does not."""
    if text is None:
        return 0.0
    if text.strip().isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now_s, 0.0)
