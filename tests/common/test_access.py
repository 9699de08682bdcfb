"""Who may ask the feed, as settings say it."""

import hmac

import pytest

from common import access
from common.access import (
    Role,
    Token,
    digest_of,
    host_name,
    is_loopback,
    matches,
    new_token,
    parse_hosts,
    parse_origins,
    parse_proxies,
    parse_tokens,
    role_of,
)
from common.errors import OperatorError
from common.settings import load

ALICE = Token("alice", Role.READ, digest_of("a"))
BOB = Token("bob", Role.ADMIN, digest_of("b"))


def test_a_token_is_known_by_its_digest_alone() -> None:
    token, kept = new_token("alice", Role.TRADE)
    assert token not in str(kept) and len(token) > 40
    assert parse_tokens(str(kept)) == (kept,)
    assert role_of(token, [ALICE, kept, BOB]) is Role.TRADE
    assert role_of(token, [ALICE, BOB]) is None
    assert role_of(kept.digest, [kept]) is None
    assert new_token("alice", Role.TRADE)[0] != token


def test_higher_roles_include_lower_ones() -> None:
    assert Role.READ < Role.DRAW < Role.TRADE < Role.ADMIN


def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    class Watched:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(access, "hmac", Watched)
    for token in ("a", "b", "c", "\udcff"):
        role_of(token, [ALICE, BOB])
    assert compared == [(each.digest, digest_of(token)) for token in ("a", "b", "c", "\udcff") for each in (ALICE, BOB)]


def test_several_tokens_are_listed_and_none_is_none() -> None:
    assert parse_tokens(f"{ALICE}, {BOB},") == (ALICE, BOB)
    assert parse_tokens("none") == parse_tokens("") == ()


@pytest.mark.parametrize(
    "text", ["secret", "a:read:secret", "a:king:" + "0" * 64, ":read:" + "0" * 64, f"{ALICE},{ALICE}", f"{ALICE},none"]
)
def test_what_is_no_token_is_told_without_a_word_of_it(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FLEET_API_TOKENS", text)
    with pytest.raises(OperatorError) as caught:
        load()
    assert str(caught.value).startswith("FLEET_API_TOKENS is '***': ")
    assert "secret" not in str(caught.value) and ALICE.digest not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8700", "localhost"),
        ("EXAMPLE.org.", "example.org"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:8700", "::1"),
        ("[::1", "::1"),
        (":80", ""),
        ("", ""),
        ("a.b:80:90", "a.b"),
    ],
)
def test_a_host_is_a_name_without_its_port(header: str, name: str) -> None:
    assert host_name(header) == name


def test_names_match_exactly_or_below_a_wildcard() -> None:
    hosts = parse_hosts("fleet.example.org:443, *.charts.example, 192.0.2.7, ::1")
    for name in ("fleet.example.org", "a.charts.example", "a.b.charts.example", "192.0.2.7", "::1"):
        assert matches(name, hosts), name
    for name in ("example.org", "xfleet.example.org", "charts.example", "evilcharts.example", "", "192.0.2.70"):
        assert not matches(name, hosts), name
    assert matches("anything", parse_hosts("*")) and not matches("", parse_hosts("*"))


@pytest.mark.parametrize("text", ["http://a.b", "a b", "a/b", "*a.b", "-.*", "a..b"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no host name such as"):
        parse_hosts(text)


def test_origins_are_a_scheme_and_a_place() -> None:
    assert parse_origins("https://Charts.example.org, http://[::1]:3000") == {
        "https://charts.example.org",
        "http://[::1]:3000",
    }


@pytest.mark.parametrize(
    "text",
    ["charts.example.org", "https://", "https://a.b/", "https://u@a.b", "ftp://a.b", "https://a:b", "http://[::1", "*"],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no origin such as"):
        parse_origins(text)


def test_proxies_are_addresses_and_networks() -> None:
    assert list(map(str, parse_proxies("127.0.0.1, 10.0.0.0/8, ::1"))) == ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]
    with pytest.raises(ValueError, match="'10.0.0.1/8' is no address or network such as"):
        parse_proxies("10.0.0.1/8")


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("example", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(host: str, is_it: bool) -> None:
    assert is_loopback(host) is is_it
