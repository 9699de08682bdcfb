"""Every key and channel: type, writer, reader, bound.

All keys of a symbol begin with the hash tag `{SYMBOL}:`, so that one script may write them, a cluster may split
symbols, and an ACL may name them.

| name                | type    | written by          | read by            | bound                                  |
|---------------------|---------|---------------------|--------------------|----------------------------------------|
| symbols             | hash    | fleet symbols, up   | workers, feed      | one field a symbol                     |
| {}:workers          | zset    | every process       | doctor, feed       | presence.MAX_PROCESSES                 |
| {}:symbols          | string  | fleet symbols, up   | workers, up        | a number                               |
| {}:format           | string  | fleet symbols, upgrade, up | all processes | a number                        |
| {}:agreed           | hash    | up, clock           | fleet commands     | 6 fields                               |
| {}:moving           | hash    | fleet move          | all processes      | 2 fields, until the store is moved     |
| calendars           | hash    | fleet calendars     | everybody          | one field a calendar                   |
| {S}:owner           | hash    | claim, commit, beat | claim, workers, feed | 7 fields                             |
| {S}:state           | hash    | commit, import, change | claim, feed     | 20 fields; coverage 4096 spans         |
| {S}:coverage        | hash    | commit, import, change | claim, feed, jobs | coverage.MAX_HOLES, 32 bytes each    |
| {S}:trades          | stream  | commit, import      | worker, feed, jobs | FLEET_TRADES_KEPT (archiving: tenfold) |
| {S}:candles:1m      | zset    | commit              | worker, feed       | FLEET_CANDLE_DAYS                      |
| {S}:footprints:1m   | zset    | commit              | worker, feed       | FLEET_FOOTPRINT_DAYS                   |
| {S}:dirty           | zset    | commit, import, mark, roll | jobs, feed  | days written and not rolled up since   |
| {S}:rollup          | hash    | scripts of the jobs, adopt, change | jobs, clock, feed | 4 fields                |
| {S}:outside         | hash    | roll, import, change | feed, doctor       | a day with trades in no session        |
| {S}:changing        | hash    | fleet symbols       | roll, fleet symbols | 2 fields, while the symbol is changed  |
| {S}:trades:changed | stream | fleet symbols | change | as the one it becomes, for a moment |
| {S}:candles:1m:changed | zset | fleet symbols | change | as the one it becomes, for a moment |
| {S}:footprints:1m:changed | zset | fleet symbols | change | as the one it becomes, for a moment |
| {S}:candles:1d:changed | zset | fleet symbols | change | as the one it becomes, for a moment |
| {S}:candles:1w:changed | zset | fleet symbols | change | as the one it becomes, for a moment |
| {S}:candles:1M:changed | zset | fleet symbols | change | as the one it becomes, for a moment |
| {S}:late:candles:changed | zset | fleet symbols | change | as the one it becomes, for a moment |
| {S}:late:footprints:changed | zset | fleet symbols | change | as the one it becomes, for a moment |
| {S}:rescale         | zset    | change, rescaled    | archive jobs       | objects of another scale               |
| {S}:candles:1d      | zset    | roll                | roll-up jobs, feed | one a trading day                      |
| {S}:candles:1w      | zset    | roll                | anybody            | one a week                             |
| {S}:candles:1M      | zset    | roll                | anybody            | one a month                            |
| {S}:seals           | zset    | roll, import, commit | worker, feed      | the longer of candles and footprints   |
| {S}:sealed:candles  | hash    | roll, import, commit | worker, feed      | FLEET_CANDLE_DAYS                      |
| {S}:sealed:footprints | hash  | roll, import, commit | worker, feed      | FLEET_FOOTPRINT_DAYS                   |
| {S}:months          | zset    | roll, rolled_month, commit | jobs, feed | a month of FLEET_CANDLE_DAYS       |
| {S}:rolled:15m      | hash    | roll, rolled_month, commit | jobs, feed | a month of FLEET_CANDLE_DAYS       |
| {S}:tiles:traded:50ms | hash  | tiles, commit, import, cut | jobs, feed | FLEET_TILES_50MS_HOURS             |
| {S}:tiles:traded:1s | hash    | tiles, commit, import, cut | jobs, feed   | FLEET_TILES_1S_HOURS               |
| {S}:tiles:traded:30s | hash   | tiles, commit, import, cut | jobs, feed  | FLEET_TILES_30S_HOURS              |
| {S}:tiles:traded:5m | hash    | roll, day_tiles, commit, import, cut | feed | FLEET_FOOTPRINT_DAYS       |
| {S}:tiles:traded:1h | hash    | roll, day_tiles, commit, import, cut | feed | FLEET_FOOTPRINT_DAYS       |
| {S}:tiles:traded:1d | hash    | roll, day_tiles, commit, import, cut | feed | FLEET_FOOTPRINT_DAYS       |
| {S}:tiles:depth:1s  | hash    | depth_tiles, dropped | jobs, feed         | FLEET_DEPTH_TILES_1S_HOURS             |
| {S}:tiles:depth:5s  | hash    | depth_tiles, dropped | jobs, feed         | FLEET_DEPTH_TILES_5S_HOURS             |
| {S}:tiles:depth:30s | hash    | depth_tiles, dropped | jobs, feed         | FLEET_DEPTH_TILES_30S_HOURS            |
| {S}:tiles:depth:5m  | hash    | depth_tiles, dropped | jobs, feed         | FLEET_DEPTH_TILES_DAYS                 |
| {S}:tiles:depth:1h  | hash    | depth_tiles, dropped | jobs, feed         | FLEET_DEPTH_TILES_DAYS                 |
| {S}:tiles:depth:1d  | hash    | depth_tiles, dropped | jobs, feed         | FLEET_DEPTH_TILES_DAYS                 |
| {S}:staged          | hash    | roll-up jobs, import, roll | roll-up jobs | 2 fields a day being sealed, one a month |
| {S}:unarchived      | zset    | roll, unarchive, archived | archive jobs, feed | days sealed and not archived since |
| {S}:archive         | hash    | archived, commit, import, give_up | feed, jobs | 20 fields; 64 lost spans a series |
| {S}:archived:candles | zset   | archived, list_archive | feed, jobs, doctor | an object a month                   |
| {S}:archived:footprints | zset | archived, list_archive | feed, jobs, doctor | an object a day                    |
| {S}:archived:trades | zset    | archived_trades, import, list_archive | feed, jobs, doctor | an object a day       |
| {S}:faults          | hash    | readers of the archive    | feed, doctor | manifest.MAX_FAULTS fields         |
| {S}:late:candles    | zset    | commit, archived    | jobs, feed         | MAX_LATE of commit.lua                 |
| {S}:late:footprints | zset    | commit, archived    | archive jobs, feed | MAX_LATE of commit.lua                 |
| {S}:depth           | zset    | depth               | worker, feed       | chunks kept, one a minute              |
| {S}:book            | hash    | book                | feed               | 7 fields; book.MAX_BOOK_LEVELS         |
| {S}:events          | stream  | commit, roll, claim | anybody, feed      | FLEET_EVENTS_KEPT entries              |
| {S}:gaps            | hash    | commit, import      | worker, feed       | gaps.MAX_ENDED ended, MAX_PENDING open  |
| {S}:health          | hash    | commit, beat, release | worker, feed     | 16 fields                              |
| {S}:inbox           | stream  | anybody             | inbox source       | trimmed behind the worker              |
| {S}:inbox:ids       | zset    | commit              | inbox source       | MAX_TEXT_IDS of commit.lua             |
| {S}:demand          | zset    | demand              | workers            | 30 s, or FLEET_DEMAND_MS, after the last |
| {S}:focus           | string  | demand              | venue sources      | 30 s after it was last in focus        |
| {VENUE}:budget      | hash    | spend, cooldown     | venue clients      | 61 buckets a limit                     |
| {VENUE}:streams     | zset    | slot                | slot, venue sources | FLEET_STREAMS_PER_VENUE, _PER_KIND    |
| {VENUE}:streams:leaving | zset | slot               | slot               | the same; gone within SLOT_TTL_MS      |
| {VENUE}:streams:holders | hash | slot               | slot               | the same                               |
| {}:streams          | zset    | slot                | slot, venue sources | FLEET_STREAMS_IN_ALL                  |
| {}:streams:leaving  | zset    | slot                | slot               | the same; gone within SLOT_TTL_MS      |
| {}:streams:holders  | hash    | slot                | slot               | the same                               |
| {}:clock            | string  | hold                | hold, doctor       | FLEET_LEASE_TTL_MS after its last sign |
| {}:archive          | string  | rollup, up          | feed, doctor       | jobs.ARCHIVE_TROUBLE_S                 |
| {}:failures         | hash    | rollup, fleet jobs  | clock, feed        | jobs.MAX_FAILURES fields               |

What a feed keeps for subscribers of Redis goes by its TTL, and not with the symbol (common.store.publishing):

| {S}:publisher       | string  | hold, keep          | hold, publish      | TTL publishing.TERM_MS                 |
| {S}:published       | hash    | publish             | feed               | TTL publishing.PROGRESS_KEPT_MS        |
| {S}:ohlcv:<tf>:latest | string | publish             | anybody            | TTL twice the timeframe, 2 min to 2 days |

What is older than a day goes from all series of a symbol by cut (fleet symbols change --from).

The last two are in the queue's Redis, beside RQ's own keys `rq:*` (docs/queue.md); all others are in the store.

Channels: {S}:candles:1m, 1d, 1w and 1M and {S}:events (JSON), {S}:trades (JSON, while it has listeners), {S}:commits
(packed, for the feed; common.store.messages), {S}:depth (packed, while it has listeners; common.store.book). By a feed,
while they have listeners: {S}:candles:<tf> of all other timeframes (JSON).
"""

