"""Addresses of stores: what fits together, and that nothing secret is shown."""

from __future__ import annotations

import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import config
from headwater.endpoint import SCHEMES, Endpoint, endpoint_of, masked
from headwater.errors import ConfigError

HIDDEN = "5ecret"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:5ecret@host:1/0", "redis://user:***@host:1/0"),
        ("redis://:5ecret@host", "redis://:***@host"),
        ("redis://user@host", "redis://user@host"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://user:5ecret/5ecret@5ecret@host", "redis://user:***@host"),
        ("unix:///a/b?db=0&password=5ecret&x=1", "unix:///a/b?db=0&password=***&x=1"),
        ("redis+sentinel://h/m?sentinel_password=5ecret", "redis+sentinel://h/m?sentinel_password=***"),
        ("rediss://h?ssl_password=5ecret", "rediss://h?ssl_password=***"),
        ("http://user:5ecret@host", "http://user:***@host"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert masked(url) == shown


@given(
    scheme=st.sampled_from(SCHEMES),
    user=st.text(string.ascii_letters, max_size=5),
    password=st.text(st.sampled_from("ab/:@?#%&= é"), max_size=6),
    is_escaped=st.booleans(),
)
def test_no_password_is_ever_shown(scheme: str, user: str, password: str, is_escaped: bool) -> None:
    written = HIDDEN + password + HIDDEN
    url = f"{scheme}://{user}:{quote(written, safe='') if is_escaped else written}@host:1/main"
    if scheme in {"redis", "rediss"}:
        url = url.removesuffix("/main")

    try:
        shown = repr(endpoint_of(url))
    except ConfigError as error:
        assert not is_escaped
        shown = str(error)

    assert HIDDEN not in shown
    if is_escaped:
        endpoint = Endpoint(url=url)
        assert endpoint.login() == (user or None, written)
        assert HIDDEN not in endpoint.bare_url


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://h"}, "must begin with redis://, rediss://, unix://"),
        ({"url": "redis:h"}, "must begin with"),
        ({"url": "redis://h:x"}, "port must be a number from 1 to 65535; write / : @"),
        ({"url": "redis://h:70000"}, "port must be a number"),
        ({"url": "redis://h:0"}, "port must be a number"),
        ({"url": "redis://h,,i"}, "names no host between two commas"),
        ({"url": "redis://h/x"}, "database behind the last / must be a number"),
        ({"url": "redis://[::1/0"}, "is no address"),
        ({"url": "redis://u:p@q@h"}, "is no address; write / : @"),
        ({"url": "redis://u:p#q@h"}, "is no address; write / : @"),
        ({"url": "redis://h", "username": "u"}, "username needs a password"),
        ({"url": "redis://u@h", "username": "u", "password": "p"}, "has a user, and there is a username"),
        ({"url": "redis://:p@h", "password": "p"}, "has a password, and there is another"),
        ({"url": "redis://:p@h", "password_file": Path("p")}, "has a password, and there is another"),
        ({"url": "redis://h", "password": "p", "password_file": Path("p")}, "and a password_file; leave one"),
        ({"url": "redis://h", "tls_ca": Path("c")}, "used with rediss://"),
        ({"url": "rediss://h", "tls_key": Path("c")}, "tls_key needs tls_cert"),
    ],
)
def test_what_does_not_fit_together_is_told(changes: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Endpoint(**changes)  # type: ignore[arg-type]
    named = {name: value for name, value in changes.items() if name != "url"}
    with pytest.raises(ConfigError, match=words):
        config.load({"ledger": {"redis_url": changes["url"], **named}}, environment={})


def test_the_default_port_and_an_address_of_six_groups() -> None:
    assert Endpoint(url="rediss://[::1]").bare_url == "rediss://[::1]"
    assert Endpoint(url="redis://u:p@[::1]:7/2").bare_url == "redis://[::1]:7/2"


def test_several_servers_of_a_cluster() -> None:
    several = Endpoint(url="rediss://u:p@a,b:7,[::1]:8/0")

    assert several.addresses == (("a", 6379), ("b", 7), ("::1", 8))
    assert several.database == 0
    assert Endpoint(url="redis://a/3").addresses == Endpoint(url="unix:///a,b").addresses == ()


def test_a_username_may_stand_beside_a_password_in_the_address() -> None:
    assert Endpoint(url="redis://:p%40@h", username="u").login() == ("u", "p@")


def test_the_settings_say_all_of_it(tmp_path: Path) -> None:
    settings = config.load(
        {"ledger": {"redis_url": "rediss://u@h", "tls_ca": "ca.pem", "tls_cert": "c.pem", "replicas": 1}},
        environment={"HEADWATER_REDIS_PASSWORD": HIDDEN},
    )

    endpoint = settings.ledger.endpoint

    assert endpoint is not None
    assert endpoint.login() == ("u", HIDDEN)
    assert (endpoint.tls_ca, endpoint.tls_cert, endpoint.replicas_count) == (
        Path.cwd() / "ca.pem",
        Path.cwd() / "c.pem",
        1,
    )
    assert HIDDEN not in repr(settings) + str(settings) + repr(endpoint) + settings.model_dump_json()
    assert config.load({}, environment={}).ledger.endpoint is None


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"redis_url": f"http://u:{HIDDEN}@h"}, r"redis_url: must begin with redis://.*found 'http://u:\*\*\*@h'"),
        ({"redis_url": f"redis://u:{HIDDEN}/@h"}, r"is no address.*found 'redis://u:\*\*\*@h'"),
        ({"redis_url": [f"redis://u:{HIDDEN}@h"]}, "ledger.redis_url: must be a text"),
        ({"redis_url": "redis://h", "password": [HIDDEN]}, "ledger.password: must be a text"),
        ({"password": HIDDEN}, "password is for the server that redis_url names"),
        ({"replicas": 1}, "replicas is for the server that redis_url names"),
        ({"redis_url": f"redis://:{HIDDEN}@h", "username": "", "password": HIDDEN}, "username"),
        ({"redis_url": f"redis://:{HIDDEN}@h", "password": HIDDEN}, "has a password"),
    ],
)
def test_errors_of_the_settings_show_no_password(document: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        config.load({"ledger": document}, environment={})

    assert HIDDEN not in str(caught.value)
