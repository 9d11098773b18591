"""The page at `/`: what runs here and where to go on. No script, nothing from elsewhere."""

from __future__ import annotations

import html
from string import Template

from fastapi import Request
from starlette.responses import HTMLResponse, JSONResponse

from tidegate.api.access import guarded_router

router = guarded_router(include_in_schema=False)

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tidegate</title>
<style>
:root { color-scheme: light dark; --ink: #12303f; --soft: #55707e; --ground: #f6f9fa; --card: #fff;
  --line: #d9e4e8; --sea: #0b7285 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3eef2; --soft: #93adb8; --ground: #0c1a21; --card: #12252e; --line: #223b47; --sea: #4fc3d9 }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 44rem; margin: 0 auto; padding: 4rem 1.25rem }
h1 { margin: 0; font-size: 2.2rem; letter-spacing: -.02em }
h1 span { color: var(--sea) }
p { color: var(--soft); margin: .4rem 0 2rem }
ul { list-style: none; margin: 0; padding: 0; background: var(--card);
  border: 1px solid var(--line); border-radius: 12px }
li + li { border-top: 1px solid var(--line) }
a { display: flex; gap: 1rem; justify-content: space-between; padding: .8rem 1.1rem; color: inherit;
  text-decoration: none }
a:hover, a:focus-visible { color: var(--sea) }
code { color: var(--soft); font: .88em ui-monospace, monospace; overflow-wrap: anywhere; text-align: right }
</style>
</head>
<body>
<main>
<h1>Tide<span>gate</span></h1>
<p>Version $version. Runs heavy data jobs on a machine filled to the edge and never over it.</p>
<ul>
$links
</ul>
</main>
</body>
</html>
""")
_LINKS = (
    ("Jobs", "/api/v1/jobs"),
    ("Sources", "/api/v1/sources"),
    ("Queues", "/api/v1/queues"),
    ("Workers", "/api/v1/workers"),
    ("Able to work?", "/api/v1/health/ready"),
    ("Alive?", "/health"),
    ("Every route, as OpenAPI", "/openapi.json"),
)


@router.get("/openapi.json")
async def description(request: Request) -> JSONResponse:
    """Every route with its parameters and shapes."""
    return JSONResponse(request.app.openapi())


@router.get("/")
async def index(request: Request) -> HTMLResponse:
    """A plain page of links."""
    links = "\n".join(
        f'<li><a href="{path}">{html.escape(label)} <code>{path}</code></a></li>' for label, path in _LINKS
    )
    page = _PAGE.substitute(version=html.escape(request.app.version), links=links)
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})
