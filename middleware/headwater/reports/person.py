"""Everything that the ledger holds of one person -> records for programs, one at a time. Whole numbers in the ledger's units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from headwater.ledger import Reader, packing, schema
from headwater.ledger.rows import FIELDS
from headwater.ledger.statements import Statements
from headwater.reports.entries import Tick, unwatched

VERSION: Final = 1
SECTIONS: Final = ("months", "days", "statements", "charges", "deployments")
"""What a person's records are of, in their order."""


def account(reader: Reader, user: str) -> dict[str, Any]:
    """Who it is, as far as the ledger knows, and for how long what is kept."""
    return {
        "v": VERSION,
        "user": user,
        "label": reader.labels().get(user),
        "kept": {"receipts_hours": reader.receipts_hours, "charges_days": reader.kept_days},
    }


def records(reader: Reader, user: str, tick: Tick = unwatched) -> Iterator[tuple[str, dict[str, Any]]]:
    """Section and record: accounts of months by model and site, and of days; what was frozen in
    statements; every single charge with all that its receipt
    is made from; last the documents of the deployments that these refer to.

    Raises:
        LedgerError: the store does not answer, or a stored charge cannot be read.
    """
    days = []
    for row in reader.people.rows(user):
        sums = dict(zip(FIELDS, row.sums, strict=True))
        if schema.is_month(row.period):
            yield "months", {"month": row.period, "model": row.model, "site": row.site, **sums}
        else:
            days.append({"day": row.period, **sums})
    yield from (("days", day) for day in days)
    statements = Statements(reader.books)
    for head in statements.heads():
        number, kept = statements.of_user(head, user)
        for frozen in kept:
            yield (
                "statements",
                {
                    "statement": head.statement_number(number),
                    "closed": head.month,
                    "month": frozen.month,
                    "model": frozen.part[0],
                    "site": frozen.part[1],
                    **dict(zip(FIELDS, frozen.sums, strict=True)),
                },
            )
    hashes: dict[str, None] = {}
    for entry in reader.people.charges(user, tick):
        charge = packing.unpack(entry.packed)
        hashes[charge.deployment_hash] = None
        yield "charges", {"entry": entry.entry_id, **asdict(charge)}
    for document_hash in filter(None, hashes):
        yield "deployments", {"hash": document_hash, "document": reader.document(document_hash)}
