"""What may be seen of a URL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput, OperatorError, StoreUnavailable
from common.redact import redacted, redacted_url
from tests.kit.strategies import LAW


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://[::1]:6379/0?db=1", "redis://[::1]:6379/0?db=1"),
        ("unix:///run/fleet/s?db=3", "unix:///run/fleet/s?db=3"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("wss://v.example:9443/stream?streams=btc@trade", "wss://v.example:9443/stream?streams=btc@trade"),
        ("redis://u:p@h:1/0", "redis://***@h:1/0"),
        ("rediss://:p@h", "rediss://***@h"),
        ("redis://p@h/0", "redis://***@h/0"),
        ("s3://KEY:SE/CRET+x==@bucket/prefix", "s3://***@bucket/prefix"),
        ("redis://u:p@q@h:1", "redis://***@h:1"),
        ("redis://u:p#q@h:1", "redis://***@h:1"),
        ("redis://u:p?q@h:1", "redis://***"),
        ("redis://h:1/0?password=p&db=1", "redis://h:1/0?password=***&db=1"),
        (
            "https://h/o?X-Amz-Signature=a&X-Amz-Credential=b&x=c",
            "https://h/o?X-Amz-Signature=***&X-Amz-Credential=***&x=c",
        ),
        ("https://h/?next=https://u:p@h/", "https://h/?next=https://***@h/"),
        ("https://h/?api_key=p#token=q", "https://h/?api_key=***"),
    ],
)
def test_a_url_leads_to_a_place_and_tells_no_secret(url: str, shown: str) -> None:
    assert redacted(url) == shown
    assert redacted(f"at '{url}' and {url}: no") == f"at '{shown}' and {shown} no".replace(
        f"{shown} no", redacted(f"{url}:") + " no"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("localhost:6379", "localhost:6379"),
        ("/data/archive", "/data/archive"),
        ("redis:secret@h", "***@h"),
        ("KEY:SECRET@bucket", "***@bucket"),
        ("redis://:not encoded@h:1", "redis://***@h:1"),
        ("redis://h:1/0?password=p@q", "redis://***"),
        ("", ""),
    ],
)
def test_what_was_meant_to_be_a_url_is_shown_like_one(text: str, shown: str) -> None:
    assert redacted_url(text) == shown


# No part of it is found in what surrounds it.
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map(lambda text: f"Zq{text}qZ")


@LAW
@given(SECRETS, st.sampled_from(["redis", "rediss", "s3", "https"]), st.sampled_from(["", "u"]), st.booleans())
def test_no_password_is_shown_whatever_it_is_made_of(secret: str, scheme: str, user: str, in_query: bool) -> None:
    url = f"{scheme}://h:1/0?password={secret.replace('&', '')}" if in_query else f"{scheme}://{user}:{secret}@h:1/0"
    shown = redacted_url(url)
    assert "Zq" not in shown and "qZ" not in shown
    assert shown.startswith(f"{scheme}://")


@pytest.mark.parametrize("kind", [BadInput, OperatorError, StoreUnavailable])
def test_no_error_of_ours_tells_a_secret(kind: type[Exception]) -> None:
    assert str(kind("no answer from redis://u:p@h:1/0")) == "no answer from redis://***@h:1/0"
    assert str(kind()) == ""
