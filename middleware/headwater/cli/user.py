"""`headwater user`: what the ledger holds of single people; exported and erased on their demand."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from headwater import config
from headwater.cli import ConfigOption, app, explained, is_terminal, opened, say
from headwater.cli.progress import progress
from headwater.errors import ConfigError
from headwater.printable import printable
from headwater.tables import aligned, rule, widths

if TYPE_CHECKING:
    from headwater.ledger import Reader
    from headwater.ledger.people import Holdings
    from headwater.ledger.redis import Store

user_app = typer.Typer(
    help="What the ledger holds of single people: list, show, export, erase; and the key behind their pseudonyms.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(user_app, name="user")

IdArgument = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="A pseudonym (32 hex digits), a label, or 'anonymous'.")
]
ApiKeyOption = Annotated[
    bool, typer.Option("--api-key", help="The person with this API key: asked for, or a line of standard input.")
]
SubjectOption = Annotated[
    str | None,
    typer.Option(metavar="RULE:VALUE", help="The person with this user id: header:NAME:VALUE or identify:VALUE."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class ExportFormat(StrEnum):
    """How an export is written."""

    JSON = "json"
    JSONL = "jsonl"


@user_app.command("list")
def list_users(as_json: JsonOption = False, settings: ConfigOption = None) -> None:
    """List every account: pseudonym, label, first and last month.

    \b
    Examples:
      headwater user list
      headwater user list --json | jq -r 'select(.label == null) | .user'
    """
    with explained(), opened(config.load(settings)) as reader:
        labels = reader.labels()
        if not as_json:
            say(f"{'user':32}  first    last     label")
        for user, first, last in reader.people.users():
            label = labels.get(user)
            if as_json:
                say(json.dumps({"user": user, "label": label, "first_month": first, "last_month": last}))
            else:
                say(f"{user:32}  {first}  {last}  {printable(label or '')}".rstrip())


@user_app.command()
def show(
    user_id: IdArgument = None,
    api_key: ApiKeyOption = False,
    subject: SubjectOption = None,
    as_json: JsonOption = False,
    settings: ConfigOption = None,
) -> None:
    """Show one account: its months, and how many single charges are kept.

    \b
    Examples:
      headwater user show ada
      headwater user show --subject header:x-user-id:ada@example.org
      headwater user show --api-key < key.txt
    """
    from headwater.cli.persons import account_of
    from headwater.ledger.rows import FIELDS, total
    from headwater.ledger.schema import is_month
    from headwater.units import MICROJOULES_PER_J

    with explained():
        loaded = config.load(settings)
        with opened(loaded) as reader:
            user = account_of(reader, loaded, user_id, api_key=api_key, subject=subject)
            months: dict[str, list[tuple[int, ...]]] = {}
            for row in reader.people.rows(user):
                if is_month(row.period):
                    months.setdefault(row.period, []).append(row.sums)
            with progress("charges") as stage:
                held = reader.people.holdings(user, stage("counting"))
            label = reader.labels().get(user)
    sums = {month: dict(zip(FIELDS, total(parts), strict=True)) for month, parts in months.items()}
    if as_json:
        document = {
            "v": 1,
            "user": user,
            "label": label,
            "charges": held.charges_count,
            "rows": held.rows_count,
            "months": [{"month": month, **found} for month, found in sums.items()],
        }
        say(json.dumps(document, indent=2, ensure_ascii=False))
        return
    say(f"{user}{f' ({printable(label)})' if label else ''}: {_held(held)}")
    body = [
        [month, f"{found['requests_count']:,}", f"{found['energy_microjoules'] / MICROJOULES_PER_J:,.0f}"]
        for month, found in sums.items()
    ]
    if body:
        head = ["month", "requests", "energy J"]
        wide = widths([head, *body])
        say("\n".join([aligned(head, wide), rule(wide), *(aligned(cells, wide) for cells in body)]))


@user_app.command()
def export(
    user_id: IdArgument = None,
    api_key: ApiKeyOption = False,
    subject: SubjectOption = None,
    output: Annotated[
        Path | None, typer.Option(help="A new file, which only you can read; else standard output.")
    ] = None,
    output_format: Annotated[
        ExportFormat, typer.Option("--format", help="One JSON document, or a record a line.")
    ] = ExportFormat.JSON,
    settings: ConfigOption = None,
) -> None:
    """Write everything that the ledger holds of one person: accounts by month, model and site, and by day, every single charge
    with all that its receipt is made from, and the documents of the deployments.

    \b
    Examples:
      headwater user export ada --output ada.json
      headwater user export --api-key --format jsonl < key.txt
    """
    from headwater.cli.persons import account_of
    from headwater.reports.person import SECTIONS, account, records

    with explained():
        loaded = config.load(settings)
        with opened(loaded) as reader, progress("charges") as stage:
            user = account_of(reader, loaded, user_id, api_key=api_key, subject=subject)
            with _written(output) as out:
                found = records(reader, user, stage("exporting"))
                head = account(reader, user)
                if output_format is ExportFormat.JSONL:
                    _lines(out, head, found)
                else:
                    _document(out, head, SECTIONS, found)


@contextmanager
def _written(output: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a new file that only its owner can read; a file that was not finished is removed."""
    if output is None:
        yield sys.stdout
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}; name another file with --output") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            yield out
    except BaseException:
        output.unlink(missing_ok=True)
        raise


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _lines(out: IO[str], head: dict[str, Any], found: Iterator[tuple[str, dict[str, Any]]]) -> None:
    out.write(_json({"record": "account", **head}) + "\n")
    for section, record in found:
        out.write(_json({"record": section.removesuffix("s"), **record}) + "\n")


