"""Who is charged: rules, pseudonyms, and the key they depend on."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigError
from headwater.identity import ANONYMOUS, KEY_FILE, Identity, Pseudonymizer, key_fingerprint, load_key, subject_digest
from headwater.records import Target

KEY = bytes(range(32))


def _scope(**headers: str) -> dict[str, Any]:
    return {"headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]}


def test_the_same_key_in_any_of_its_places_is_the_same_user() -> None:
    identity = Identity(KEY, ["api-key"])

    users = {
        identity.user(_scope(authorization="Bearer sk-1")),
        identity.user(_scope(authorization="bearer   sk-1 ")),
        identity.user(_scope(api_key="sk-1")),
        identity.user(_scope(x_api_key="sk-1")),
        identity.user(_scope(x_goog_api_key=" sk-1")),
        identity.user({**_scope(accept="*/*"), "query_string": b"alt=sse&key=sk%2D1"}),
    }

    assert users == {Pseudonymizer(KEY).of("api-key", "sk-1")}


def test_a_header_goes_before_a_key_in_the_query_and_another_parameter_is_no_key() -> None:
    identity = Identity(KEY, ["api-key"])
    by_query = {**_scope(), "query_string": b"key=sk-2"}

    assert identity.user({**by_query, **_scope(x_goog_api_key="sk-1")}) == Pseudonymizer(KEY).of("api-key", "sk-1")
    assert identity.user(by_query) == Pseudonymizer(KEY).of("api-key", "sk-2")
    for query in (b"monkey=sk-2", b"key=", b"alt=sse", b"key", b""):
        assert identity.user({**_scope(), "query_string": query}) == ANONYMOUS
    assert Identity(KEY, ["header:x-user"]).user(by_query) == ANONYMOUS


def test_a_key_in_the_query_is_not_shown_with_the_target() -> None:
    assert "sk-2" not in repr(Target(method="POST", path="/v1beta/models/g:generateContent", query=b"key=sk-2"))


def test_no_credentials_are_charged_to_anonymous() -> None:
    identity = Identity(KEY, ["api-key", "header:x-user"])

    assert identity.user(_scope(accept="*/*")) == ANONYMOUS
    assert identity.user(_scope(authorization="Basic dTpw")) == ANONYMOUS
    assert identity.user(_scope(authorization="Bearer ")) == ANONYMOUS


def test_rules_are_asked_in_their_order() -> None:
    both = _scope(authorization="Bearer sk-1", x_user="ada")

    assert Identity(KEY, ["header:X-User", "api-key"]).user(both) == Pseudonymizer(KEY).of("header:x-user", "ada")
    assert Identity(KEY, ["api-key", "header:X-User"]).user(both) == Pseudonymizer(KEY).of("api-key", "sk-1")


def test_a_header_that_is_not_named_names_nobody() -> None:
    assert Identity(KEY, ["api-key"]).user(_scope(x_user="forged")) == ANONYMOUS


def test_the_operators_own_rule_stands_in_place_of_all_others_and_may_know_nobody() -> None:
    known = Identity(KEY, ["api-key"], identify=lambda scope: scope.get("account"))

    assert known.user({**_scope(api_key="sk-1"), "account": "grace"}) == Pseudonymizer(KEY).of("identify", "grace")
    assert known.user(_scope(api_key="sk-1")) == ANONYMOUS


def test_nobody_becomes_another_user_by_sending_their_id_as_a_key() -> None:
    by_header = Identity(KEY, ["header:x-user", "api-key"])
    by_rule = Identity(KEY, ["api-key"], identify=lambda _scope: "alice")

    users = {
        by_header.user(_scope(x_user="alice")),
        by_header.user(_scope(authorization="Bearer alice")),
        by_rule.user(_scope()),
    }

    assert len(users) == 3


def test_an_unknown_rule_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'cookie' is unknown"):
        Identity(KEY, ["cookie"])
    with pytest.raises(ConfigError, match="'header:' is unknown"):
        Identity(KEY, ["header:"])


def test_a_flood_of_callers_does_not_grow_without_bound() -> None:
    identity = Identity(KEY, ["api-key"])

    for number in range(10_050):
        identity.user(_scope(api_key=f"sk-{number}"))

    assert len(identity._cache) <= 10_000
    assert identity.user(_scope(api_key="sk-1")) == Pseudonymizer(KEY).of("api-key", "sk-1")


@given(st.binary(min_size=1).filter(lambda raw: raw.strip()))
def test_any_bytes_in_a_header_give_a_pseudonym_that_does_not_show_them(raw: bytes) -> None:
    user = Identity(KEY, ["header:x-user"]).user({"headers": [(b"x-user", raw)]})

    assert len(user) == 32
    assert set(user) <= set("0123456789abcdef")


def test_a_pseudonym_depends_on_the_key_and_a_digest_stands_for_its_subject() -> None:
    mine = Pseudonymizer(KEY)

    assert mine.of("api-key", "ada") != Pseudonymizer(bytes(32)).of("api-key", "ada")
    assert mine.of("api-key", "ada") == mine.of_digest("api-key", subject_digest("ada"))
    assert subject_digest("ada") not in mine.of("api-key", "ada")


def test_the_key_is_made_once_readable_by_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    first, second = load_key(folder), load_key(folder)

    assert first == second
    assert len(first) == 32
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    keys: list[bytes] = []

    def start() -> None:
        barrier.wait()
        keys.append(load_key(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(keys) == 8
    assert len(set(keys)) == 1


def test_a_key_cut_short_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")

    with pytest.raises(ConfigError, match=r"has 5 bytes, 32 are needed; restore it"):
        load_key(tmp_path)


def test_a_folder_that_cannot_be_used_is_named_with_the_remedy(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.raises(ConfigError, match="HEADWATER_DATA_DIR"):
        load_key(blocked / "below")


def test_the_fingerprint_names_a_key_without_showing_it() -> None:
    assert key_fingerprint(KEY) == key_fingerprint(bytes(KEY))
    assert key_fingerprint(KEY) != key_fingerprint(bytes(32))
    assert key_fingerprint(KEY) not in KEY.hex()
