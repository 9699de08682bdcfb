"""`GET /v1/profile/{symbol}`: how much was traded at each price, or for how long, in a period or a span of time."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from common.errors import BadInput
from common.frames.orderflow.statistics import RowRules
from common.market.builder.gaps import Ledger
from common.market.instrument import Instrument
from common.market.orderflow.ratios import WHOLE_BP
from common.market.timeframes.periods import DAY, MONTH, WEEK
from common.market.timeframes.timeframe import MINUTE, MINUTE_MS, Timeframe
from feed.bars import profiles
from feed.bars.profiles import TPO_BRACKET, BracketTimes, Profiles, ProfilesWanted
from feed.queries.endpoint import Endpoint
from feed.queries.flow_parameters import AREA, POC_OF, ROW, SHARE, rules_of, stated_rows
from feed.queries.parameters import END, START, TIMEFRAME_TEXT
from feed.queries.queries import SymbolQueries
from feed.reading.bounds import Span, Window
from feed.reading.budget import QueryBudget
from feed.wire import shapes
from feed.wire.answers import SymbolAnswer, cursor_of, told_coverage
from feed.wire.parameter_types import OneOf, Parsed, Whole
from feed.wire.params import Given, Parameter, Parameters
from feed.wire.profiles import ShownProfiles, profiles_told, times_told

Kind = Literal["session", "day", "week", "month", "range", "composite", "tpo"]
PERIODS: dict[Kind, Timeframe] = {"day": DAY, "week": WEEK, "month": MONTH}

# Of one answer.
MAX_PERIODS = 100
MAX_ROWS = 2_000

KIND: Parameter[Kind] = Parameter("kind", OneOf(get_args(Kind)), "session", "Of what it is a profile.")
COUNT = Parameter("limit", Whole(MAX_PERIODS), 1, "Most periods: of a composite those that it is made of.")
HEIGHT = replace(ROW, default=None)
MAX_ROWS_ASKED = Parameter("max_rows", Whole(MAX_ROWS), 200, "Rows of the highest profile, at most, where row is auto.")


def _developing(text: str) -> Timeframe:
    timeframe = Timeframe.parse(text)
    if timeframe.fixed_ms is None or timeframe.fixed_ms % MINUTE_MS:
        raise BadInput(f"developing is {text[:40]!r}, expected a timeframe of whole minutes")
    return timeframe


DEVELOPING: Parameter[Timeframe | None] = Parameter(
    "developing",
    Parsed(_developing, TIMEFRAME_TEXT),
    None,
    "Bars after each of which the profile so far is told: a timeframe.",
)
NODES: Parameter[int | None] = Parameter("nodes", Whole(50), None, "Rows beside one that it is compared with.")
MIN_SHARE: Parameter[int] = Parameter(
    "min_share", Whole(WHOLE_BP, 0), 0, "Of the poc's volume that a node has at least, in basis points."
)
NAKED = Parameter("naked", OneOf(("0", "1")), "0", "1: with what became of each poc since.")


@dataclass(frozen=True, slots=True)
class ProfileQuery:
    kind: Kind
    start_ms: int | None
    end_ms: int | None
    periods: int
    row_ticks: int | None
    max_rows: int
    rules: RowRules
    developing: Timeframe | None
    shown: ShownProfiles

    @classmethod
    def of(cls, given: Given) -> "ProfileQuery":
        query = cls(
            given[KIND],
            given[START],
            given[END],
            given[COUNT],
            given[HEIGHT],
            given[MAX_ROWS_ASKED],
            rules := rules_of(given),
            given[DEVELOPING],
            ShownProfiles(rules, given[NODES], given[MIN_SHARE], given[NAKED] == "1"),
        )
        query.check()
        return query

    def check(self) -> None:
        if self.kind in ("range", "composite", "tpo") and self.shown.naked:
            raise BadInput(f"naked is 1 of a {self.kind}, expected kind session, day, week or month")
        if self.kind == "tpo" and (self.developing or self.shown.nodes):
            raise BadInput("a tpo has neither developing nor nodes, expected kind session, say")
        if self.kind != "range":
            return
        if self.start_ms is None or self.end_ms is None or self.start_ms == self.end_ms:
            raise BadInput("a range needs start and end, expected start < end")
        for name, ms in (("start", self.start_ms), ("end", self.end_ms)):
            if ms % MINUTE_MS:
                raise BadInput(f"{name} is {ms}, expected the begin of a minute")

    @property
    def span(self) -> Span | None:
        return (self.start_ms or 0, self.end_ms or 0) if self.kind == "range" else None

    def wanted(self, instrument: Instrument) -> ProfilesWanted:
        return ProfilesWanted(
            Window(self.start_ms, self.end_ms, self.periods),
            self.span,
            self.kind == "composite",
            self.row_ticks,
            self.max_rows,
            instrument.anchored(self.developing) if self.developing else None,
            self.shown.naked,
        )

    @property
    def timeframe(self) -> Timeframe:
        return MINUTE if self.kind == "range" else PERIODS.get(self.kind, DAY)


async def answer(symbol: SymbolQueries, query: ProfileQuery) -> SymbolAnswer:
    return await symbol.queries.weighed(lambda budget: _answer(symbol, query, budget))


async def _answer(symbol: SymbolQueries, query: ProfileQuery, budget: QueryBudget) -> SymbolAnswer:
    source, instrument = symbol.source(query.timeframe, budget), symbol.market.instrument
    wanted = query.wanted(instrument)
    if query.kind == "tpo":
        times = await profiles.read_times(source, wanted, TPO_BRACKET.anchored(source.grid.timeframe.sessions))
        told = await budget.run(len(times.brackets), times_told, times, query.rules, instrument)
        return await _told(symbol, query, times, told)
    read = await profiles.read(source, wanted)
    told = await budget.run(len(read.levels), profiles_told, read, query.shown, instrument)
    return await _told(symbol, query, read, told)


async def _told(
    symbol: SymbolQueries, query: ProfileQuery, read: Profiles | BracketTimes, told: list[dict[str, object]]
) -> SymbolAnswer:
    fields: dict[str, object] = {"kind": query.kind, **stated_rows(read.row_ticks, "floor", symbol.market.instrument)}
    fields |= {"va": query.rules.area, "share": query.rules.share_bp}
    from_ms, to_ms = (read.spans[0][0], read.spans[-1][1]) if read.spans else query.span or (0, 0)
    _, holes = read.cover.within(from_ms, to_ms)
    ledger = await symbol.reader.gaps() if holes else Ledger()
    found: dict[str, object] = {"profiles": told, "cursor": cursor_of(read.view.state)}
    found |= told_coverage(read.cover, ledger, from_ms, to_ms)
    return SymbolAnswer(symbol.market, {**fields, **found, "health": symbol.health(read.view)})


ENDPOINT = Endpoint(
    "/v1/profile/{symbol}",
    "How much was traded at each price, or for how long.",
    Parameters(
        (
            KIND,
            START,
            END,
            COUNT,
            HEIGHT,
            MAX_ROWS_ASKED,
            AREA,
            SHARE,
            POC_OF,
            DEVELOPING,
            NODES,
            MIN_SHARE,
            NAKED,
        ),
        ProfileQuery.of,
    ),
    answer,
    shapes.PROFILE,
)
