"""A whole page: its style and script are in it, and a policy that lets no others in.

Protects: a script runs only with the nonce of this very answer; nothing is loaded from anywhere; no
    other site can frame a page or send a form from it; text of others is escaped.
"""

from __future__ import annotations

import functools
import secrets
from html import escape
from importlib import resources

from fastapi.responses import HTMLResponse


def page(
    name: str, title: str, body: str, *, status: int = 200, wide: bool = False
) -> HTMLResponse:
    """A page. ``body`` is HTML of ours; whatever is of others in it was escaped."""
    nonce = secrets.token_urlsafe(16)
    document = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} - Keylease</title>
<style nonce="{nonce}">{_asset("page.css")}</style>
</head>
<body data-page="{escape(name)}">
<header><a href="/account">Keylease</a></header>
<main{' class="wide"' if wide else ""}>
{body}
<div id="status" role="status" aria-live="polite" tabindex="-1"></div>
<noscript><p>This page needs JavaScript: passkeys do, too.</p></noscript>
</main>
<script nonce="{nonce}">{_asset("page.js")}</script>
</body>
</html>
"""
    policy = (
        "default-src 'none'; "
        f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(document, status_code=status, headers={"content-security-policy": policy})


def message(title: str, *texts: str, status: int) -> HTMLResponse:
    """A page that says something went wrong, and leads back."""
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in texts if text)
    body = f'<h1>{escape(title)}</h1>{paragraphs}<p><a class="button" href="/sign-in">Back</a></p>'
    return page("message", title, body, status=status)


@functools.cache
def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text("utf-8")
