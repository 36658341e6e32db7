"""Connections to the store that fail fast and never repeat a command by themselves, and the one error for all they raise.

A server at an address, one that Sentinels name, or a cluster; with TLS and a login. What the driver does unasked is turned
off: it repeats commands whose reply was lost, which would count twice what is not idempotent. It goes on doing this: it
follows a cluster's redirections (MOVED, ASK, TRYAGAIN: the server did nothing yet), and in a cluster it sends the commands
of a pipeline once more whose connection broke; the pipelines here read, or write the same again.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel

from headwater.endpoint import Endpoint, Service, endpoint_of, masked
from headwater.errors import ConfigError, LedgerError

SHIP_TIMEOUT_S: Final = 0.25
READ_TIMEOUT_S: Final = 5.0
CLIENT_NAME: Final = "headwater"

RIGHTS: Final = (
    "resetkeys ~hw* resetchannels -@all "
    "+get +set +mget +incr +expire +pexpire +exists +setbit +sadd +smembers +hget +hset +hsetnx +hdel +hlen +hmget +hgetall +hincrby "
    "+xadd +xrange +xrevrange +xtrim +xlen +ping +dbsize +slowlog|get "
    "+evalsha +script|load +time +wait +waitaof +info +config|get "
    "+client|setname +client|setinfo +select +asking +command +cluster|info +cluster|slots +cluster|nodes"
)
"""All that the ledger's user needs: `ACL SETUSER headwater on >password` and this. A right that only a script needs is missed
late: what it may not write is counted as refused, aloud."""

MAINTENANCE_RIGHTS: Final = (
    f"{RIGHTS} +eval +del +unlink +rename +srem +setrange +hkeys +hexists +zrange +ttl +pttl +type +xdel +xsetid +bgrewriteaof "
    "+xgroup|create +xgroup|destroy +xgroup|setid +xreadgroup +xack +xpending +xinfo|groups +xinfo|stream"
)
"""What the user of `close`, `user`, `export` and `migrate` needs; those that only read need no more than the ledger's."""

ClientFactory = Callable[[Endpoint, float], "redis.Redis"]
"""From an endpoint and a socket timeout in seconds, a client that does not retry."""


class StoreError(LedgerError):
    """The store cannot be reached or refused a command for now; nothing is known to be lost."""


class AccessError(ConfigError, LedgerError):
    """The store is there and does not let us in as we are set up. Stops a start; later it is tried again, as certificates
    and passwords are also changed on the other side."""


def connect(where: str | Endpoint, timeout_s: float) -> redis.Redis:
    """A client that fails fast and never repeats a command by itself. Connects with the first command.

    Raises:
        ConfigError: the address or a file of the endpoint cannot be used.
    """
    endpoint = endpoint_of(where)
    options = _options(endpoint, timeout_s)
    service = endpoint.service
    if service is not None:
        return _guided(endpoint, service, options)
    with _spelled(endpoint):
        if endpoint.addresses:
            pool = _Seeking.pool(endpoint, options)
            client = redis.Redis.from_pool(pool)
        else:
            client = redis.Redis.from_url(endpoint.bare_url, **options)
            pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # connects to nothing: sees what the address asks for
    return client


def connect_cluster(where: str | Endpoint, timeout_s: float) -> redis.RedisCluster:
    """The same for a cluster that the server at an address belongs to. Asks it for the others.

    Raises:
        RedisError, RedisClusterException: it does not answer, or is no cluster's.
    """
    endpoint = endpoint_of(where)
    options = _options(endpoint, timeout_s)
    # A part of a cluster that is down must not keep charges from the others.
    options["require_full_coverage"] = False
    if not endpoint.addresses:
        return redis.RedisCluster.from_url(endpoint.bare_url, **options)
    nodes = [redis.cluster.ClusterNode(host, port) for host, port in endpoint.addresses]  # type: ignore[no-untyped-call]
    return redis.RedisCluster(startup_nodes=nodes, ssl=endpoint.has_tls, **options, **_parameters(endpoint))