def _document(
    out: IO[str], head: dict[str, Any], sections: tuple[str, ...], found: Iterator[tuple[str, dict[str, Any]]]
) -> None:
    """One object, written as its records come: they may be more than fit into memory."""
    out.write(_json(head).removesuffix("}"))
    left = iter(sections)
    current, separator = "", ""
    for section, record in found:
        while section != current:
            out.write(("\n]" if current else "") + f',"{(current := next(left))}":[')
            separator = "\n"
        out.write(separator + _json(record))
        separator = ",\n"
    out.write("\n]" if current else "")
    out.write("".join(f',"{section}":[]' for section in left) + "}\n")


@user_app.command()
def erase(
    user_id: IdArgument = None,
    api_key: ApiKeyOption = False,
    subject: SubjectOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
    settings: ConfigOption = None,
) -> None:
    """Erase one person: accounts, single charges, receipts and the label go; the amounts move to the account 'erased', so that
    sums stay what they are. Cut short, it can be run again. It cannot be undone.

    What is charged from now on, or still stands in the journal of a running process, opens a new account. Backups, exports
    and statements that were sent out are not reached.

    \b
    Examples:
      headwater user erase ada --dry-run
      headwater user erase ada
      headwater user erase --api-key --yes < key.txt
    """
    from headwater.cli.persons import account_of
    from headwater.ledger.statements import erase

    with explained():
        loaded = config.load(settings)
        with opened(loaded) as reader, progress("charges") as stage:
            user = account_of(reader, loaded, user_id, api_key=api_key, subject=subject)
            if dry_run or not yes:
                held = reader.people.holdings(user, stage("counting"))
                if dry_run:
                    say(f"{user}: {_held(held)}; nothing was erased")
                    return
                _confirm(user, _held(held))
            gone = erase(reader.books.store, user, stage("erasing"))
            say(f"{user}: {_held(gone)} erased; the amounts are in the account 'erased'")
            for line in _left_over(reader, loaded, user):
                say(line)


def _confirm(user: str, held: str) -> None:
    if not is_terminal():
        raise ConfigError("erasing cannot be undone: add --yes, or run it on a terminal, where it asks")
    if not typer.confirm(f"Erase {user}: {held}? This cannot be undone", err=True):
        say("nothing was erased")
        raise typer.Exit(1)


def _held(held: Holdings) -> str:
    label = " and a label" if held.has_label else ""
    return f"{held.rows_count:,} sums and {held.charges_count:,} single charges{label}"


