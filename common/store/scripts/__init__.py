"""Every script of the store, by what it takes. What it does, and what a name means, is told in `<name>.lua` beside it.

Most are all or nothing steps of one symbol, and refuse with FENCED or STALE what is not where its caller left it.
"""

from common.store.script import Fields, Key, Keys, Rows, Values, script
from common.tiles import DAY_LEVELS, DEPTH_LEVELS, TRADED_LEVELS

# A symbol's holder: claim to release.


@script("owner", "state", "coverage", "events")
def claim(
    *, token: str, holder: str, seen_token: str, seen_beats: str, force: bool, newest_format: int, events_kept: int
) -> None: ...


@script("owner", "state", "health", "events")
def beat(*, token: str, seq: int, events_kept: int, fields: Fields) -> None: ...


@script("owner", "state", "health", "events")
def release(*, token: str, events_kept: int, fields: Fields) -> None: ...


@script(
    "owner",
    "state",
    "trades",
    "events",
    "health",
    "gaps",
    "dirty",
    "seals",
    "archive",
    "unarchived",
    "text_ids",
    "coverage",
    "commits",
    "months",
    "rolled_15m",
    series=True,
    levels=TRADED_LEVELS,
)
def commit(
    *,
    token: str,
    seq: int,
    next_seq: int,
    trade_count: int,
    packed_trades: bytes,
    message_head: bytes,
    watermark_ms: int,
    trades_kept: int,
    events_kept: int,
    archived_series: str,
    coverage_shape: str,
    floors: Values,
    new_text_ids: Values,
    state_fields: Fields,
    chunks: Fields,
    health_fields: Fields,
    gap_puts: Fields,
    forgotten: Values,
    minutes: Rows,
    event_texts: Values,
    messages: Rows,
) -> None: ...


@script("owner", "book", "depth")
def book(*, token: str, ts_ms: int, update_id: int, levels: bytes, state: str, scale: str) -> None: ...


@script("owner", "depth")
def depth(*, token: str, kept: int, chunks: Fields) -> None: ...


@script("depth", "rollup", levels=DEPTH_LEVELS)
def depth_tiles(
    *, from_ms: int, end_ms: int, chunk_count: int | None, made_to_ms: int | None, hours: Values, tiles: Rows
) -> None: ...


# What else writes a symbol's data: imports, and changes of its instrument or of its reach.


@script(
    "owner",
    "state",
    "trades",
    "events",
    "gaps",
    "dirty",
    "seals",
    "staged",
    "archive",
    "outside",
    "coverage",
    "faults",
    "rollup",
    series=True,
    levels=TRADED_LEVELS,
)
def import_(
    *,
    manifest: Key,
    token: str,
    seq: int,
    next_seq: int,
    watermark_ms: int,
    no_trades: bytes,
    events_kept: int,
    first_ms: int,
    last_ms: int,
    lost_spans: str,
    archived: bool,
    with_chunks: bool,
    days: Rows,
    state_fields: Fields,
    chunks: Fields,
    gap_puts: Fields,
    forgotten: Values,
    event_texts: Values,
    messages: Rows,
    entries: Values,
) -> None: ...


@script("changing")
def stage_change(*, shadow: Key, token: str, how: str, rows: Rows) -> None: ...


@script(
    "owner",
    "state",
    "trades",
    "rollup",
    "dirty",
    "gaps",
    "events",
    "rescale",
    "book",
    "changing",
    "outside",
    "coverage",
    "months",
    "rolled_15m",
)
def change(
    *,
    rewritten: Keys,
    token: str,
    seq: int,
    next_seq: int,
    version: str,
    no_trades: bytes,
    events_kept: int,
    rolled_from_ms: int | None,
    with_shadows: bool,
    with_rescale: bool,
    with_chunks: bool,
    state_fields: Fields,
    chunks: Fields,
    days: Values,
    gap_puts: Fields,
    event_texts: Values,
    messages: Rows,
) -> None: ...


@script(
    "owner",
    "state",
    "seals",
    "dirty",
    "rollup",
    "unarchived",
    "archive",
    "outside",
    "faults",
    "daily",
    "weekly",
    "monthly",
    "months",
    "rolled_15m",
    series=True,
    levels=TRADED_LEVELS,
)
def cut(
    *,
    manifest: Key,
    token: str,
    seq: int,
    day: int,
    grows: int,
    newest_ms: int,
    bounds: Values,
) -> None: ...


# Roll-ups, and the calendars that days are made by.


