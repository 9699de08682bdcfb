"""What a feed says of itself: `/openapi.json`, and `/docs`, a page made of the same."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feed.services import services_of
from feed.wire.openapi import Declared, document

STYLE = """
:root{color-scheme:light dark;--line:#8884;--dim:#888;--mark:#2a7de1}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:2.2rem 0 .3rem;border-top:1px solid var(--line);padding-top:1rem}
code,h2{font-family:ui-monospace,monospace}h2 a{color:inherit;text-decoration:none}
p{margin:.3rem 0}.dim{color:var(--dim)}nav a{display:block;color:var(--mark);text-decoration:none}
table{border-collapse:collapse;width:100%;margin:.6rem 0}
td,th{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0}
tr+tr{border-top:1px solid var(--line)}th{font-weight:500;color:var(--dim)}details{margin:.4rem 0}
pre{overflow-x:auto;padding:.6rem;border:1px solid var(--line);border-radius:4px;font-size:13px}
"""
_DIGEST = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# Nothing is loaded and no script runs.
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'; base-uri 'none'"


def pages(endpoints: Sequence[Declared]) -> list[Route]:
    """Routes of both, for these endpoints."""

    def told(request: Request) -> dict[str, Any]:
        return document(endpoints, services_of(request).settings.query_limit_max)

    async def json(request: Request) -> Response:
        return Response(orjson.dumps(told(request)), media_type="application/json")

    async def html(request: Request) -> Response:
        return Response(page(told(request)), media_type="text/html", headers={"content-security-policy": POLICY})

    return [Route("/openapi.json", json), Route("/docs", html)]


def page(found: Mapping[str, Any]) -> str:
    """The document as a page that needs nothing else."""
    info, paths = found["info"], found["paths"]
    links = "".join(f'<a href="#{_anchor(path)}">{escape(path)}</a>' for path in paths)
    parts = "".join(_endpoint(path, item["get"]) for path, item in paths.items())
    names = "".join(_shape(name, shape) for name, shape in found["components"]["schemas"].items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style><h1>{escape(info['title'])} "
        f'<span class="dim">{escape(info["version"])}</span></h1><p>{escape(info["description"])}</p>'
        f'<p>As data: <a href="openapi.json">openapi.json</a></p><nav>{links}</nav>{parts}<h2>shapes</h2>{names}</html>'
    )


def _endpoint(path: str, operation: Mapping[str, Any]) -> str:
    rows = "".join(map(_row, operation["parameters"]))
    table = f"<table><tr><th>parameter<th>default<th>{rows}</table>" if rows else ""
    kinds = operation["responses"]["200"]["content"]
    answer = _shape("answer", kinds["application/json"]["schema"])
    forms = f'<p class="dim">{escape(", ".join(kinds))}</p>' if len(kinds) > 1 else ""
    heading = f'<h2 id="{_anchor(path)}"><a href="#{_anchor(path)}">GET {escape(path)}</a></h2>'
    return f"{heading}<p>{escape(operation['summary'])}</p>{table}{forms}{answer}"


def _row(parameter: Mapping[str, Any]) -> str:
    schema = parameter["schema"]
    default = schema.get("default", "")
    text = ",".join(map(str, default)) if isinstance(default, list) else str(default)
    bounds = " · ".join(_bounds(schema))
    about = escape(parameter["description"]) + (f'<br><span class="dim">{escape(bounds)}</span>' if bounds else "")
    return f"<tr><td><code>{escape(parameter['name'])}</code><td><code>{escape(_short(text))}</code><td>{about}"


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    """What a value may be, in words."""
    words: Iterable[str] = schema.get("enum") or schema.get("items", {}).get("enum", ())
    if words:
        yield ", ".join(words)
    if "minimum" in schema:
        yield f"{schema['minimum']:,} to {schema['maximum']:,}"
    if "maxItems" in schema:
        yield f"at most {schema['maxItems']}"


def _shape(name: str, shape: Mapping[str, Any]) -> str:
    text = orjson.dumps(shape, option=orjson.OPT_INDENT_2).decode()
    return f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _anchor(path: str) -> str:
    return path.strip("/").replace("/", "-").replace("{", "").replace("}", "")
