"""Who may ask the feed, as settings say it: hosts, origins, proxies and tokens, each a list with commas between."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

Network = IPv4Network | IPv6Network

# The whole of FLEET_API_TOKENS where everybody may ask on purpose.
NO_TOKENS = "none"
# Any host: for a feed that a platform reaches by names of its own.
ANY_HOST = "*"
LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
WILDCARDS = frozenset(("0.0.0.0", "::", ""))

# What a token begins with: so that a scanner for secrets, or a person, knows one.
_PREFIX = "fleet_"
_TOKEN_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class Role(IntEnum):
    """What a token allows; a higher one includes the lower ones."""

    READ = 1
    DRAW = 2
    TRADE = 3
    ADMIN = 4


@dataclass(frozen=True, slots=True)
class Token:
    """`digest`: SHA-256 of the token in hex. The token itself is known to its holder alone."""

    name: str
    role: Role
    digest: str

    def __str__(self) -> str:
        return f"{self.name}:{self.role.name.lower()}:{self.digest}"


def new_token(name: str, role: Role) -> tuple[str, Token]:
    """Return a token that never was, to be shown once, and what is kept of it."""
    text = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    return text, Token(checked_name(name), role, digest_of(text))


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def role_of(token: str, known: Iterable[Token]) -> Role | None:
    """Return what the token allows, None if it is none of them. Takes as long for one as for the other."""
    digest = digest_of(token)
    roles = [each.role for each in known if hmac.compare_digest(each.digest, digest)]
    return max(roles, default=None)


def checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name[:40]!r} is not 1 to 32 characters of A-Z, a-z, 0-9 and _.-")
    return name


def parse_tokens(text: str) -> tuple[Token, ...]:
    """Read FLEET_API_TOKENS; none for NO_TOKENS. ValueError says what is expected, and repeats nothing of the text."""
    if text.strip() in ("", NO_TOKENS):
        return ()
    tokens = tuple(_token(part) for part in _parts(text))
    if len({token.name for token in tokens}) < len(tokens):
        raise ValueError("each name must be there once")
    return tokens


def parse_hosts(text: str) -> frozenset[str]:
    """Host names in lower case, without a port; `*.example.org` are those below it, `*` is any."""
    return frozenset(_host(part) for part in _parts(text))


def parse_origins(text: str) -> frozenset[str]:
    return frozenset(_origin(part) for part in _parts(text))


def parse_proxies(text: str) -> tuple[Network, ...]:
    return tuple(_network(part) for part in _parts(text))


def is_loopback(host: str) -> bool:
    """Whether nothing but this machine reaches what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def host_name(authority: str) -> str:
    """The name in a Host header or a URL's authority: in lower case, without port, brackets and a last dot."""
    name = authority.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].rstrip(".")


def matches(name: str, hosts: Iterable[str]) -> bool:
    """Whether a name is one of `parse_hosts`."""
    return any(
        host in (ANY_HOST, name) or (host.startswith("*.") and name.endswith(host[1:])) for host in hosts if name
    )


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _token(text: str) -> Token:
    name, _, rest = text.partition(":")
    role, _, digest = rest.partition(":")
    if not _NAME.fullmatch(name) or role.upper() not in Role.__members__ or not _DIGEST.fullmatch(digest):
        roles = "|".join(role.name.lower() for role in Role)
        raise ValueError(f"it must be NAME:{roles}:SHA256 as 'fleet token new' prints it, several with commas, or none")
    return Token(name, Role[role.upper()], digest)


def _host(text: str) -> str:
    if text == ANY_HOST or _is_address(text):
        return text.lower()
    name = host_name(text)
    if "/" in text or not (_HOST.fullmatch(name) or _is_address(name)):
        raise ValueError(f"{text[:40]!r} is no host name such as fleet.example.org, *.example.org or 192.0.2.7")
    return name


def _origin(text: str) -> str:
    """As a browser sends it: in lower case, without the port that its scheme has anyway."""
    try:
        found = urlsplit(text.lower())
        host, port = found.hostname, found.port
    except ValueError:
        host = port = None
    shown = f"[{host}]" if host and ":" in host else host
    origin = f"{text.lower().partition(':')[0]}://{shown}"
    if not host or found.scheme not in _PORTS or text.lower() not in (origin, f"{origin}:{port}"):
        raise ValueError(f"{text[:40]!r} is no origin such as https://charts.example.org")
    return origin if port in (None, _PORTS[found.scheme]) else f"{origin}:{port}"


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no address or network such as 10.0.0.0/8") from None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
