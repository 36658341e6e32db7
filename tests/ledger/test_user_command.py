"""`headwater user` as an operator meets it: who is meant, what comes out, what is asked before anything is erased."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from headwater.cli import app
from headwater.identity import Pseudonymizer, key_fingerprint, load_key, subject_digest
from headwater.ledger import schema
from headwater.ledger.reader import Reader
from headwater.ledger.redis import Store
from headwater.ledger.rows import FIELDS, sums_of
from headwater.meter import Meter
from headwater.middleware import FootprintMiddleware
from headwater.records import Charge
from headwater.reports.person import records
from tests.asgi import call, json_app, reply, request
from tests.ledger.support import BOB, DAY, MONTH, NOV_23_MS, Server, charge, ship, write

Run = Callable[..., Result]


@pytest.fixture
def pseudonymizer(tmp_path: Path) -> Pseudonymizer:
    return Pseudonymizer(load_key(tmp_path))


@pytest.fixture
def ada(pseudonymizer: Pseudonymizer) -> str:
    """Who has the API key sk-ada."""
    return pseudonymizer.of("api-key", "sk-ada")


@pytest.fixture
def fill(server: Server, tmp_path: Path) -> Callable[..., None]:
    def put(*some: Charge, labels: dict[str, str] | None = None, journal_id: str = "j1") -> None:
        store = Store(server.url)
        store.check(key_fingerprint(load_key(tmp_path)))
        store.set_labels(labels or {})
        store.keep_document("5f0c", '{"hardware": "hgx-h100"}')
        journal = write(tmp_path, some, journal_id=journal_id)
        ship(journal, store)
        journal.close(durable_to=journal.position())
        store.close()

    return put


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Run:
    (tmp_path / "headwater.toml").write_text(
        f'[ledger]\nredis_url = "{server.url}"\ndata_dir = "{tmp_path}"\n'
        f'[identity.labels]\nada = "api-key:{subject_digest("sk-ada")}"\n'
    )

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(
            app, ["user", *arguments, "--config", str(tmp_path / "headwater.toml")], input=stdin, catch_exceptions=False
        )

    return invoke


def test_a_person_is_found_by_pseudonym_label_key_and_user_id(
    run: Run, fill: Callable[..., None], ada: str, pseudonymizer: Pseudonymizer
) -> None:
    grace = pseudonymizer.of("header:x-user", "grace")
    fill(charge(1, user=ada), charge(2, user=grace), charge(3, user=BOB), labels={BOB: "bob"})

    def shown(*arguments: str, stdin: str | None = None) -> Any:
        return json.loads(run("show", *arguments, "--json", stdin=stdin).stdout)["user"]

    assert shown(ada) == shown("ada") == shown("--api-key", stdin="sk-ada\n") == ada
    assert shown("--subject", "header:X-User:grace") == grace
    assert shown("bob") == BOB
    assert shown("--subject", "identify:x") == pseudonymizer.of("identify", "x")
    assert shown("anonymous") == "anonymous"


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        ([], "", "name one person: by ID, by --api-key or by --subject"),
        (["ada", "--api-key"], "sk", "name one person"),
        (["nobody"], "", "'nobody' is no pseudonym .* see headwater user list"),
        (["--api-key"], "\n", "no API key was given"),
        (["--subject", "api-key:sk-1"], "", "does not belong on a command line"),
        (["--subject", "grace"], "", "not of the form header:NAME:VALUE"),
        (["--subject", "header:x-user"], "", "not of the form"),
        (["--subject", "header::x"], "", "not of the form"),
    ],
)
def test_whoever_cannot_be_meant_is_refused_with_the_remedy(
    run: Run, fill: Callable[..., None], arguments: list[str], stdin: str, words: str
) -> None:
    fill(charge(1))

    done = run("show", *arguments, stdin=stdin)

    assert done.exit_code == 2
    assert re.search(words, done.stderr), done.stderr


def test_a_label_of_two_is_refused_and_names_both(run: Run, fill: Callable[..., None], ada: str) -> None:
    fill(charge(1), labels={BOB: "ada"})

    done = run("show", "ada")

    assert done.exit_code == 2
    assert ada in done.stderr
    assert BOB in done.stderr


def test_the_key_of_another_installation_finds_nobody_else(run: Run, fill: Callable[..., None], tmp_path: Path) -> None:
    fill(charge(1))
    (tmp_path / "identity.key").write_bytes(bytes(32))

    done = run("show", "--api-key", stdin="sk-ada")

    assert done.exit_code == 2
    assert "it would find somebody else" in done.stderr
    (tmp_path / "identity.key").unlink()
    assert run("show", "--api-key", stdin="sk-ada").exit_code == 2
    assert not (tmp_path / "identity.key").exists()  # asking makes no key


def test_a_key_is_asked_for_on_a_terminal(
    run: Run, fill: Callable[..., None], ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(charge(1, user=ada))
    monkeypatch.setattr("headwater.cli.persons.is_terminal", lambda: True)

    done = run("show", "--api-key", stdin="sk-ada\n")

    assert "sk-ada" not in done.stdout + done.stderr
    assert f"{ada}: 2 sums" in done.stdout


def test_accounts_are_listed_with_their_months(run: Run, fill: Callable[..., None], ada: str) -> None:
    fill(charge(1, user=ada), charge(2, user=BOB), charge(3, user=BOB, ended_ms=NOV_23_MS - 30 * 86_400_000))

    assert run("erase", BOB, "--yes").exit_code == 0
    assert [line.split()[0] for line in run("list").stdout.splitlines()] == ["user", ada, "erased"]
    fill(charge(2, user=BOB), charge(3, user=BOB, ended_ms=NOV_23_MS - 30 * 86_400_000), journal_id="again")
    assert run("erase", BOB, "--yes").exit_code == 0
    fill(charge(2, user=BOB), charge(3, user=BOB, ended_ms=NOV_23_MS - 30 * 86_400_000), journal_id="more")

    as_text = run("list").stdout
    as_json = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]

    assert f"{BOB}  2026-10  2026-11\n" in as_text
    assert sorted(as_json, key=lambda each: each["user"]) == sorted(
        [
            {"user": BOB, "label": None, "first_month": "2026-10", "last_month": "2026-11"},
            {"user": ada, "label": None, "first_month": "2026-11", "last_month": "2026-11"},
            {"user": "erased", "label": None, "first_month": "2026-10", "last_month": "2026-11"},
        ],
        key=lambda each: str(each["user"]),
    )


def test_an_account_is_shown_as_text_and_as_json(run: Run, fill: Callable[..., None]) -> None:
    fill(charge(1, user=BOB), charge(2, user=BOB, model="other"), labels={BOB: "b\x1b[2Job"})

    text, document = run("show", BOB).stdout, json.loads(run("show", BOB, "--json").stdout)

    assert text.startswith(f"{BOB} (b\\x1b[2Job): 3 sums and 2 single charges and a label\n")
    assert "2026-11         2         0" in text
    assert (document["charges"], document["rows"]) == (2, 3)
    assert [(each["month"], each["requests_count"]) for each in document["months"]] == [(MONTH, 2)]
    assert run("show", "anonymous").stdout == "anonymous: 0 sums and 0 single charges\n"


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_an_export_has_all_of_one_person_and_nothing_of_another(
    run: Run, fill: Callable[..., None], tmp_path: Path, ada: str, form: str
) -> None:
    mine = [charge(1, user=ada, once="0c" * 16), charge(2, user=ada, model="other", deployment_hash="")]
    fill(*mine, charge(3, user=BOB), labels={ada: "ada"})
    path = tmp_path / "ada.out"

    assert run("export", "ada", "--output", str(path), "--format", form).stdout == ""

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text("utf-8")
    assert run("export", "ada", "--format", form).stdout == text
    if form == "json":
        found = json.loads(text)
    else:
        found = {"months": [], "days": [], "charges": [], "deployments": []}
        for line in text.splitlines():
            record = json.loads(line)
            if (kind := record.pop("record")) == "account":
                found |= record
            else:
                found[f"{kind}s"].append(record)
    assert (found["v"], found["user"], found["label"]) == (1, ada, "ada")
    assert found["kept"] == {"receipts_hours": 48, "charges_days": 400}
    assert [(each["month"], each["model"], each["site"], each["requests_count"]) for each in found["months"]] == [
        (MONTH, mine[0].model, mine[0].site, 1),
        (MONTH, "other", mine[1].site, 1),
    ]
    assert [(each["day"], each["it_microjoules"]) for each in found["days"]] == [(DAY, 3_000)]
    assert [{**each, "entry": None} for each in found["charges"]] == [
        {**json.loads(json.dumps(asdict(each))), "entry": None} for each in mine
    ]
    assert found["deployments"] == [{"hash": "5f0c", "document": '{"hardware": "hgx-h100"}'}]
    assert BOB not in text


def test_an_export_of_nothing_is_whole(run: Run, fill: Callable[..., None]) -> None:
    fill(charge(1))

    found = json.loads(run("export", "anonymous").stdout)

    assert [found[name] for name in ("months", "days", "charges", "deployments")] == [[], [], [], []]


def test_an_export_writes_over_nothing_and_leaves_no_half(
    run: Run, fill: Callable[..., None], server: Server, tmp_path: Path, ada: str
) -> None:
    fill(charge(1, user=ada))
    taken, half = tmp_path / "taken", tmp_path / "half"
    taken.write_text("mine")

    assert run("export", "ada", "--output", str(taken)).exit_code == 2
    assert taken.read_text() == "mine"

    server.command("SET", schema.user_key(0, ada, DAY), "a scribble")
    assert run("export", "ada", "--output", str(half)).exit_code == 1
    assert not half.exists()


def test_nothing_is_erased_without_a_yes(
    run: Run, fill: Callable[..., None], server: Server, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(charge(1, user=ada))

    dry, unasked = run("erase", "ada", "--dry-run"), run("erase", "ada")

    assert dry.stdout == f"{ada}: 2 sums and 1 single charges; nothing was erased\n"
    assert (unasked.exit_code, "add --yes" in unasked.stderr) == (2, True)
    monkeypatch.setattr("headwater.cli.user.is_terminal", lambda: True)
    declined = run("erase", "ada", stdin="n\n")
    assert (declined.exit_code, "nothing was erased" in declined.stdout) == (1, True)
    assert f"Erase {ada}: 2 sums and 1 single charges? This cannot be undone" in declined.stderr
    assert server.command("XLEN", schema.stream_key(0)) == 1

    agreed = run("erase", "ada", stdin="y\n")
    assert agreed.exit_code == 0
    assert server.command("XLEN", schema.stream_key(0)) == 0


def test_what_is_left_to_do_is_said(run: Run, fill: Callable[..., None], ada: str) -> None:
    fill(charge(1, user=ada), charge(2, user=BOB), labels={ada: "ada"})

    mine, other = run("erase", "--api-key", "--yes", stdin="sk-ada\n"), run("erase", BOB, "--yes")

    assert (
        f"{ada}: 2 sums and 1 single charges and a label erased; the amounts are in the account 'erased'" in mine.stdout
    )
    assert "run BGREWRITEAOF" in mine.stdout
    assert "remove it from [identity.labels]" in mine.stdout
    assert "[identity.labels]" not in other.stdout
    assert run("show", "ada").stdout == f"{ada}: 0 sums and 0 single charges\n"
    assert run("erase", "erased", "--yes").exit_code == 1


async def test_the_embedded_servers_own_file_is_rewritten(meter: Meter, key: str, data_dir: Path) -> None:
    await call(FootprintMiddleware(json_app(reply()), meter=meter), request(), key=key)
    assert meter.ledger.flush(10.0)
    user = meter.identity.user({"headers": [(b"authorization", f"Bearer {key}".encode())]})

    done = CliRunner().invoke(
        app, ["user", "erase", user, "--yes"], env={"HEADWATER_DATA_DIR": str(data_dir)}, catch_exceptions=False
    )

    assert done.exit_code == 0, done.stderr
    assert "BGREWRITEAOF" not in done.stdout
    held = b"".join(path.read_bytes() for path in (data_dir / "store" / "appendonlydir").iterdir())
    assert f"u:{user}".encode() not in held


def test_a_record_of_a_charge_has_all_that_its_receipt_is_made_from(add: Callable[..., Reader]) -> None:
    reader = add(charge(1))
    found = [record for section, record in records(reader, charge().user) if section == "charges"]

    assert set(found[0]) == {"entry", *Charge.__dataclass_fields__}
    assert [dict(zip(FIELDS, sums_of(charge(1)), strict=True))] == [
        {name: record[name] for name in FIELDS}
        for section, record in records(reader, charge().user)
        if section == "months"
    ]
