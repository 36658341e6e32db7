"""An audit, as lines for people and as a document for programs. Pure formatting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from headwater.audit.records import Audit, Difference
from headwater.printable import printable

VERSION: Final = 1
_KINDS: Final = {
    "user month": "users' months by model and site",
    "user day": "users' days",
    "total month": "totals of the month by model and site",
    "total day": "totals of days",
    "basis": "counts of deployment documents",
    "statement": "rows as they were frozen",
}


def as_text(found: Audit) -> str:
    """The audit for people."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Audit) -> Iterator[str]:
    yield (
        f"Audit of {found.period} (UTC): {found.charges_count:,} single charges of {found.users_count:,} users, "
        f"up to {_moment(found.last_ms)}"
    )
    yield ""
    for kind, words in _KINDS.items():
        if found.equal[kind]:
            yield f"{found.equal[kind]:>12,}  {words}: equal to the last unit"
    if found.statements_count:
        late = f"; {found.waiting_count:,} requests came later, for the next one" if found.waiting_count else ""
        yield f"{found.statements_count:>12,}  statements have the hash that they were sealed with{late}"
    if found.gone_count:
        yield f"{found.gone_count:>12,}  rows are no longer kept"
    if found.erased_count:
        yield f"{found.erased_count:>12,}  requests of people who were erased: taken at the account's word"
    if found.repeated_count:
        yield f"{found.repeated_count:>12,}  charges stand more than once in the export: counted once"
    yield ""
    if found.is_equal:
        yield "Everything is equal to the last unit."
        return
    yield f"NOT EQUAL: {found.differences_count:,} differences"
    yield from map(line, found.differences)
    left_count = found.differences_count - len(found.differences)
    if left_count:
        yield f"and {left_count:,} more"


def line(each: Difference) -> str:
    """A difference in words."""
    place = f"{each.model or '-'} at {each.site or '-'}" if each.model or each.site else ""
    whose = f"user {printable(each.user)}" if each.user else "total"
    where = " ".join(word for word in (f"{whose}, {each.period}", place and f"({printable(place)})") if word)
    if each.what == "stream":
        return f"{where}: request {printable(each.field)} stands twice in the ledger stream"
    if each.what == "index" and not each.stream:
        return f"{where}: the index of the month names a row, and there is none, nor a single charge"
    if each.what == "index":
        return f"{where}: the index of the month does not name this row, so no report shows it"
    if each.what == "hash":
        return printable(each.field)
    if each.what == "statement" and not each.user:
        return (
            f"total, {each.period}: {each.field} of the accounts is {each.account} above what is frozen of them, "
            f"that of the totals {each.stream}"
        )
    if each.what == "statement":
        has = "there is no row" if each.account is None else f"{each.field} is {each.account} in the account"
        return f"{where}: {has}, and {each.stream} was frozen of its {each.field}"
    if each.what == "basis":
        where = f"document {printable(each.field)}, {each.period}, shard {each.shard}"
        return f"{where}: the store counts {each.account or 0:,} requests, the single charges are {each.stream:,}"
    if each.user == "":
        where = f"{where}, shard {each.shard}"
    if each.account is None:
        return f"{where}: there is no row; the single charges have {each.field} {each.stream}"
    return (
        f"{where}: {each.field} is {each.account} in the account, {each.stream} in the single charges, "
        f"difference {each.more:+d}"
    )


def as_document(found: Audit) -> dict[str, Any]:
    """The audit for programs."""
    return {
        "v": VERSION,
        "period": found.period,
        "is_equal": found.is_equal,
        "up_to": _moment(found.last_ms),
        "charges_count": found.charges_count,
        "users_count": found.users_count,
        "equal_rows": {kind.replace(" ", "_"): found.equal[kind] for kind in _KINDS},
        "gone_rows_count": found.gone_count,
        "statements_count": found.statements_count,
        "late_requests_count": found.waiting_count,
        "erased_requests_count": found.erased_count,
        "repeated_count": found.repeated_count,
        "differences_count": found.differences_count,
        "differences": [{**asdict(each), "difference": each.more} for each in found.differences],
    }


def _moment(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms // 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