def _left_over(reader: Reader, settings: config.Settings, user: str) -> Iterator[str]:
    """What an operator must know or do afterwards."""
    if settings.ledger.redis_url is None:
        reader.people.rewrite_file()
    else:
        yield "the server's append-only file has the old values until it is rewritten: run BGREWRITEAOF on each of its servers"
    if user in _labelled(settings):
        yield "the settings still have a label for this person: remove it from [identity.labels], or it comes back"


def _labelled(settings: config.Settings) -> set[str]:
    from headwater.identity import Pseudonymizer, load_key

    if not settings.identity.labels:
        return set()
    pseudonymizer = Pseudonymizer(load_key(settings.ledger.data_dir, create=False))
    return {pseudonymizer.of_rule(found) for found in settings.identity.labels.values()}


@user_app.command("rotate-key")
def rotate_key(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    settings: ConfigOption = None,
) -> None:
    """Replace the identity key: every account, label and single charge gets a new pseudonym, which the old key cannot link to
    anybody. Stop all processes before, and give all of them the new identity.key after. Cut short, it can be run again.

    \b
    Examples:
      headwater user rotate-key
      headwater user rotate-key --yes
    """
    from headwater.identity import adopt_next_key, key_fingerprint, renames
    from headwater.ledger import Reader, Retention
    from headwater.ledger.linked import StatementLinks
    from headwater.ledger.reader import opened_store
    from headwater.ledger.rotation import Rotation

    with explained():
        loaded = config.load(settings)
        ledger, retention = loaded.ledger, Retention(**loaded.retention.seconds())
        with (
            opened_store(ledger.data_dir, ledger.endpoint, retention=retention) as store,
            progress("charges") as stage,
        ):
            store.check(None, is_rotating=True)
            if store.fingerprint() is None:
                raise ConfigError("nothing was charged to this ledger yet: there is no account to give another name")
            following = _following_key(store, ledger.data_dir, yes=yes)
            now, stored = key_fingerprint(following), store.fingerprint() or ""
            before = renames(following)
            present = stored if stored in before else list(before)[-1]
            links = [StatementLinks(store)]
            Rotation(store, present=present, following=now, rename=before[present], links=links).run(
                ledger.data_dir, stage("renaming")
            )
        adopt_next_key(ledger.data_dir)
        # What dead processes left under the old key is charged now.
        Reader.open(
            data_dir=ledger.data_dir,
            redis_url=ledger.endpoint,
            retention=retention,
            renames=renames(following),
            key_fingerprint=now,
        ).close()
    say(f"the identity key is now {now} (was {present}); keep a copy of {ledger.data_dir / 'identity.key'}")
    if ledger.redis_url is not None:
        say(
            "copy this file into the data folder of every machine that uses this store before its processes start again"
        )


def _following_key(store: Store, data_dir: Path, *, yes: bool) -> bytes:
    """The keys to go on to: those of a rotation that was begun, else the present ones with a new one behind them."""
    from headwater.identity import NEXT_FILE, key_fingerprint, load_key, next_key, renames
    from headwater.ledger.rotation import check_nobody_charges

    key, begun = load_key(data_dir, create=False), store.rotating()
    if begun == key_fingerprint(key) or (begun is None and store.fingerprint() in renames(key)):
        return key  # the file was put in its place, and then the store fell back by the second that it had not written
    if begun is not None and not (data_dir / NEXT_FILE).exists():
        raise ConfigError(
            f"a rotation to another identity key was begun ({begun}), and its {NEXT_FILE} is not in {data_dir}; go on where it "
            "was begun, or bring that file here"
        )
    if begun is None:
        check_nobody_charges(data_dir)  # before a key is made that nothing would use
        if not yes:
            _confirm_rotation()
    return next_key(data_dir)


def _confirm_rotation() -> None:
    if not is_terminal():
        raise ConfigError(
            "all processes must be stopped: add --yes when they are, or run it on a terminal, where it asks"
        )
    if not typer.confirm("Are all processes that charge to this ledger stopped? Replace its identity key", err=True):
        say("nothing was changed")
        raise typer.Exit(1)
