"""Who is meant on the command line: a pseudonym, a label, an API key, a user id -> the account."""

from __future__ import annotations

import sys
from typing import Final

import typer

from headwater import config
from headwater.cli import is_terminal
from headwater.errors import ConfigError
from headwater.identity import ANONYMOUS, Pseudonymizer, is_pseudonym, key_fingerprint, load_key
from headwater.ledger import Reader
from headwater.ledger.schema import ERASED
from headwater.printable import printable

_HEADER: Final = "header:"


def account_of(
    reader: Reader, settings: config.Settings, name: str | None, *, api_key: bool, subject: str | None
) -> str:
    """The account that is meant, by exactly one of: a name, an API key that is asked for, `RULE:VALUE`.

    Raises:
        ConfigError: nobody can be meant, or more than one; the message says what to write instead.
    """
    if (name is not None) + api_key + (subject is not None) != 1:
        raise ConfigError("name one person: by ID, by --api-key or by --subject")
    if api_key:
        return _pseudonymizer(reader, settings).of("api-key", _asked_key())
    if subject is not None:
        return _pseudonymizer(reader, settings).of(*_rule_and_value(subject))
    assert name is not None  # noqa: S101  # one of the three is there
    return _named(reader, settings, name)


def _named(reader: Reader, settings: config.Settings, name: str) -> str:
    if is_pseudonym(name) or name in (ANONYMOUS, ERASED):
        return name
    found = {user for user, label in reader.labels().items() if label == name}
    if name in settings.identity.labels:
        found.add(_pseudonymizer(reader, settings).of_rule(settings.identity.labels[name]))
    if len(found) > 1:
        raise ConfigError(
            f"{printable(name)!r} is the label of {len(found)} accounts: {', '.join(sorted(found))}; write one of these"
        )
    if not found:
        raise ConfigError(
            f"{printable(name)!r} is no pseudonym (32 hex digits), not {ANONYMOUS!r}, and no label in the settings or the ledger; "
            "see headwater user list, or use --api-key or --subject"
        )
    return found.pop()


def _pseudonymizer(reader: Reader, settings: config.Settings) -> Pseudonymizer:
    key = load_key(settings.ledger.data_dir, create=False)
    stored = reader.people.fingerprint()
    if stored is not None and stored != key_fingerprint(key):
        raise ConfigError(
            f"the identity key in {settings.ledger.data_dir} ({key_fingerprint(key)}) is not the one of the ledger's store "
            f"({stored}): it would find somebody else; run this where the ledger's own key is, or give the pseudonym"
        )
    return Pseudonymizer(key)


def _asked_key() -> str:
    """Asked for on a terminal, unseen; else a line of standard input. Never an argument, which others could read."""
    if is_terminal():
        found: str = typer.prompt("API key", hide_input=True, err=True)
    else:
        found = sys.stdin.readline()
    if not found.strip():
        raise ConfigError("no API key was given; write it on one line of standard input")
    return found.strip()


def _rule_and_value(subject: str) -> tuple[str, str]:
    rule, _, value = subject.partition(":")
    if rule.lower() == _HEADER.rstrip(":"):
        header, _, value = value.partition(":")
        rule = f"{_HEADER}{header}" if header else ""
    if rule.lower() == "api-key":
        raise ConfigError("an API key does not belong on a command line, where others can read it; use --api-key")
    if not value or not (rule.lower() == "identify" or rule.lower().startswith(_HEADER)):
        raise ConfigError(
            f"--subject {printable(subject)!r} is not of the form header:NAME:VALUE or identify:VALUE, as in [identity]"
        )
    return rule.lower(), value
