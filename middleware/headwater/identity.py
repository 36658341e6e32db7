"""Who is charged. Turns what authentication saw into a pseudonym; keeps no name and no key in clear.

A pseudonym is HMAC-SHA-256 under a key of this installation, cut to 128 bits: plain hashes of e-mail addresses and of
short keys can be guessed, keyed ones cannot. What a client merely says about itself counts only if the operator names
that header.

A key can be replaced by another, though no subject is kept: the new pseudonym is made from the old one under the new key.
The file then holds all keys, oldest first; together they are one function from subjects to pseudonyms.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import itertools
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from headwater.errors import ConfigError

ANONYMOUS: Final = "anonymous"
IDENTIFY: Final = "identify"
"""The rule's name of an operator's own callable, in labels."""
KEY_FILE: Final = "identity.key"
NEXT_FILE: Final = "identity.key.next"
"""The keys after a rotation that is under way."""
_KEY_BYTES: Final = 32
_SEVERAL: Final = b"headwater identity keys\n"
"""What a file of more than one key begins with; then each key in hex, on a line of its own. One key alone is its bytes."""
_PLACES: Final = 64
_PSEUDONYM_DIGITS: Final = 32
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


def load_key(data_dir: Path, *, create: bool = True) -> bytes:
    """The installation's identity key, or its keys; made on first use in a file that only its owner can read (mode 0600).

    Raises:
        ConfigError: the file cannot be made or read, or holds no key.
    """
    path = data_dir / KEY_FILE
    try:
        if create:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if create and not path.exists():
            _create_key(path, secrets.token_bytes(_KEY_BYTES))
        key = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot use the identity key {path}: {error}; name another folder with HEADWATER_DATA_DIR"
        ) from error
    _check(key, path)
    return key


def _check(key: bytes, path: Path) -> None:
    if len(key) < _KEY_BYTES:
        raise ConfigError(
            f"the identity key {path} has {len(key)} bytes, {_KEY_BYTES} are needed; restore it from a backup"
        )
    try:
        is_whole = all(len(each) >= _KEY_BYTES for each in _keys(key))
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ConfigError(f"the identity keys in {path} are damaged; restore the file from a backup")


@lru_cache(maxsize=8)
def _keys(key: bytes) -> tuple[bytes, ...]:
    """All keys of an installation, oldest first."""
    if not key.startswith(_SEVERAL):
        return (key,)
    return tuple(bytes.fromhex(line.decode()) for line in key.removeprefix(_SEVERAL).split(b"\n") if line) or (b"",)


def _several(keys: Iterable[bytes]) -> bytes:
    return _SEVERAL + b"".join(each.hex().encode() + b"\n" for each in keys)


def next_key(data_dir: Path) -> bytes:
    """The present keys with a new one behind them, in a file of its own: the same ones until they are adopted.

    Raises:
        ConfigError: the file cannot be made or read.
    """
    path = data_dir / NEXT_FILE
    try:
        if not path.exists():
            present = load_key(data_dir, create=False)
            _create_key(path, _several([*_keys(present), secrets.token_bytes(_KEY_BYTES)]))
        key = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot make the next identity key {path}: {error}") from error
    _check(key, path)
    return key


def adopt_next_key(data_dir: Path) -> None:
    """Put the next keys in the place of the present ones; nothing where there are none."""
    try:
        if (data_dir / NEXT_FILE).exists():
            (data_dir / NEXT_FILE).replace(data_dir / KEY_FILE)
            _sync(data_dir)
    except OSError as error:
        raise ConfigError(f"cannot put {NEXT_FILE} in the place of {KEY_FILE} in {data_dir}: {error}") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create_key(path: Path, key: bytes) -> None:
    # Written under another name and linked, so that two processes starting together agree on one whole key.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    _sync(path.parent)


def key_fingerprint(key: bytes) -> str:
    """A name for the key, or the keys, that does not give it away; stands in the store, so that another key is noticed."""
    return _fingerprints(key)[-1]


def _fingerprints(key: bytes) -> list[str]:
    """The names that an installation's keys have had, with the first, with the first two, and so on."""
    names = [""]
    for each in _keys(key):
        names.append(hmac.new(each, b"headwater key fingerprint" + names[-1].encode(), hashlib.sha256).hexdigest()[:16])
    return names[1:]


Rename = Callable[[str], str]
"""From a pseudonym, or the name of an account that is nobody's, to what it is called now."""


def renames(key: bytes) -> dict[str, Rename]:
    """For each name that the keys have had before: from the pseudonyms of that time to those of now."""
    keys = _keys(key)

    def since(number: int) -> Rename:
        @lru_cache(maxsize=_CACHED_CALLERS)
        def rename(user: str) -> str:
            for each in keys[number:]:
                user = _renamed(each, user)
            return user

        return rename

    return {name: since(number) for number, name in enumerate(_fingerprints(key)[:-1], 1)}


def _renamed(key: bytes, user: str) -> str:
    """A pseudonym under one more key. It stays at its place among 64, so that an account stays on its shard: with the
    totals that it is part of."""
    if not is_pseudonym(user):
        return user
    place = _place(user)
    for number in itertools.count():
        made = hmac.digest(key, f"{user}:{number}".encode(), "sha256").hex()[:_PSEUDONYM_DIGITS]
        if _place(made) == place:
            return made
    raise AssertionError("unreachable")  # pragma: no cover


def _place(user: str) -> int:
    return binascii.crc_hqx(user.encode(), 0) % _PLACES


def is_pseudonym(user: str) -> bool:
    """Whether it is one: 32 hex digits."""
    return len(user) == _PSEUDONYM_DIGITS and all(digit in "0123456789abcdef" for digit in user)


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
        first, *later = _keys(self.key)
        made = hmac.digest(first, f"{rule}:{digest}".encode(), "sha256").hex()[:_PSEUDONYM_DIGITS]
        for key in later:
            made = _renamed(key, made)
        return made

    def of_rule(self, found: str) -> str:
        """The pseudonym of `RULE:DIGEST`, as `[identity.labels]` has it."""
        rule, _, digest = found.rpartition(":")
        return self.of_digest(rule.lower(), digest)


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
