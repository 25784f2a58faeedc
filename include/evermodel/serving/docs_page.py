"""The page `/docs`: the API's description for people, without external resources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>evermodel API</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2933 }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .3rem } h2 code { font-size: 1.05rem }
b { background: #1d4ed8; color: #fff; border-radius: .25rem; padding: .1rem .5rem; font-size: .85rem }
b.get { background: #047857 } table { border-collapse: collapse; margin: .6rem 0 }
td, th { border-bottom: 1px solid #d5dbe1; padding: .25rem 1.2rem .25rem 0; text-align: left; vertical-align: top }
pre { background: #f3f5f7; padding: .8rem; overflow-x: auto; border-radius: .25rem }
@media (prefers-color-scheme: dark) { body { background: #14181d; color: #dde3ea } pre { background: #20262d }
td, th { border-color: #38414b } a { color: #8ab4f8 } }
</style></head><body>"""


def docs_page(description: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    description
        The OpenAPI description.
    """
    note = "Every address except <code>/health</code> and <code>/ready</code> needs a bearer token. "
    protected = note if "securitySchemes" in description.get("components", {}) else ""
    parts = [
        _HEAD,
        f"<h1>evermodel {escape(description['info']['version'])}</h1>",
        f'<p>{protected}For programs: <a href="openapi.json">openapi.json</a>.</p>',
    ]
    for path, methods in description["paths"].items():
        parts += [_operation(path, method, found) for method, found in methods.items()]
    return "\n".join([*parts, "</body></html>"])


def _operation(path: str, method: str, found: Mapping[str, Any]) -> str:
    text = found.get("description") or found.get("summary", "")
    lines = [
        f'<h2><b class="{method}">{method.upper()}</b> <code>{escape(path)}</code></h2>',
        f"<p>{escape(text)}</p>",
    ]
    content = found.get("requestBody", {}).get("content", {}).get("application/json", {})
    if content:
        lines += [_features(content["schema"]), *_examples(path, content)]
    rows = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td></tr>"
        for status, answer in sorted(found["responses"].items())
    )
    return "\n".join([*lines, f"<table><tr><th>status</th><th>when</th></tr>{rows}</table>"])


def _features(schema: Mapping[str, Any]) -> str:
    row = next(one["properties"]["row"] for one in schema["oneOf"] if "row" in one["properties"])
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(' or '.join(kind['type']))}"
        f"{'' if name in row['required'] else escape(', optional: ' + kind['description'])}</td></tr>"
        for name, kind in row["properties"].items()
    )
    return f"<table><tr><th>field of a row</th><th>type</th></tr>{rows}</table>"


def _examples(path: str, content: Mapping[str, Any]) -> list[str]:
    return [
        f"<pre>POST {escape(path)}\n{escape(json.dumps(example['value'], indent=1, ensure_ascii=False))}</pre>"
        for example in content.get("examples", {}).values()
    ]
