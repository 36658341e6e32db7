"""Where a store is and how to log in there: checked in words, and never shown with its secrets. Opens nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from headwater.errors import ConfigError

SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
PORT: Final = 6379
SENTINEL_PORT: Final = 26379
HIDDEN: Final = "***"
_LOGIN: Final = re.compile(r"//(?:(?P<user>[^:@/]*)(?::.*)?@)", re.DOTALL)
_SECRET_PARAMETER: Final = re.compile(r"([?&][a-z_]*password=)[^&]*", re.IGNORECASE)
_RESERVED: Final = "write / : @ ? # and % of a name or a password as %2F %3A %40 %3F %23 and %25"


def masked(url: str) -> str:
    """A store's address as it may be shown: without passwords, also where they are written wrongly."""
    return _SECRET_PARAMETER.sub(rf"\1{HIDDEN}", _LOGIN.sub(_hide, url))


def _hide(found: re.Match[str]) -> str:
    user, is_password_there = found["user"], ":" in found[0]
    return f"//{user}:{HIDDEN}@" if is_password_there else f"//{user}@"


class Service(NamedTuple):
    """What Sentinels watch: their addresses, the name of the service, and its database."""

    sentinels: tuple[tuple[str, int], ...]
    name: str
    database: int


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Endpoint:
    """A store's address, and what it takes to be let in.

    Raises ValueError, in words without secrets, where parts of it do not fit together.
    """

    url: str
    """`redis://`, `rediss://`, `unix://`, or `redis+sentinel://host:port,host:port/service/0`; with TLS `rediss+sentinel://`.
    Of a cluster several servers can be named, `redis://host:port,host:port`: the first that answers tells of the others."""
    username: str | None = None
    """None: the one in the URL, or the server's default user."""
    password: str | None = field(default=None, repr=False)
    """None: the one of `password_file`, in the URL, or none."""
    password_file: Path | None = None
    """Read at each connection, so that a password can be changed without a restart."""
    tls_ca: Path | None = None
    """Certificates (PEM) of who may vouch for the server; None: those that the system trusts."""
    tls_cert: Path | None = None
    """The client's certificate (PEM), where the server asks for one."""
    tls_key: Path | None = None
    """Its private key (PEM); None: it is in the same file."""
    replicas_count: int | None = None
    """How many replicas must have a charge before the journal lets go of it; None: one, where the server has any."""

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        parts = _parts(self.url)
        if self.password is not None and self.password_file is not None:
            raise ValueError(
                "there is a password (HEADWATER_REDIS_PASSWORD) and a password_file; leave one of them out"
            )
        if parts.password is not None and (self.password is not None or self.password_file is not None):
            raise ValueError("redis_url has a password, and there is another beside it; leave one of them out")
        if parts.username and self.username is not None:
            raise ValueError("redis_url has a user, and there is a username beside it; leave one of them out")
        if self.username is not None and self.password is None and self.password_file is None and not parts.password:
            raise ValueError("username needs a password: password_file, or HEADWATER_REDIS_PASSWORD")
        if not self.has_tls and any((self.tls_ca, self.tls_cert, self.tls_key)):
            raise ValueError("tls_ca, tls_cert and tls_key are used with rediss:// (or rediss+sentinel://) only")
        if self.tls_key is not None and self.tls_cert is None:
            raise ValueError("tls_key needs tls_cert, the certificate that it belongs to")

    @property
    def has_tls(self) -> bool:
        """Whether the address says that the server speaks TLS."""
        return self.url.startswith("rediss")

    @property
    def bare_url(self) -> str:
        """The address without user and password."""
        login, at, _ = _parts(self.url).netloc.rpartition("@")
        return self.url.replace(f"//{login}{at}", "//", 1)

    @property
    def service(self) -> Service | None:
        """What Sentinels are to be asked for; None where the address is the server's own."""
        parts = _parts(self.url)
        return _service(parts) if parts.scheme.endswith("+sentinel") else None

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports, where the address names several servers; else none."""
        parts = _parts(self.url)
        return _addresses(parts) if parts.scheme in {"redis", "rediss"} and "," in parts.netloc else ()

    @property
    def database(self) -> int:
        """The database behind the last slash of an address of one or several servers."""
        return _database(_parts(self.url).path.strip("/"))

    def login(self) -> tuple[str | None, str | None]:
        """User and password, as they stand in the settings or in the address; a password in a file is not among them."""
        parts = _parts(self.url)
        password = self.password if self.password is not None else parts.password and unquote(parts.password)
        return self.username or unquote(parts.username or "") or None, password or None

    def __repr__(self) -> str:
        """Shown without its secrets."""
        return f"Endpoint({masked(self.url)})"

    __str__ = __repr__


def endpoint_of(where: str | Endpoint) -> Endpoint:
    """An endpoint of an address alone; one that is complete stays.

    Raises:
        ConfigError: it is no address of a store.
    """
    if isinstance(where, Endpoint):
        return where
    try:
        return Endpoint(url=where)
    except ValueError as error:
        raise ConfigError(f"HEADWATER_REDIS_URL {masked(where)!r} cannot be used: {error}") from None


def _parts(url: str) -> SplitResult:
    # What the standard library says of a bad address contains pieces of it, perhaps of the password.
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"must begin with {', '.join(f'{each}://' for each in SCHEMES[:-1])} or {SCHEMES[-1]}://")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"is no address; {_RESERVED}") from None
    if parts.fragment or "@" in parts.path or parts.netloc.count("@") > 1:
        raise ValueError(f"is no address; {_RESERVED}")
    if parts.scheme.endswith("+sentinel"):
        _service(parts)
    elif parts.scheme != "unix":
        _addresses(parts)
        _database(parts.path.strip("/"))
    return parts


def _addresses(parts: SplitResult, default: int = PORT) -> tuple[tuple[str, int], ...]:
    named = parts.netloc.rpartition("@")[2].split(",")
    if len(named) > 1 and not all(named):
        raise ValueError("names no host between two commas")
    return tuple(_port(each, default) for each in named)


def _port(host_and_port: str, default: int) -> tuple[str, int]:
    host, colon, port = host_and_port.rpartition(":")
    if not colon or host_and_port.endswith("]"):  # an IPv6 address without a port
        host, port = host_and_port, str(default)
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ValueError(f"the port must be a number from 1 to 65535; {_RESERVED}")
    return host.strip("[]"), int(port)


def _database(path: str) -> int:
    if path and not (path.isascii() and path.isdigit()):
        raise ValueError("the database behind the last / must be a number")
    return int(path or 0)


def _service(parts: SplitResult) -> Service:
    name, _, database = parts.path.strip("/").partition("/")
    if not name or not parts.netloc.rpartition("@")[2]:
        raise ValueError(
            "must name the Sentinels and their service: redis+sentinel://host1:26379,host2:26379/mymaster/0"
        )
    return Service(_addresses(parts, SENTINEL_PORT), unquote(name), _database(database))