@script(
    "state",
    "dirty",
    "rollup",
    "seals",
    "staged",
    "unarchived",
    "events",
    "outside",
    "changing",
    "daily",
    "weekly",
    "monthly",
    "months",
    "rolled_15m",
    series=True,
    levels=DAY_LEVELS,
)
def roll(
    *,
    token: str,
    version: str,
    day: int,
    score: str,
    events_kept: int,
    outside_count: int | None,
    how: str,
    seal: Values,
    packed: Values,
    tiles_form: int,
    months_form: int | None,
    month: Values,
    rolled: Rows,
) -> None: ...


@script("state", "rollup", "staged", "months", "rolled_15m")
def rolled_month(*, token: str, version: str, made_form: int | None, month: Values) -> None: ...


@script("state", "rollup")
def tiles(*, level: Key, token: str, version: str, seq: int, span_ms: int, gone: Values, tiles: Fields) -> None: ...


@script("state", "rollup", levels=DAY_LEVELS)
def day_tiles(*, token: str, version: str, day: int | None, made_form: int | None, packed: Values) -> None: ...


@script("state", "dirty", "seals", "candles", "months", "rolled_15m")
def mark(*, first_day: int, last_day: int) -> None: ...


@script("state", "dirty", "seals", "candles", "rollup", "archive", "outside")
def adopt(*, known: bytes, exceptions: bytes, spans: Rows) -> None: ...


@script()
def set_calendar(*, calendars: Key, calendar: str, exceptions: bytes, changed: bytes) -> None: ...


@script()
def put_in_order(*, queued: Key, rounds: Rows) -> None: ...


# The archive, and what is known to be in it.


@script("state", "unarchived", "dirty", "archive", "faults")
def archived(
    *,
    late: Key,
    manifest: Key,
    token: str,
    series: str,
    merged_seq: int | None,
    merged_from_ms: int | None,
    merged_end_ms: int | None,
    entry: str | None,
    days: Fields,
    lost: Values,
) -> None: ...


@script("state", "seals", "unarchived", "rollup")
def unarchive(*, blocks: Key, series: str, floor_field: str, from_ms: int, end_ms: int, max_floor_ms: int) -> None: ...


@script("state", "archive", "faults")
def archived_trades(
    *,
    manifest: Key,
    token: str,
    known_seq: int | None,
    seq: int,
    watermark_ms: int,
    applied: int | None,
    from_ms: int,
    entries: Values,
) -> None: ...


@script("archive")
def list_archive(*, manifest: Key, series: str, version: str, entries: Values) -> None: ...


@script("archive", "faults")
def give_up(*, manifest: Key, series: str, period: int, last_ms: int | None) -> None: ...


@script("faults", "archive")
def note_fault(*, field: str, fault: bytes, most: int) -> None: ...


@script("state", "rescale")
def list_rescale(*, instrument: bytes, objects: Values) -> None: ...


@script("state", "rescale", "faults")
def rescaled(*, manifest: Key, instrument: bytes, series: str, period: int, entry: str | None) -> None: ...


# What is looked at, and not changed.


@script()
def closes(*, minutes: Key, from_ms: int, step_ms: int, count: int) -> None: ...


@script("candles", "seals", "state", "trades", "depth", "archive")
def reach(*, footprints: Key) -> None: ...


# What a feed publishes for subscribers of Redis.


@script("publisher", "published")
def publish(
    *,
    latest: Key,
    token: str,
    channel: str,
    name: str,
    progress: str,
    kept_ms: int,
    latest_value: bytes,
    latest_seq: int,
    latest_token: str,
    latest_ms: int,
    messages: Values,
) -> None: ...


# What processes share beside symbols: the registry, venues' budgets and streams, who is there.


@script()
def replace_symbol(*, symbols: Key, symbol: str, entry: bytes, replacement: bytes) -> None: ...


@script()
def owners(*, owners: Keys) -> None: ...


@script()
def present(*, processes: Key, member: str, before: str, for_ms: int, most: int) -> None: ...


@script()
def hold(*, right: Key, token: str, ttl_ms: int) -> None: ...


@script("demand", "focus")
def demand(*, who: str, for_ms: int, attention: str) -> None: ...


@script()
def keep(*, right: Key, token: str, ttl_ms: int) -> None: ...


@script()
def slot(
    *, places: Key, leaving: Key, holders: Key, who: str, most: int, for_ms: int, focused_ms: int, is_trial: bool
) -> None: ...


@script()
def spend(*, budget: Key, weight: int, limits: Rows) -> None: ...


@script()
def cooldown(*, budget: Key, span_ms: int, throttle: bytes, endpoint: str) -> None: ...


@script()
def witness(*, budget: Key, window_ms: int, bucket_ms: int, used: int) -> None: ...
