"""Who is charged. Turns what authentication saw into a pseudonym; keeps no name and no key in clear.

A pseudonym is HMAC-SHA-256 under a key of this installation, cut to 128 bits: plain hashes of e-mail addresses and of
short keys can be guessed, keyed ones cannot. What a client merely says about itself counts only if the operator names
that header.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from headwater.errors import ConfigError

ANONYMOUS: Final = "anonymous"
IDENTIFY: Final = "identify"
"""The rule's name of an operator's own callable, in labels."""
KEY_FILE: Final = "identity.key"
_KEY_BYTES: Final = 32
_CACHED_CALLERS: Final = 10_000
_KEY_HEADERS: Final = (b"api-key", b"x-api-key", b"x-goog-api-key")
_KEY_PARAMETER: Final = b"key="
_QUERY: Final = b"?"  # the name of no header

Headers = Iterable[tuple[bytes, bytes]]
Identify = Callable[[Mapping[str, Any]], str | None]
"""An operator's own rule: ASGI scope in, stable user id out, None for nobody."""


def subject_digest(value: str) -> str:
    """SHA-256 of a user id or an API key, as hex: what an operator writes into `[identity.labels]` in its place."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


def load_key(data_dir: Path) -> bytes:
    """The installation's identity key, made on first use in a file that only its owner can read (mode 0600).

    Raises:
        ConfigError: the file cannot be made or read, or holds no key.
    """
    path = data_dir / KEY_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _create_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot use the identity key {path}: {error}; name another folder with HEADWATER_DATA_DIR"
        ) from error
    if len(key) < _KEY_BYTES:
        raise ConfigError(
            f"the identity key {path} has {len(key)} bytes, {_KEY_BYTES} are needed; restore it from a backup"
        )
    return key


def _create_key(path: Path) -> None:
    # Written under another name and linked, so that two processes starting together agree on one whole key.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(_KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def key_fingerprint(key: bytes) -> str:
    """A name for the key that does not give it away; stands in the store, so that another key is noticed."""
    return hmac.new(key, b"headwater key fingerprint", hashlib.sha256).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Pseudonymizer:
    """Subjects (what authentication saw) to pseudonyms, under one key."""

    key: bytes

    def of(self, rule: str, subject: str) -> str:
        """The pseudonym of what a rule found: 32 hex digits. Under another rule the same text is somebody else: a caller
        who sends another's user id as an API key must not become that user."""
        return self.of_digest(rule, subject_digest(subject))

    def of_digest(self, rule: str, digest: str) -> str:
        """The pseudonym of a subject whose SHA-256 is known."""
        return hmac.new(self.key, f"{rule}:{digest}".encode(), hashlib.sha256).hexdigest()[:32]


class Identity:
    """The operator's rules, in their order; the first one that finds somebody decides.

    Rules: `api-key` (Authorization: Bearer, api-key, x-api-key, x-goog-api-key; after these, Gemini's `key=` in the query) and
    `header:NAME` (a header that a trusted proxy sets). `identify`, where given, stands in place of all rules: whom
    it does not know is anonymous.
    """

    def __init__(self, key: bytes, rules: Sequence[str], *, identify: Identify | None = None) -> None:
        self._pseudonymizer = Pseudonymizer(key)
        self._identify = identify
        self._cache: dict[tuple[str, bytes], str] = {}
        places: list[tuple[str, bytes, Callable[[bytes], bytes]]] = []
        for rule in rules:
            if rule == "api-key":
                places.append((rule, b"authorization", _bearer_token))
                places += [(rule, name, bytes.strip) for name in _KEY_HEADERS]
                places.append((rule, _QUERY, _key_in_query))
            elif rule.startswith("header:") and len(rule) > len("header:"):
                places.append((rule.lower(), rule.removeprefix("header:").lower().encode("latin-1"), bytes.strip))
            else:
                raise ConfigError(f"identity rule {rule!r} is unknown; use 'api-key' or 'header:NAME'")
        self._places = places

    def user(self, scope: Mapping[str, Any]) -> str:
        """The pseudonym that an ASGI request is charged to; `anonymous` where no rule finds anybody."""
        if self._identify is not None:
            subject = self._identify(scope)
            return self._pseudonym(IDENTIFY, subject.encode("utf-8", "surrogatepass")) if subject else ANONYMOUS
        for rule, name, read in self._places:
            for value in _values(scope, name):
                subject_bytes = read(value)
                if subject_bytes:
                    return self._pseudonym(rule, subject_bytes)
        return ANONYMOUS

    def _pseudonym(self, rule: str, subject: bytes) -> str:
        found = self._cache.get((rule, subject))
        if found is None:
            if len(self._cache) >= _CACHED_CALLERS:
                self._cache.clear()
            found = self._pseudonymizer.of(rule, subject.decode("utf-8", "surrogateescape"))
            self._cache[rule, subject] = found
        return found


def _values(scope: Mapping[str, Any], name: bytes) -> list[bytes]:
    """All values of a header; or the query."""
    if name == _QUERY:
        return [scope.get("query_string", b"")]
    headers: Headers = scope["headers"]
    return [value for header, value in headers if header == name]


def _key_in_query(query: bytes) -> bytes:
    for parameter in query.split(b"&") if _KEY_PARAMETER in query else ():
        if parameter.startswith(_KEY_PARAMETER):
            return unquote_to_bytes(parameter.removeprefix(_KEY_PARAMETER)).strip()
    return b""


def _bearer_token(value: bytes) -> bytes:
    parts = value.split(None, 1)
    return parts[1].strip() if len(parts) > 1 and parts[0].lower() == b"bearer" else b""