from dataclasses import dataclass

from common.series import CANDLES, MINUTE_SERIES, MinuteSeries
from common.tiles import TILE_LEVELS, TileLevel

SYMBOLS = "symbols"
# What calendars have otherwise than the library, by their names.
CALENDARS = "calendars"
# Its version. Another key, and on a cluster another slot: it is written after the hash, not with it.
SYMBOLS_VERSION = "{}:symbols"
# How far writers may go in the form of what is stored (common.store.format).
FORMAT_KEY = "{}:format"
# Hash of what all that works on the store must agree on (common.store.agreed).
AGREED = "{}:agreed"
# Of a store that another is being moved to (common.store.move_mark).
MOVING = "{}:moving"
# Series of candles that the roll-up jobs keep.
ROLLED = ("1d", "1w", "1M")
# Which processes there are, of all kinds.
PROCESSES = "{}:workers"
# Of places for streams: those of all venues.
ALL = ""
# Which clock process is the one that ticks.
CLOCK = "{}:clock"
# Jobs of the queue that failed and have not succeeded since.
FAILURES = "{}:failures"
# Why the archive can't be written; there only while it can't.
ARCHIVE_TROUBLE = "{}:archive"


def budget_key(venue: str) -> str:
    """The requests spent at a venue. `venue` names an address too, where several are used."""
    return f"{{{venue}}}:budget"


