"""Settings: what the environment may say, and how a wrong word in it is answered."""

import sys
from pathlib import Path
from subprocess import run

import pytest
from pydantic import ValidationError

from common import settings
from common.errors import OperatorError
from common.settings import Settings, explain, load, variable


def test_defaults_need_no_environment() -> None:
    found = load()
    assert (found.host, found.port, found.lease_ttl_ms, found.durability) == ("127.0.0.1", 8700, 6000, "always")
    assert found.redis_url is None


def test_the_environment_is_read_with_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_LEASE_TTL_MS", "600")
    monkeypatch.setenv("FLEET_DURABILITY", "everysec")
    assert (load().lease_ttl_ms, load().durability) == (600, "everysec")


def test_the_platforms_own_names_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("REDIS_URL", "unix:///run/fleet/s")
    assert (load().port, load().redis_url) == (9000, "unix:///run/fleet/s")


def test_an_empty_value_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")
    assert load().port == 8700


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("FLEET_LEASE_TTL", "FLEET_LEASE_TTL_MS"),
        ("FLEET_PORT", "PORT"),
        ("FLEET_REDISURL", "REDIS_URL"),
        ("FLEET_DATADIR", "FLEET_DATA_DIR"),
        ("fleet_log_levle", "FLEET_LOG_LEVEL"),
    ],
)
def test_an_unknown_name_stops_the_start_and_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(OperatorError, match=f"^{name} is not a setting; the nearest valid name is {nearest}$"):
        load()


def test_the_folder_of_the_tests_data_is_no_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_TEST_DATA", "/somewhere")
    load()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("FLEET_LEASE_TTL_MS", "soon", "FLEET_LEASE_TTL_MS is 'soon': it must be a valid integer"),
        ("FLEET_SYMBOLS_PER_WORKER", "0", "'0': it must be greater than or equal to 1"),
        ("PORT", "99999", "PORT is '99999': it must be less than or equal to 65535"),
        ("FLEET_DURABILITY", "never", "FLEET_DURABILITY is 'never': it must be 'always' or 'everysec'"),
        (
            "FLEET_STREAMS_PER_KIND",
            "bond=1",
            "'bond=1' must be a kind and a number, such as equity=1, each of crypto, ",
        ),
        ("FLEET_STREAMS_PER_KIND", "equity=-1", "'equity=-1' must be a kind and a number, such as equity=1"),
        ("FLEET_STREAMS_PER_KIND", "equity=1,equity=2", "'equity=2' must be a kind and a number, such as equity=1"),
        ("FLEET_DEMAND_MS", "-1", "'-1': it must be greater than or equal to 0"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL is 'localhost:6379': it must be redis://host:port/db"),
        ("REDIS_URL", "unix://relative", "REDIS_URL is 'unix://relative': it must be redis://host:port/db"),
        ("FLEET_ARCHIVE_URL", "gs://bucket", "'gs://bucket': it must be a folder or s3://bucket/prefix"),
        ("FLEET_ARCHIVE_URL", "s3://B_/x", "'s3://B_/x': it must be a folder or s3://bucket/prefix"),
        ("FLEET_ARCHIVE_S3_ENDPOINT", "minio:9000", "'minio:9000': it must be http://host:port or https://host:port"),
    ],
)
def test_a_bad_value_is_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(OperatorError) as caught:
        load()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


URLS = ["REDIS_URL", "FLEET_QUEUE_REDIS_URL", "FLEET_ARCHIVE_URL", "FLEET_ARCHIVE_S3_ENDPOINT"]


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "url",
    [
        "ftp://u:secret@h:1/0",
        "s3://KEY:sec/secret@bucket/prefix",
        "s3://KEY:secret?@bucket",
        "gs://bucket?secret_access_key=secret",
        "redis://:not encoded secret@h:1",
        "redis://u:se?secret@h:1/0",
        "redis://u:9#secret@h:1/0",
        "redis://u:/secret@h:1/0",
        "redis://u:secret@h:port/0",
    ],
)
def test_a_refused_url_is_told_without_its_secrets(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(OperatorError) as caught:
        load()
    assert name in str(caught.value) and "it must be" in str(caught.value)
    assert "secret" not in str(caught.value).replace("secret_access_key", "")


def test_what_is_secret_in_a_setting_is_never_shown() -> None:
    found = Settings(
        redis_url="redis://u:secret@h:1/0?password=secret",
        queue_redis_url="rediss://:secret@h:1/0",
        archive_url="s3://bucket/x?key=secret",
        binance_key="secret",
    )
    shown = {name: value for name, value, _, _ in explain(found)}
    assert "secret" not in f"{found!r} {found} {shown}"
    assert shown["REDIS_URL"] == "redis://***@h:1/0?password=***"
    assert shown["FLEET_ARCHIVE_URL"] == "s3://bucket/x?key=***"
    assert shown["FLEET_BINANCE_KEY"] == "***"


def test_settings_are_built_by_name_and_frozen() -> None:
    found = Settings(port=9000, redis_url="redis://localhost:6379/0")
    assert found.store_url == "redis://localhost:6379/0"
    with pytest.raises(ValidationError):
        found.port = 1


def test_a_process_without_a_store_says_how_to_get_one() -> None:
    with pytest.raises(OperatorError, match="REDIS_URL is not set: start with infra/up"):
        _ = Settings().store_url


def test_every_setting_says_what_it_means(monkeypatch: pytest.MonkeyPatch) -> None:
    # All tests have it otherwise.
    monkeypatch.delenv(variable("simulated_days"))
    rows = list(explain(Settings()))
    assert len(rows) == len(Settings.model_fields)
    assert all(meaning for *_, meaning in rows)
    assert all(value == default for _, value, default, _ in rows)


@pytest.mark.process
def test_importing_settings_loads_no_heavy_library() -> None:
    heavy = "{'polars', 'numpy', 'redis', 'rich', 'typer', 'starlette'}"
    code = f"import sys, {settings.__name__}; print({heavy} & set(sys.modules))"
    found = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_an_archive_has_one_name_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    named = {
        "~/archive": "/home/me/archive",
        "archive": f"{tmp_path}/archive",
        "/a/b/": "/a/b",
        "s3://bucket/x/": "s3://bucket/x",
    }
    assert {text: Settings(archive_url=text).archive_url for text in named} == named
