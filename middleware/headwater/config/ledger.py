"""Where the ledger is, how to log in there, and how long it waits. Reads no file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator

from headwater.config.section import Name, Section
from headwater.endpoint import Endpoint

_LOGIN: Final = ("username", "password", "password_file", "tls_ca", "tls_cert", "tls_key", "replicas")


class LedgerSettings(Section):
    """`[ledger]`. Without `redis_url` a real server of our own is started in `data_dir`; with it, the settings below say how
    to log in there, and what to wait for.

    `journal_bytes`: the most that each process keeps on disk of what the store does not have yet. `when_full`: what becomes
    of new requests then. `count`: they pass, and their charges are lost, counted and reported; `refuse`: 503.
    `grace_hours`: so long after a month charges of it are awaited, before it can be closed.
    """

    redis_url: str | None = Field(default=None, repr=False)
    username: Name | None = None
    password: SecretStr | None = None
    """Rather in the environment, HEADWATER_REDIS_PASSWORD, or in a file."""
    password_file: Path | None = None
    """Read at each connection."""
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    replicas: Annotated[int, Field(ge=0)] | None = None
    """How many replicas must have a charge before the journal lets go of it; None: one, where the server has any."""
    grace_hours: Annotated[float, Field(ge=0, le=31 * 24)] = 72.0
    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("headwater"))
    journal_bytes: Annotated[int, Field(ge=1 << 20)] = 1 << 30  # eleven hours of 50 requests/s
    when_full: Literal["count", "refuse"] = "count"

    @field_validator("data_dir", "password_file", "tls_ca", "tls_cert", "tls_key")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        try:
            return None if value is None else value.expanduser().absolute()
        except RuntimeError as error:  # no such user, or a user without a home
            raise ValueError(f"{error}; write the whole path") from None

    @field_validator("redis_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            Endpoint(url=value)
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = [name for name in _LOGIN if getattr(self, name) is not None]
        if self.redis_url is None and given:
            raise ValueError(f"{given[0]} is for the server that redis_url names; give that, or leave {given[0]} out")
        _ = self.endpoint
        return self

    @property
    def endpoint(self) -> Endpoint | None:
        """The server that somebody else runs, with the login; None: our own."""
        if self.redis_url is None:
            return None
        return Endpoint(
            url=self.redis_url,
            username=self.username,
            password=None if self.password is None else self.password.get_secret_value(),
            password_file=self.password_file,
            tls_ca=self.tls_ca,
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
            replicas_count=self.replicas,
        )