def series_arguments() -> list[str]:
    """The name of each series of minutes and the field of its floor, as scripts list them (series.lua)."""
    return [name for series in MINUTE_SERIES.values() for name in (series.name, series.floor)]


def archived_series() -> list[str]:
    """Names of the series that the archive has."""
    return [*MINUTE_SERIES, "trades"]


@dataclass(frozen=True, slots=True)
class PlaceKeys:
    """Who has a place for a stream: `of` a venue, of a kind of instrument (which are lower case), or ALL."""

    of: str

    @property
    def places(self) -> str:
        return f"{{{self.of}}}:streams"

    @property
    def leaving(self) -> str:
        return f"{{{self.of}}}:streams:leaving"

    @property
    def holders(self) -> str:
        return f"{{{self.of}}}:streams:holders"


@dataclass(frozen=True, slots=True)
class SymbolKeys:
    """The keys and channels of one symbol. A channel and a key may share a name: Redis keeps them apart."""

    symbol: str

    def _name(self, name: str) -> str:
        return f"{{{self.symbol}}}:{name}"

    @property
    def owner(self) -> str:
        return self._name("owner")

    @property
    def state(self) -> str:
        return self._name("state")

    @property
    def coverage(self) -> str:
        return self._name("coverage")

    @property
    def trades(self) -> str:
        return self._name("trades")

    @property
    def candles(self) -> str:
        """The one-minute candles; also the channel that tells of them."""
        return self.minutes(CANDLES)

    def minutes(self, series: MinuteSeries) -> str:
        """Members of a series that are not sealed."""
        return self._name(f"{series.name}:{series.period.text}")

    @property
    def dirty(self) -> str:
        return self._name("dirty")

    @property
    def rollup(self) -> str:
        return self._name("rollup")

    @property
    def outside(self) -> str:
        return self._name("outside")

    def rolled(self, series: str) -> str:
        """Stored roll-ups of `1d`, `1w` or `1M`; also the channel that tells of them."""
        return self._name(f"candles:{series}")

    @property
    def daily(self) -> str:
        return self.rolled("1d")

    @property
    def weekly(self) -> str:
        return self.rolled("1w")

    @property
    def monthly(self) -> str:
        return self.rolled("1M")

    @property
    def changing(self) -> str:
        """A change of the instrument that is being made."""
        return self._name("changing")

    def of_series(self) -> list[str]:
        """Four of each series of minutes, as scripts list them (series.lua)."""
        return [
            key
            for series in MINUTE_SERIES.values()
            for key in (
                self.minutes(series),
                self.sealed(series.name),
                self.late(series.name),
                self.archived(series.name),
            )
        ]

    def rewritten(self) -> list[str]:
        """The series that a change of the instrument rewrites, in the order of change.lua."""
        rolled, late = map(self.rolled, ROLLED), map(self.late, MINUTE_SERIES)
        return [self.trades, *rolled, *map(self.minutes, MINUTE_SERIES.values()), *late]

    @staticmethod
    def shadow(key: str) -> str:
        """What is to become a series that is rewritten."""
        return f"{key}:changed"

    @property
    def rescale(self) -> str:
        """Archived objects that may be of another scale."""
        return self._name("rescale")

    @property
    def seals(self) -> str:
        return self._name("seals")

    def sealed(self, series: str) -> str:
        """The sealed days of `candles`, `footprints`, ..."""
        return self._name(f"sealed:{series}")

    @property
    def months(self) -> str:
        """What roll-ups of sealed days there are, by UTC month, and what each is made of (common.store.months)."""
        return self._name("months")

    @property
    def rolled_15m(self) -> str:
        """Those roll-ups: 15m candles."""
        return self._name("rolled:15m")

    def tiles(self, level: TileLevel) -> str:
        """By their opens."""
        return self._name(f"tiles:{level.name}")

    @property
    def staged(self) -> str:
        return self._name("staged")

    @property
    def unarchived(self) -> str:
        return self._name("unarchived")

    @property
    def archive(self) -> str:
        return self._name("archive")

    def archived(self, series: str) -> str:
        """What the archive is known to have of `candles`, `footprints` or `trades`."""
        return self._name(f"archived:{series}")

    @property
    def faults(self) -> str:
        """Objects of the archive that are not what was confirmed."""
        return self._name("faults")

    def late(self, series: str) -> str:
        """Parts of `candles` or `footprints` that the archive alone has the minutes of."""
        return self._name(f"late:{series}")

    @property
    def depth(self) -> str:
        return self._name("depth")

    @property
    def book(self) -> str:
        return self._name("book")

    @property
    def events(self) -> str:
        return self._name("events")

    @property
    def gaps(self) -> str:
        return self._name("gaps")

    @property
    def health(self) -> str:
        return self._name("health")

    @property
    def demand(self) -> str:
        return self._name("demand")

    @property
    def focus(self) -> str:
        return self._name("focus")

    @property
    def inbox(self) -> str:
        return self._name("inbox")

    @property
    def text_ids(self) -> str:
        """Of trades pushed with ids that are no numbers."""
        return self._name("inbox:ids")

    @property
    def commits(self) -> str:
        """Channel only."""
        return self._name("commits")

    @property
    def publisher(self) -> str:
        """The feed that publishes what is derived of the symbol."""
        return self._name("publisher")

    @property
    def published(self) -> str:
        """How far each channel of that kind has been told."""
        return self._name("published")

    def latest(self, name: str) -> str:
        """The newest value of `ohlcv:15m`, ..."""
        return self._name(f"{name}:latest")

    def all_keys(self) -> list[str]:
        """Every key of the symbol, for removing it."""
        return [
            self.owner,
            self.state,
            self.coverage,
            self.trades,
            *map(self.minutes, MINUTE_SERIES.values()),
            self.dirty,
            self.rollup,
            self.changing,
            *map(self.shadow, self.rewritten()),
            self.rescale,
            self.outside,
            *map(self.rolled, ROLLED),
            self.seals,
            *map(self.sealed, MINUTE_SERIES),
            self.months,
            self.rolled_15m,
            *map(self.tiles, TILE_LEVELS),
            self.staged,
            self.unarchived,
            self.archive,
            *map(self.archived, archived_series()),
            self.faults,
            *map(self.late, MINUTE_SERIES),
            self.depth,
            self.book,
            self.events,
            self.gaps,
            self.health,
            self.demand,
            self.focus,
            self.inbox,
            self.text_ids,
        ]
