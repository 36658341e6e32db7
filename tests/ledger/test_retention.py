"""How long what is kept: lifetimes in the store, and the stream cut where single charges are older than that."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from headwater import config
from headwater.endpoint import Endpoint
from headwater.errors import ConfigError
from headwater.ledger import Ledger, Reader, schema
from headwater.ledger.connection import connect
from headwater.ledger.glance import receipt_id
from headwater.ledger.packing import pack
from headwater.ledger.redis import Store
from headwater.ledger.schema import Retention
from tests.ledger.support import ADA, DAY, KEY, MONTH, Server, charge, outside, ship, write

SHORT = Retention(receipts_s=3_600, days_s=40 * 86_400, months_s=366 * 86_400)
ONCE = "0c" * 16


def lifetimes(server: Server) -> dict[str, int]:
    """What lives for how long: seconds left, by kind of key; -1 for ever."""
    part = schema.part_of(charge().model, charge().site)
    keys = {
        "month": schema.user_key(0, ADA, MONTH, part),
        "total month": schema.total_key(0, MONTH, part),
        "day": schema.user_key(0, ADA, DAY),
        "total day": schema.total_key(0, DAY),
        "index": schema.index_key(0, MONTH, schema.bucket_of(ADA)),
        "buckets": schema.buckets_key(0, MONTH),
        "bases": schema.bases_key(0, MONTH),
        "receipts": schema.receipts_key(0, schema.receipts_bucket(receipt_id(charge().request_id))),
        "once": schema.once_key(0, ONCE),
        "journals": schema.journal_key(0),
    }
    return {name: server.command("TTL", key) for name, key in keys.items()}


def test_each_kind_of_key_lives_as_long_as_it_was_told(server: Server, tmp_path: Path) -> None:
    store = Store(server.url, retention=SHORT)
    store.check(KEY)
    with_mark = charge(once=ONCE)
    journal = write(tmp_path, [with_mark])
    ship(journal, store)
    journal.close(durable_to=journal.position())
    store.close()

    left = lifetimes(server)

    assert left.pop("journals") == -1  # what was applied once must not be applied again, ever
    for name in ("month", "total month", "bases"):
        assert SHORT.months_s - 60 < left.pop(name) <= SHORT.months_s, name
    for name in ("index", "buckets"):  # written with the first charge of a row, they outlive its last one
        assert 62 * 86_400 - 60 < left.pop(name) - SHORT.months_s <= 62 * 86_400, name
    for name in ("day", "total day", "once"):
        assert SHORT.days_s - 60 < left.pop(name) <= SHORT.days_s, name
    assert SHORT.receipts_s - 60 < left.pop("receipts") <= SHORT.receipts_s
    assert left == {}


def _left(server: Server, tmp_path: Path, *, age_s: float, clock_s: float) -> int:
    """How many of 300 single charges of some age are left behind one that a process with this clock charges."""
    applied_ms = int((time.time() - age_s) * 1_000)
    with connect(Endpoint(url=server.url), 5.0) as client:
        for number in range(300):
            client.xadd(schema.stream_key(0), {"c": pack(charge(number))}, id=f"{applied_ms}-{number}")
    store = Store(server.url, retention=SHORT, clock=lambda: clock_s)
    store.check(KEY)
    journal = write(tmp_path, [charge(300)])
    ship(journal, store)
    journal.close(durable_to=journal.position())
    store.close()
    return int(server.command("XLEN", schema.stream_key(0))) - 1


def test_single_charges_go_when_they_are_older_than_the_days(server: Server, tmp_path: Path) -> None:
    """Whole blocks of the stream, so a few may stay longer."""
    assert _left(server, tmp_path, age_s=SHORT.days_s + 3_600, clock_s=time.time()) < 100


@pytest.mark.parametrize("ahead_days", [0, 500])
def test_no_process_whose_clock_is_ahead_deletes_single_charges(
    server: Server, tmp_path: Path, ahead_days: int
) -> None:
    now_s = time.time() + ahead_days * 86_400

    assert _left(server, tmp_path, age_s=SHORT.days_s - 3_600, clock_s=now_s) == 300


def test_a_ledger_keeps_for_as_long_as_it_was_told_and_its_readers_say_so(server: Server, tmp_path: Path) -> None:
    ledger = Ledger(data_dir=tmp_path, key_fingerprint=KEY, redis_url=server.url, outside=outside(), retention=SHORT)
    ledger.start()
    ledger.charge(charge())
    assert ledger.flush(10.0)
    with ledger.reader() as reader:
        assert (reader.kept_days, reader.receipts_hours) == (40, 1)
    ledger.close()

    assert SHORT.days_s - 60 < lifetimes(server)["day"] <= SHORT.days_s
    with Reader.open(data_dir=tmp_path, redis_url=server.url, retention=SHORT) as reader:
        assert (reader.kept_days, reader.receipts_hours) == (40, 1)


def test_settings_are_told_to_the_ledger_in_seconds() -> None:
    found = config.load({"retention": {"receipts_hours": 24, "days": 90, "months_years": 2}})

    assert Retention(**found.retention.seconds()) == Retention(
        receipts_s=86_400, days_s=90 * 86_400, months_s=2 * 366 * 86_400
    )
    assert Retention(**config.load({}).retention.seconds()) == Retention()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"receipts_hours": 0}, r"retention\.receipts_hours.*greater than or equal to 1"),
        ({"days": 34}, r"retention\.days.*greater than or equal to 35"),
        ({"months_years": 101}, r"retention\.months_years.*less than or equal to 100"),
        ({"receipts_hours": 841, "days": 35}, "receipts_hours = 841 is more than days = 35.*lower receipts_hours"),
        ({"months_years": 1}, "days = 400 is more than months_years = 1.*raise months_years"),
        ({"hours": 3}, "there is no such setting"),
    ],
)
def test_lifetimes_that_make_no_sense_are_refused_with_the_remedy(given: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        config.load({"retention": given})
