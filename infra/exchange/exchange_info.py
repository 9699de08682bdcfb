"""The answer of exchangeInfo: what clients need to know of a market before they ask for anything else."""

from typing import Any

from infra.exchange.listing import SimulatedListing, amount
from infra.exchange.rules import Rules

ORDER_TYPES = [
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
]  # fmt: skip
TRADING, HALT = "TRADING", "HALT"


def rate_limits(rules: Rules) -> list[dict[str, Any]]:
    def limit(kind: str, interval: str, number: int, count: int) -> dict[str, Any]:
        return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": count}

    return [
        limit("REQUEST_WEIGHT", "MINUTE", 1, rules.weight_limit),
        limit("ORDERS", "SECOND", 10, 100),
        limit("ORDERS", "DAY", 1, 200_000),
        limit("RAW_REQUESTS", "MINUTE", 5, rules.raw_limit),
    ]


def symbol_info(listing: SimulatedListing, status: str) -> dict[str, Any]:
    return {
        "symbol": listing.symbol,
        "status": status,
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": filters(listing),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def filters(listing: SimulatedListing) -> list[dict[str, Any]]:
    tick, lot = listing.price(1), listing.size(1)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": amount(10**6, 0), "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": amount(9_000, 0), "stepSize": lot},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {"filterType": "MARKET_LOT_SIZE", "minQty": amount(0, 0), "maxQty": amount(100, 0), "stepSize": amount(0, 0)},
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": 10,
            "maxTrailingAboveDelta": 2_000,
            "minTrailingBelowDelta": 10,
            "maxTrailingBelowDelta": 2_000,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": "5",
            "bidMultiplierDown": "0.2",
            "askMultiplierUp": "5",
            "askMultiplierDown": "0.2",
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": amount(5, 0),
            "applyMinToMarket": True,
            "maxNotional": amount(9_000_000, 0),
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
    ]
