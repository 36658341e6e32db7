"""`headwater export`: every single charge, to files or to another system."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater import config
from headwater.cli import ConfigOption, app, explained, opened, say
from headwater.cli.progress import progress
from headwater.errors import ConfigError
from headwater.printable import printable

if TYPE_CHECKING:
    from headwater.exports import Events, Folder, Summary
    from headwater.ledger.books import Books
    from headwater.ledger.exporting import Subscription

TOKEN_VARIABLE = "HEADWATER_EXPORT_TOKEN"  # noqa: S105  its name
FILES_EVERY_S = 60.0
EVENTS_EVERY_S = 1.0


class ExportFormat(StrEnum):
    """What an export is written in."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    CLOUDEVENTS = "cloudevents"


@app.command()
def export(
    to: Annotated[
        str | None, typer.Option(metavar="DIR|URL", help="A folder for files, or the address that takes events.")
    ] = None,
    output_format: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="Default: jsonl into a folder, cloudevents to an address."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--once", help="Go on as charges come in, or end at the present end.")
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            min=0.1,
            help=f"With --follow: seconds between two looks. Default: {FILES_EVERY_S:g} for files, {EVENTS_EVERY_S:g} for events.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Events: what the ledger remembers this receiver by. Default: made from the address."),
    ] = None,
    source: Annotated[
        str, typer.Option(help="Events: their `source`; receivers drop duplicates by it and the id.")
    ] = "headwater",
    per_request: Annotated[
        int, typer.Option(min=1, max=10_000, help="Events in a request; 1 sends single ones, not batches.")
    ] = 100,
    status: Annotated[
        bool, typer.Option("--status", help="Print how far every export is, and export nothing.")
    ] = False,
    reset: Annotated[
        bool, typer.Option("--reset", help="Forget how far the export is: the next one begins anew. Exports nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    settings: ConfigOption = None,
) -> None:
    """Hand every single charge to files (JSON Lines, Parquet) or, as CloudEvents 1.0, to another system.

    Goes on where the last export into the same folder, or to the same address, ended: also after a crash. Folders are
    partitioned by UTC day and hold every charge once; events may come again, with the same `source` and `id`. A token for the
    address is taken from HEADWATER_EXPORT_TOKEN. Single charges are kept for 400 days: export more often than that.

    \b
    Examples:
      headwater export --to ./charges
      headwater export --to ./charges-parquet --format parquet
      headwater export --to https://openmeter.example.org/api/v1/events --follow
      headwater export --status
      headwater export --to ./charges --reset
    """

    with explained():
        if to is None and not (status or (reset and name)):
            raise ConfigError("say where to export to: --to ./charges, or --to https://...; or ask for --status")
        if status and reset:
            raise ConfigError("--status and --reset exclude each other; reset first, then look")
        loaded = config.load(settings)
        with opened(loaded) as reader:
            books = reader.books
            if status:
                say(_status(books, None if to is None else _name(to, name), as_json))
            elif reset:
                say(_reset(books, _name(to, name), as_json))
            else:
                assert to is not None  # noqa: S101
                with _target(books, to, output_format, source, per_request) as target:
                    chosen = output_format or (ExportFormat.CLOUDEVENTS if _is_url(to) else ExportFormat.JSONL)
                    made = _run(books, target, _name(to, name), _about(to, chosen), _every(follow, every, to))
                say(json.dumps(made.as_dict(), indent=2) if as_json else _words(made, to))


def _is_url(to: str) -> bool:
    return "://" in to


def _every(follow: bool, every: float | None, to: str) -> float | None:
    if not follow:
        return None
    return every if every is not None else EVENTS_EVERY_S if _is_url(to) else FILES_EVERY_S


def _about(to: str, chosen: ExportFormat) -> dict[str, str]:
    from headwater.exports.events import shown

    return {"to": shown(to) if _is_url(to) else str(Path(to).absolute()), "format": chosen.value}


def _name(to: str | None, name: str | None) -> str:
    """What the ledger remembers a target by: a folder's own, an address's own unless another was given."""
    from headwater.exports.files import read_mark
    from headwater.ledger.exporting import checked_name

    if to is not None and not _is_url(to):
        if name is not None:
            raise ConfigError("--name is for addresses; a folder has its own name in it")
        return read_mark(Path(to))["name"]
    if name is not None:
        return checked_name(name)
    assert to is not None  # noqa: S101
    return f"events-{hashlib.sha256(to.encode()).hexdigest()[:16]}"


@contextmanager
def _target(
    books: Books, to: str, output_format: ExportFormat | None, source: str, per_request: int
) -> Iterator[Events | Folder]:
    from headwater.exports import Events, Folder

    if _is_url(to):
        if output_format not in (None, ExportFormat.CLOUDEVENTS):
            raise ConfigError(f"an address takes --format cloudevents, not {output_format}; name a folder for files")
        if not source or not source.isprintable():
            raise ConfigError(f"the source of events must be a name or an address, not {source!r}")
        events = Events(to, source=source, token=os.environ.get(TOKEN_VARIABLE), per_request=per_request)
        try:
            yield events
        finally:
            events.close()
        return
    if output_format is ExportFormat.CLOUDEVENTS:
        raise ConfigError(f"--format cloudevents goes to an address, not to {to!r}; name one with https://")
    with Folder(Path(to), output_format or ExportFormat.JSONL, ledger=books.store.fingerprint() or "") as folder:
        yield folder


def _run(books: Books, target: Events | Folder, name: str, about: dict[str, str], every_s: float | None) -> Summary:
    from headwater.exports import Summary, Unavailable
    from headwater.exports import export as hand_over
    from headwater.ledger.connection import StoreError
    from headwater.ledger.exporting import Subscription

    feed = Subscription(books, name)
    summary = Summary()
    with progress("charges") as stage, _ended_by_signal(every_s is not None):
        while True:
            try:
                feed.begin(about)
                _warn(feed)
                hand_over(feed, target, stage("exporting"), summary)
            except (StoreError, Unavailable) as error:
                if every_s is None:
                    raise
                typer.echo(f"headwater: {printable(str(error))}; trying again in {every_s:g} s", err=True)
            if every_s is None:
                break
            time.sleep(every_s)
    return summary


@contextmanager
def _ended_by_signal(is_endless: bool) -> Iterator[None]:
    """What has no end of its own ends well by SIGTERM and SIGINT: what was not committed comes again."""
    if not is_endless:
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _warn(feed: Subscription) -> None:
    for each in feed.standings():
        if each.has_missed:
            count = "charges may have been" if each.missed_count is None else f"{each.missed_count:,} charges were"
            typer.echo(
                f"headwater: shard {each.shard}: {count} removed before they were exported, after {_when(each.delivered)}; "
                "export more often, or keep single charges for longer",
                err=True,
            )


def _when(entry_id: str) -> str:
    from headwater.exports.columns import time_text
    from headwater.ledger.exporting import Position

    return "the beginning" if entry_id == "0-0" else time_text(Position.read(entry_id).time_ms)


def _words(made: Summary, to: str) -> str:
    words = [f"exported {made.exported_count:,} charges to {_about(to, ExportFormat.JSONL)['to']}"]
    if made.again_count:
        words.append(f"{made.again_count:,} of them had been under way before")
    if made.held_count:
        words.append(f"{made.held_count:,} more were there already")
    if made.gone_count:
        words.append(f"{made.gone_count:,} were erased meanwhile")
    return "; ".join(words)


def _status(books: Books, only: str | None, as_json: bool) -> str:
    from headwater.ledger.exporting import Subscription, subscriptions

    documents: list[dict[str, Any]] = []
    for name, about in subscriptions(books).items():
        if only in (None, name):
            shards = Subscription(books, name).standings()
            waiting = [each.waiting_count for each in shards]
            missed = [each.missed_count if each.is_behind else 0 for each in shards]
            documents.append(
                {
                    "name": name,
                    **about,
                    "waiting_count": None if None in waiting else sum(each or 0 for each in waiting),
                    "unacknowledged_count": sum(each.unacknowledged_count for each in shards),
                    "missed_count": None if None in missed else sum(each or 0 for each in missed),
                    "delivered_to": _when(max((each.delivered for each in shards), default="0-0", key=_place)),
                    "shards": [{"shard": each.shard, "delivered": each.delivered} for each in shards],
                }
            )
    if as_json:
        return json.dumps({"v": 1, "exports": documents}, indent=2)
    if not documents:
        return "no export was ever begun" if only is None else "this export was never begun"
    return "\n".join(
        f"{each['name']}  {printable(each['to'])} ({each['format']}): up to {each['delivered_to']}, "
        f"{_count(each['waiting_count'])} waiting, {each['unacknowledged_count']:,} under way"
        + ("" if each["missed_count"] == 0 else f", {_count(each['missed_count'])} removed before they were exported")
        for each in documents
    )


def _count(count: int | None) -> str:
    return "an unknown number" if count is None else f"{count:,}"


def _place(entry_id: str) -> tuple[int, int]:
    from headwater.ledger.exporting import Position

    return Position.read(entry_id)


def _reset(books: Books, name: str, as_json: bool) -> str:
    from headwater.ledger.exporting import Subscription

    Subscription(books, name).forget()
    if as_json:
        return json.dumps({"v": 1, "reset": name})
    return f"{name} begins anew the next time, with the oldest charge that is kept; what it exported so far stays"
