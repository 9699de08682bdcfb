"""Settings: from the environment, frozen, each with its unit and its reason.

Only mains and factories read them, by `load()`; everything else is handed values. Each name is `FLEET_` and
the field's name in capitals, but for the two that platforms set themselves: `REDIS_URL` and `PORT`.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

# Nothing heavier: every symbol worker imports this module and has 45 MB in all.
from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.access import parse_hosts, parse_origins, parse_proxies, parse_tokens
from common.errors import OperatorError
from common.market.kinds import parse_caps
from common.redact import HIDDEN, redacted_url

PREFIX = "FLEET_"
REDIS_URL = "REDIS_URL"
PORT = "PORT"
# The token of a client of a feed (`fleet watch`): no setting of the fleet.
TOKEN = "FLEET_TOKEN"
# Names with our prefix that others read: that one, and the recorded data of the tests.
FOREIGN_NAMES = frozenset({"FLEET_TEST_DATA", TOKEN})

# A bucket's name by S3's rules, then any prefix.
_S3_URL_FORM = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?")
# What a URL must have percent-encoded ends a password too early: then the client asks a host of that name.
_REDIS_URL_FORM = re.compile(r"rediss?://[^/?#\s]+(/\d*)?(\?[^#\s]*)?|unix://([^/@]*@)?/.+")


_LISTS: dict[str, Callable[[str], object]] = {
    "allowed_hosts": parse_hosts,
    "allowed_origins": parse_origins,
    "trusted_proxies": parse_proxies,
    "api_tokens": parse_tokens,
    "streams_per_kind": parse_caps,
}


class Settings(BaseSettings):
    """All of them. Built directly in tests, by `load()` in a main."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", validate_by_name=True, env_ignore_empty=True
    )

    redis_url: str | None = Field(
        default=None,
        validation_alias=REDIS_URL,
        repr=False,  # it may hold a password
        description="redis://, rediss:// or unix:///absolute/path; unset: the launcher runs its own store",
    )
    queue_redis_url: str | None = Field(
        default=None,
        repr=False,  # as above
        description="Redis of the roll-up queue, a single one: RQ runs on no cluster; unset: the store's",
    )
    unsafe_store: bool = Field(
        default=False,
        description="1: work also with a Redis that is too old, or that evicts keys; health says so",
    )
    host: str = Field(
        default="127.0.0.1",
        description="address the feed listens on; this machine only, unless changed on purpose",
    )
    port: int = Field(default=8700, ge=1, le=65_535, validation_alias=PORT, description="port the feed listens on")
    allowed_hosts: str = Field(
        default="",
        description="names the feed is reached by, a,b or *.b; this machine's and FLEET_HOST are, too; *: any",
    )
    allowed_origins: str = Field(
        default="", description="pages of other sites that may ask the feed, such as https://charts.example.org, a,b"
    )
    trusted_proxies: str = Field(
        default="",
        description="addresses, or networks such as 10.0.0.0/8, whose X-Forwarded-For and -Host are believed, a,b",
    )
    api_tokens: str = Field(
        default="",
        repr=False,  # what is put here by mistake may be a token
        description="who may ask the feed: lines of fleet token new, a,b; none: everybody; unset: this machine only",
    )
    symbols_per_worker: int = Field(
        default=1,
        ge=1,
        le=1_000,
        description="symbols one worker process claims; 1: a crash stops one symbol",
    )
    spares: int = Field(
        default=0,
        ge=0,
        le=1_000,
        description="workers beyond those that the symbols need: they take over from dead ones",
    )
    lease_ttl_ms: int = Field(
        default=6_000,
        ge=100,
        le=600_000,
        description="ms a lease's heartbeat must stand still before another worker takes the symbol",
    )
    commit_interval_ms: int = Field(
        default=10,
        ge=0,
        le=60_000,
        description="least ms between two commits of a symbol, unless a batch is full; bounds its load",
    )
    batch_trades: int = Field(
        default=8_192,
        ge=1,
        le=100_000,
        description="most trades in one commit; bounds how long a script blocks",
    )
    close_grace_ms: int = Field(
        default=2_000,
        ge=0,
        le=60_000,
        description="ms after its end when the clock closes a quiet venue's candle",
    )
    trades_kept: int = Field(
        default=100_000, ge=1, description="trades kept per symbol; more bridges a longer outage of a reader"
    )
    events_kept: int = Field(
        default=10_000,
        ge=1,
        description="events kept per symbol (closed, amended, gaps), for readers that return",
    )
    candle_days: int = Field(
        default=400,
        ge=1,
        description="days of 1-minute candles kept per symbol, where its entry does not say otherwise",
    )
    footprint_days: int = Field(
        default=40, ge=1, description="days of 1-minute footprints kept likewise; they are ten times larger"
    )
    backfill_hours: int = Field(
        default=2, ge=0, le=168, description="hours of trades a new symbol of a venue is given; a restart fills its gap"
    )
    depth_hours: int = Field(
        default=6,
        ge=0,
        le=168,
        description="hours of order book history kept per symbol of a venue or the simulator; 0: no book",
    )
    depth_tiles_1s_hours: int = Field(
        default=12,
        ge=0,
        le=720,
        description="hours of resting liquidity kept by the second; some 5 MB an hour of a busy book",
    )
    depth_tiles_5s_hours: int = Field(
        default=72, ge=0, le=2_160, description="hours of it kept by 5 seconds; half as large"
    )
    depth_tiles_30s_hours: int = Field(
        default=336, ge=24, le=8_760, description="hours of it kept by 30 seconds, in rows ten times as high"
    )
    depth_tiles_days: int = Field(
        default=90, ge=1, le=3_650, description="days of it kept by 5 minutes, an hour and a day, of at most 256 rows"
    )
    tiles_50ms_hours: int = Field(
        default=24,
        ge=1,
        le=720,
        description="hours of traded cells of 50 ms kept per symbol, some 10 MB of a busy one",
    )
    tiles_1s_hours: int = Field(default=168, ge=1, le=8_760, description="the same of 1 s, of rows of about 0.001 %")
    tiles_30s_hours: int = Field(default=720, ge=1, le=8_760, description="the same of 30 s")
    binance_key: str = Field(
        default="",
        repr=False,
        description="API key of Binance, to read the whole history of USD-M trades; it needs no permission",
    )
    simulated_days: int = Field(
        default=7,
        ge=0,
        le=365,
        description="days of minutes and footprints a new simulated market is given by the launcher, in bulk",
    )
    streams_per_venue: int = Field(
        default=200, ge=0, description="most symbols streamed from one venue; others are read by REST, slowly"
    )
    streams_in_all: int = Field(
        default=1_000, ge=0, description="most symbols streamed from venues in all; others are read by REST, slowly"
    )
    streams_per_kind: str = Field(
        default="",
        description="most symbols streamed of a kind of instrument, such as equity=1,option=1; not named: no such cap",
    )
    demand_ms: int = Field(
        default=30_000,
        ge=0,
        le=3_600_000,
        description="ms a symbol on demand is streamed on after the last client has left it; 0: not at all",
    )
    rollup_processes: int = Field(
        default=1, ge=0, le=64, description="roll-up processes the launcher runs; each does one job at a time"
    )
    clock_tick_ms: int = Field(
        default=5_000, ge=50, le=600_000, description="ms between two looks of the clock at what is due"
    )
    job_retry_ms: int = Field(
        default=10_000,
        ge=1,
        le=3_600_000,
        description="ms until a failed job is tried again; doubles with each failure, up to an hour",
    )
    connections_max: int = Field(
        default=4_000,
        ge=1,
        le=1_000_000,
        description="most connections of clients a feed takes in all; of one address beyond this machine it takes 200",
    )
    memory_mb: int = Field(
        default=1_024,
        ge=384,
        le=1_000_000,
        description="MB a feed may take: what it keeps and how many heavy queries are under way follow from it",
    )
    query_limit_max: int = Field(
        default=50_000, ge=1, le=100_000, description="most bars one request may ask for: 100,000 take some 25 MB"
    )
    publish_derived: bool = Field(
        default=True,
        description="0: this feed publishes no timeframes for subscribers of Redis, and keeps no :latest keys",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe log record that is written"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto",
        description="form of a log record; auto: text on a terminal, else one JSON object a line",
    )
    data_dir: Path = Field(
        default=Path(".fleet"),
        description="folder of the embedded store; a relative one is taken from the project's folder",
    )
    archive_url: str | None = Field(
        default=None,
        repr=False,  # as above: keys do not belong here, and may be here all the same
        description="folder or s3://bucket/prefix of the archive; unset: no archive, the store alone keeps history",
    )
    archive_s3_endpoint: str | None = Field(
        default=None,
        repr=False,  # as above
        description="http(s)://host:port of an S3 store that is not Amazon's; keys come from AWS_ACCESS_KEY_ID etc.",
    )
    archive_trades: bool = Field(
        default=True, description="whether an archive has every trade, too: 4 to 8 bytes each, 25 MB a very busy day"
    )
    durability: Literal["always", "everysec"] = Field(
        default="always",
        description="fsync of the embedded store: on every commit, or each second (may lose some on kill -9)",
    )

    @field_validator("redis_url", "queue_redis_url")
    @classmethod
    def _check_redis_url(cls, url: str | None) -> str | None:
        if url is not None and not is_redis_url(url):
            raise ValueError("it must be redis://host:port/db, rediss://... or unix:///absolute/path")
        return url

    @field_validator("allowed_hosts", "allowed_origins", "trusted_proxies", "api_tokens", "streams_per_kind")
    @classmethod
    def _check_list(cls, text: str, info: ValidationInfo) -> str:
        _LISTS[str(info.field_name)](text)
        return text

    @field_validator("archive_url")
    @classmethod
    def _check_archive_url(cls, url: str | None) -> str | None:
        if url is not None and "://" in url and not _S3_URL_FORM.fullmatch(url):
            raise ValueError("it must be a folder or s3://bucket/prefix")
        # One name for one archive, whatever process reads it, and in whatever folder.
        return url.rstrip("/") if url and "://" in url else url and str(Path(url).expanduser().absolute())

    @field_validator("archive_s3_endpoint")
    @classmethod
    def _check_endpoint(cls, url: str | None) -> str | None:
        # No path, and no user or password: keys come from where the platform puts them.
        if url is not None and not re.fullmatch(r"https?://[^/@]+/?", url):
            raise ValueError("it must be http://host:port or https://host:port")
        return url

    @property
    def store_url(self) -> str:
        """The store's address, for a process that cannot start one itself."""
        if self.redis_url is None:
            raise OperatorError(f"{REDIS_URL} is not set: start with infra/up, or name a running Redis")
        return self.redis_url

    @property
    def archives_trades(self) -> bool:
        """Whether trades are archived: there is an archive, and it is to have them."""
        return self.archive_url is not None and self.archive_trades

    @property
    def queue_url(self) -> str:
        """The Redis of the roll-up queue."""
        return self.queue_redis_url or self.store_url


