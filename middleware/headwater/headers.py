"""What a reply's messages and headers say about it, and the headers that disclose its footprint. Pure; bytes in, bytes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.types import Message, Scope

from headwater import disclosure

_SEALS: Final = frozenset(
    {b"content-digest", b"repr-digest", b"digest", b"content-md5", b"signature", b"signature-input", b"etag"}
)


def plain(message: Message) -> Message:
    """A response message with headers that can be read more than once, and a body of bytes: servers take any iterable
    for the first, and a memoryview for the second."""
    if message["type"] == "http.response.start":
        return {**message, "headers": list(message.get("headers", ()))}
    if type(message.get("body", b"")) is not bytes:
        return {**message, "body": bytes(message["body"])}
    return message


def wants_disclosure(scope: Scope) -> bool:
    """False where the client opted out with `Headwater-Disclose: ?0`."""
    return all(value.strip() != b"?0" for name, value in scope["headers"] if name == b"headwater-disclose")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a reply is, by its headers."""

    is_stream: bool
    is_json: bool
    is_encoded: bool
    is_disclosed: bool
    """Another Headwater has disclosed its footprint already."""
    may_fold: bool
    """The body may be touched: it is not digested, not signed, not tagged, and not marked `no-transform`."""


def of(start: Message) -> Kind:
    """Read the headers of a response's start message."""
    found = {name.lower(): value for name, value in start.get("headers", ())}
    content_type = found.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return Kind(
        is_stream=content_type == b"text/event-stream",
        is_json=content_type == b"application/json" or content_type.endswith(b"+json"),
        is_encoded=found.get(b"content-encoding", b"identity") != b"identity",
        is_disclosed=b"headwater-id" in found,
        may_fold=_SEALS.isdisjoint(found) and b"no-transform" not in found.get(b"cache-control", b"").lower(),
    )


def disclosed(
    start: Message, *, request_id: str, footprint: bytes | None, period: bytes | None, length: int | None
) -> Message:
    """The start message with our headers behind the app's own, and a new length where the body grew."""
    headers: list[tuple[bytes, bytes]] = list(start.get("headers", ()))
    if length is not None:
        grown = b"%d" % length
        headers = [(name, grown if name.lower() == b"content-length" else value) for name, value in headers]
    is_cors = any(name.lower() == b"access-control-allow-origin" for name, _ in headers)
    headers.append((b"headwater-id", request_id.encode()))
    if footprint is not None:
        headers.append((b"headwater-footprint", footprint))
    if period is not None:
        headers.append((b"headwater-period", period))
    headers.append((b"link", disclosure.link(request_id)))
    if is_cors:
        headers.append((b"access-control-expose-headers", disclosure.EXPOSED_HEADERS))
    return {**start, "headers": headers}
