"""Who may ask, by the settings; refused where that is more than is said. feed.web.doors asks it at each request."""

from dataclasses import dataclass
from ipaddress import ip_address

from common.access import (
    LOOPBACK_NAMES,
    NO_TOKENS,
    WILDCARDS,
    Network,
    Role,
    Token,
    is_loopback,
    parse_hosts,
    parse_origins,
    parse_proxies,
    parse_tokens,
    role_of,
)
from common.errors import OperatorError
from common.settings import Settings

# In the scope of a handshake: the role it was let in with, None while that is to be shown yet.
ROLE = "feed.role"


@dataclass(frozen=True, slots=True)
class Access:
    """`tokens`: none where everybody may ask. `is_open`: on purpose, also beyond this machine."""

    hosts: frozenset[str]
    origins: frozenset[str]
    proxies: tuple[Network, ...]
    tokens: tuple[Token, ...]
    is_open: bool

    @classmethod
    def of(cls, settings: Settings) -> "Access":
        """OperatorError where the feed could be reached by more than is said."""
        host, tokens = settings.host, parse_tokens(settings.api_tokens)
        is_open = settings.api_tokens.strip() == NO_TOKENS
        if not is_loopback(host) and not tokens and not is_open:
            raise OperatorError(
                f"FLEET_HOST is {host}, beyond this machine, and FLEET_API_TOKENS is not set:"
                " 'fleet token new NAME' prints one and the line to set; FLEET_API_TOKENS=none opens it to everybody"
            )
        hosts = parse_hosts(settings.allowed_hosts)
        if host in WILDCARDS and not hosts:
            raise OperatorError(
                f"FLEET_HOST is {host}, any address, and FLEET_ALLOWED_HOSTS is not set:"
                " it must name what the feed is reached by, such as fleet.example.org"
            )
        hosts |= LOOPBACK_NAMES | ({host.lower()} - WILDCARDS)
        origins, proxies = parse_origins(settings.allowed_origins), parse_proxies(settings.trusted_proxies)
        return cls(hosts, origins, proxies, tokens, is_open and not is_loopback(host))

    def role_of(self, token: str) -> Role | None:
        return role_of(token, self.tokens)

    def is_trusted(self, address: str) -> bool:
        """Whether it is a proxy's whose word counts."""
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.proxies)

    def client_of(self, address: str, forwarded_for: str) -> str:
        """Whom the nearest proxy that is not trusted, or the last of those that are, has heard."""
        hops = [hop.strip() for hop in forwarded_for.split(",") if hop.strip()]
        while hops and self.is_trusted(address):
            address = hops.pop()
        return address
