"""What a reply's messages and headers say about it, and the headers that disclose its footprint. Pure; bytes in, bytes out."""

from __future__ import annotations

from typing import Final, NamedTuple

from starlette.types import Message, Scope

from headwater import disclosure
from headwater.dialects.kit import energy_reports
from headwater.records import EnergyReport

_SEALS: Final = frozenset(
    {b"content-digest", b"repr-digest", b"digest", b"content-md5", b"signature", b"signature-input", b"content-range"}
)
_PARTIAL_CONTENT: Final = 206

_ENERGY: Final = b"x-energy-"


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
    for name, value in scope["headers"]:  # noqa: SIM110 - a generator doubles the time
        if name == b"headwater-disclose" and value.strip() == b"?0":
            return False
    return True


class Kind(NamedTuple):
    """What a reply is, by its headers."""

    content_type: bytes
    """In lower case, without parameters."""
    is_json: bool
    codings: tuple[bytes, ...]
    """What its body is compressed with, the innermost first; empty where it is not."""
    is_partial: bool
    """It is a range of something, or several: no reply that can be read."""
    is_disclosed: bool
    """Another Headwater has disclosed its footprint already."""
    may_fold: bool
    """The body may be touched: it is whole, not compressed, not digested, not signed, and not marked `no-transform`; and no
    strong `ETag` names its very bytes (a weak one names what it means, and stays true; RFC 9110 section 8.8.1)."""
    report: EnergyReport | None
    """The energy that the upstream reports here."""


def of(start: Message) -> Kind:
    """Read the headers of a response's start message."""
    content_type = b""
    codings: list[bytes] = []
    is_json = is_disclosed = False
    is_partial = start["status"] == _PARTIAL_CONTENT
    may_fold = not is_partial
    energy: dict[bytes, bytes] = {}
    for raw_name, value in start["headers"]:
        name = raw_name.lower()
        if name == b"content-type":
            content_type = value.partition(b";")[0].strip().lower()
            is_json = content_type == b"application/json" or content_type.endswith(b"+json")
        elif name == b"content-encoding":
            named = (each.strip().lower() for each in value.split(b","))
            codings += (each for each in named if each not in (b"", b"identity"))
        elif name == b"headwater-id":
            is_disclosed = True
        elif name.startswith(_ENERGY):
            energy[name.removeprefix(_ENERGY)] = value.strip()
        elif name == b"etag":
            may_fold = may_fold and value.strip().startswith(b"W/")
        elif name in _SEALS or (name == b"cache-control" and b"no-transform" in value.lower()):
            may_fold = False
            is_partial = is_partial or name == b"content-range"
    report = None
    if energy:
        joules, data, method = (energy.get(name, b"") for name in (b"joules", b"data", b"method"))
        report = energy_reports.of_headers(joules=joules, data=data, method=method)
    return Kind(content_type, is_json, tuple(codings), is_partial, is_disclosed, may_fold and not codings, report)


def disclosed(
    start: Message, *, request_id: str, footprint: bytes | None, period: bytes | None, length: int | None
) -> Message:
    """The start message with our headers behind the app's own, and a new length where the body grew."""
    headers: list[tuple[bytes, bytes]] = []
    is_cors = False
    for name, value in start["headers"]:
        lowered = name.lower()
        if lowered == b"content-length" and length is not None:
            headers.append((name, b"%d" % length))
            continue
        if lowered == b"access-control-allow-origin":
            is_cors = True
        headers.append((name, value))
    headers.append((b"headwater-id", request_id.encode()))
    if footprint is not None:
        headers.append((b"headwater-footprint", footprint))
    if period is not None:
        headers.append((b"headwater-period", period))
    headers.append((b"link", disclosure.link(request_id)))
    if is_cors:
        headers.append((b"access-control-expose-headers", disclosure.EXPOSED_HEADERS))
    return {**start, "headers": headers}