def _options(endpoint: Endpoint, timeout_s: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
        "client_name": CLIENT_NAME,
        **_login(endpoint),
        **_tls(endpoint),
    }


# -- several servers --------------------------------------------------------------------------------------------------


class _Seeking:
    """A connection to the first of several servers that answers."""

    def __init__(self, *, addresses: tuple[tuple[str, int], ...], **options: Any) -> None:
        self._addresses = addresses
        super().__init__(**options)

    def _connect(self) -> Any:
        failed: OSError | None = None
        for host, port in self._addresses:
            self.host, self.port = host, port
            try:
                return super()._connect()  # type: ignore[misc]
            except OSError as error:
                failed = error
        assert failed is not None  # noqa: S101  # there are several
        raise failed

    @staticmethod
    def pool(endpoint: Endpoint, options: dict[str, Any]) -> redis.ConnectionPool:
        kind = _SeekingTls if endpoint.has_tls else _SeekingPlainly
        asked = {**options, "db": endpoint.database, **_parameters(endpoint)}
        return redis.ConnectionPool(connection_class=kind, addresses=endpoint.addresses, **asked)


class _SeekingPlainly(_Seeking, redis.Connection):
    pass


class _SeekingTls(_Seeking, redis.SSLConnection):
    pass


# -- Sentinel ---------------------------------------------------------------------------------------------------------


class _Guided(redis.Redis):
    """A client of the master that Sentinels name; closes its connections to them, too."""

    def close(self) -> None:
        super().close()
        pool: Any = self.connection_pool
        pool.sentinel_manager.close()


def _guided(endpoint: Endpoint, service: Service, options: dict[str, Any]) -> redis.Redis:
    """Every new connection asks the Sentinels first, so that after a failover the next one finds the new master."""
    with _spelled(endpoint):
        asked = _parameters(endpoint)
        own = {name: asked.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in asked}
        if endpoint.has_tls:
            asked["ssl"] = True
        # Without these, the clients that ask the Sentinels would repeat with pauses of up to seconds.
        plain = {name: value for name, value in options.items() if name not in {"credential_provider", *_LOGIN}}
        plain |= {name: value for name, value in asked.items() if name.startswith("ssl")}
        guide: Any = Sentinel(  # type: ignore[no-untyped-call]
            service.sentinels,
            sentinel_kwargs={**plain, **own},
            **{**options, **asked, "db": service.database},
        )
        return cast("redis.Redis", guide.master_for(service.name, redis_class=_Guided))


def _parameters(endpoint: Endpoint) -> dict[str, Any]:
    """What is asked for behind the question mark of an address, as the driver reads it."""
    query = endpoint.url.partition("?")[2]
    return cast("dict[str, Any]", redis.connection.parse_url(f"redis://?{query}"))  # type: ignore[no-untyped-call]


@contextmanager
def _spelled(endpoint: Endpoint) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, RedisError) as error:
        # The driver's words may hold parts of the address.
        raise ConfigError(
            f"HEADWATER_REDIS_URL {masked(endpoint.url)!r} cannot be used: the driver knows no such parameter, or no such "
            f"value of one ({type(error).__name__})"
        ) from None


# -- login and TLS ----------------------------------------------------------------------------------------------------

_LOGIN: Final = ("username", "password")


class _PasswordFile(CredentialProvider):
    """Reads the password anew for each connection."""

    def __init__(self, username: str | None, path: Path) -> None:
        self._username = username
        self._path = path

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """User and password, or the default user's password.

        Raises:
            AccessError: there is none in the file.
        """
        try:
            password = self._path.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            told = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise AccessError(f"cannot read password_file {self._path}: {told}") from None
        if not password:
            raise AccessError(f"password_file {self._path} is empty; write the store's password into it, on one line")
        return (self._username, password) if self._username else (password,)