def is_redis_url(url: str) -> bool:
    return bool(_REDIS_URL_FORM.fullmatch(url)) and _has_port(url)


def _has_port(url: str) -> bool:
    """Whether what stands in the port's place is one, or nothing: else the client fails at it, and shows a password."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def load() -> Settings:
    """Read the environment, or raise OperatorError with one sentence about the first thing wrong in it."""
    for name in os.environ:
        _check_name(name)
    try:
        return Settings()
    except ValidationError as error:
        raise OperatorError(_sentence(error)) from None


def variable(field: str) -> str:
    """The environment variable of a field."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else PREFIX + field.upper()


def explain(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    """Yield (variable, value, default, meaning) of every setting."""
    for name, field in Settings.model_fields.items():
        values = (_text(name, getattr(settings, name)), _text(name, field.default))
        yield variable(name), *values, field.description or ""


def _text(field: str, value: object) -> str:
    """The value as it may be shown: of what may hold a secret (`repr=False`) no more than where it leads."""
    if value is None:
        return "(unset)"
    known = Settings.model_fields.get(field)
    if known is None or known.repr or not value:
        return str(value)
    return redacted_url(str(value)) if field.endswith(("_url", "_endpoint")) else HIDDEN


def _check_name(name: str) -> None:
    # pydantic-settings takes a misspelt name for another program's and starts with the default.
    known = {variable(field) for field in Settings.model_fields}
    if not name.upper().startswith(PREFIX) or name.upper() in known | FOREIGN_NAMES:
        return
    # Compared without the prefix: all share it, so it would make everything look alike.
    bare = {valid.removeprefix(PREFIX): valid for valid in known}
    nearest = difflib.get_close_matches(name.upper().removeprefix(PREFIX), bare, n=1, cutoff=0)
    raise OperatorError(f"{name} is not a setting; the nearest valid name is {bare[nearest[0]]}")


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    # pydantic names a field by its alias where it has one.
    fields = {variable(field): field for field in Settings.model_fields}
    name = str(first["loc"][0])
    field = fields.get(name, name)
    wanted = first["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    return f"{variable(field)} is {_text(field, first['input'])!r}: {wanted}"
