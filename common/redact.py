"""URLs as they may be shown: without user, password, and whatever else in them is secret.

Applied where text leaves us: by every FleetError, every log record, the launcher's output, health and the doctor. An
operator's mistakes are covered as well (`s3://KEY:SECRET@bucket`, a password that is not percent-encoded): where it
can't be told what is a secret and what is not, more is hidden.
"""

import re

HIDDEN = "***"
# Up to white space or a quote, without the sentence's own punctuation.
_URL = re.compile(r"""([A-Za-z][A-Za-z0-9+.-]*://)([^\s'"<>`]*[^\s'"<>`.,;:!?)}])""")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Parameters of a query whose value is a secret, as libraries and platforms name them.
_SECRET = re.compile(r"([^&=]*(?:key|secret|token|pass|pwd|auth|sign|sig|credential|session)[^&=]*=)[^&]*", re.I)
# `port`: as our own sentences say what is expected.
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(:(\d*|port))?")


def redacted(text: str) -> str:
    """Return a text in which each URL is without its secrets."""
    return _URL.sub(lambda found: found[1] + _shown(found[2]), text) if "://" in text else text


def redacted_url(url: str) -> str:
    """The same of a whole text that was meant to be a URL, whatever became of it."""
    found = _SCHEME.match(url)
    if not found and "@" not in url:
        return url
    scheme, rest = (found[0], url[found.end() :]) if found else ("", url)
    # Behind a question mark an @ is of a password: that of a user, or one that is a parameter.
    return scheme + (HIDDEN if "@" in rest.partition("?")[2] else _shown(rest))


def _shown(rest: str) -> str:
    """What follows the scheme."""
    where, mark, query = rest.partition("?")
    _, at, place = where.rpartition("@")
    looks_like_host = _HOST_AND_PORT.fullmatch(re.split("[/#]", where)[0])
    if "@" in query.partition("=")[0] or not (at or looks_like_host):
        # A password with a question mark in it: what follows is no query.
        return HIDDEN
    shown = f"{HIDDEN}@{place}" if at else where
    return shown + mark + _SECRET.sub(rf"\1{HIDDEN}", redacted(query))