def _login(endpoint: Endpoint) -> dict[str, Any]:
    username, password = endpoint.login()
    if endpoint.password_file is not None:
        provider = _PasswordFile(username, endpoint.password_file)
        provider.get_credentials()  # a file that is not there stops the start
        return {"credential_provider": provider}
    found = zip(_LOGIN, (username, password), strict=True)
    return {name: value for name, value in found if value is not None}


def _tls(endpoint: Endpoint) -> dict[str, Any]:
    files = {
        "ssl_ca_certs": endpoint.tls_ca,
        "ssl_certfile": endpoint.tls_cert,
        "ssl_keyfile": endpoint.tls_key,
    }
    _check_files(endpoint)
    return {name: str(path) for name, path in files.items() if path is not None}


def _check_files(endpoint: Endpoint) -> None:
    context = ssl.create_default_context()
    for name, path in (("tls_ca", endpoint.tls_ca), ("tls_cert", endpoint.tls_cert), ("tls_key", endpoint.tls_key)):
        if path is None:
            continue
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read {name} {path}: {error.strerror}") from None
    if endpoint.tls_ca is not None:
        try:
            context.load_verify_locations(cafile=endpoint.tls_ca)
        except ssl.SSLError:
            raise ConfigError(f"tls_ca {endpoint.tls_ca} has no certificate in it; it must be a PEM file") from None
    if endpoint.tls_cert is not None:
        key = endpoint.tls_key or endpoint.tls_cert
        try:
            # An answer at once where the key is encrypted: else OpenSSL asks on the terminal.
            context.load_cert_chain(endpoint.tls_cert, endpoint.tls_key, password="")
        except ssl.SSLError as error:
            raise ConfigError(
                f"tls_cert {endpoint.tls_cert} and its key in {key} cannot be used ({error.reason or 'no PEM file'}); they must be "
                "PEM files that belong together, the key not encrypted"
            ) from None


# -- errors -----------------------------------------------------------------------------------------------------------

_UNTRUSTED: Final = "the store's TLS certificate is not accepted"
_NO_TLS: Final = "no TLS where the ledger's store should be; write redis:// for a server without TLS, or check the port"
_SLOW_TLS: Final = " (no answer to the TLS handshake; write redis:// for a server without TLS)"
_NO_CLIENT_CERTIFICATE: Final = "the ledger's store asks for a client certificate; set tls_cert and tls_key of [ledger]"


@contextmanager
def refusals() -> Iterator[None]:
    """Tell the driver's errors as one of the ledger's.

    Raises:
        AccessError: the store is there and does not let us in as we are set up.
        StoreError: it does not answer for now.
    """
    try:
        yield
    except (RedisError, RedisClusterException) as error:
        told = _misconfigured(error)
        if told:
            raise AccessError(told) from error
        hint = (
            _SLOW_TLS
            if any(isinstance(each, TimeoutError) and "handshake" in str(each) for each in _chain(error))
            else ""
        )
        raise StoreError(f"the ledger's store does not answer as it should: {error}{hint}") from error


def _misconfigured(error: BaseException) -> str | None:
    """What the operator has to change; None where waiting may help."""
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"{_UNTRUSTED}: {each.verify_message}; check the host name in HEADWATER_REDIS_URL and tls_ca of [ledger]"
        if isinstance(each, ssl.SSLError):
            reason = each.reason or ""
            if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
                return _NO_TLS
            if "CERTIFICATE_REQUIRED" in reason:
                return _NO_CLIENT_CERTIFICATE
            if "ALERT" in reason and ("CERT" in reason or "UNKNOWN_CA" in reason):
                return f"the ledger's store does not accept tls_cert of [ledger] ({reason.replace('_', ' ').lower()})"
        if isinstance(each, AuthenticationError | AuthenticationWrongNumberOfArgsError):
            return f"the ledger's store refuses the login ({each}); check the user and the password of [ledger]"
        if isinstance(each, NoPermissionError):
            return f"the ledger's store refuses a command ({each}); its user needs: {RIGHTS}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
