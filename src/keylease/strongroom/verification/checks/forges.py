"""GitHub and GitLab tokens, and Vercel's.

Sources: docs.github.com REST API (2022-11-28; ``X-OAuth-Scopes``); docs.gitlab.com, personal access
tokens API (``/personal_access_tokens/self``); vercel.com/docs/rest-api (get the user).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec

from keylease.contracts.findings import Belonging
from keylease.strongroom.secrets import Secret
from keylease.strongroom.verification.checks.interfaces import (
    USE,
    Answer,
    Found,
    NotAsked,
    Request,
    bearer,
    by_status,
    dead,
    live,
)

_INSTALLATION: Final = b"ghs_"
_REFRESH: Final = b"ghr_"
_PERSONAL: Final = b"glpat-"


class GitHub(msgspec.Struct, frozen=True):
    """Tokens of github.com. A GitHub Enterprise Server's look the same: name it in gateway.toml."""

    provider: str = "github"
    title: str = "GitHub"
    kinds: tuple[str, ...] = ("github-token", "github-fine-grained-token")
    origins: tuple[str, ...] = ("https://api.github.com",)
    self_hosted: bool = False

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request | NotAsked:
        """An installation's token has no user; a refresh token cannot ask anything."""
        del key_id, origin, now
        value = secret.reveal(why=USE)
        if value.startswith(_REFRESH):
            return NotAsked("A refresh token is used up by trying it.")
        installed = value.startswith(_INSTALLATION)
        path = "/installation/repositories?per_page=1" if installed else "/user"
        return Request(
            path,
            {
                **bearer(secret),
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )

    def read(self, answer: Answer) -> Found:
        """403 with none of the rate left is no verdict; with some left the token works."""
        scopes = tuple(filter(None, answer.headers.get("x-oauth-scopes", "").split(", ")))
        account = answer.words("login")
        owner = answer.words("repositories", 0, "owner", "login")
        belongs_to = Belonging(account=account, organization=owner, scopes=scopes)
        left = answer.headers.get("x-ratelimit-remaining", "")
        if answer.status == HTTPStatus.FORBIDDEN and left.isdigit() and int(left) > 0:
            return live(belongs_to, reason="It is accepted; it may not say whose it is.")
        return by_status(
            answer,
            belongs_to,
            as_expected=bool(account) or answer.member("total_count") is not None,
        )


class GitLab(msgspec.Struct, frozen=True):
    """Personal, project and group access tokens."""

    provider: str = "gitlab"
    title: str = "GitLab"
    kinds: tuple[str, ...] = ("gitlab-token",)
    origins: tuple[str, ...] = ("https://gitlab.com",)
    self_hosted: bool = True

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request | NotAsked:
        """Deploy, trigger and runner tokens have no such question."""
        del key_id, origin, now
        value = secret.reveal(why=USE)
        if not value.startswith(_PERSONAL):
            return NotAsked("There is no harmless question for this kind of GitLab token.")
        return Request(
            "/api/v4/personal_access_tokens/self", {"PRIVATE-TOKEN": value.decode("latin-1")}
        )

    def read(self, answer: Answer) -> Found:
        """``insufficient_scope`` is said to tokens that work."""
        if answer.member("active") is False:
            return dead("It was revoked, or is over.")
        given = answer.member("scopes")
        scopes = tuple(one for one in given if isinstance(one, str)) if type(given) is list else ()
        belongs_to = Belonging(account=answer.words("user_id"), scopes=scopes)
        if answer.status == HTTPStatus.FORBIDDEN and answer.words("error") == "insufficient_scope":
            return live(belongs_to, reason="It is accepted; it may not say whose it is.")
        return by_status(answer, belongs_to, as_expected=answer.member("active") is True)


class Vercel(msgspec.Struct, frozen=True):
    """Says who asks."""

    provider: str = "vercel"
    title: str = "Vercel"
    kinds: tuple[str, ...] = ("vercel-token", "vercel-token-24")
    origins: tuple[str, ...] = ("https://api.vercel.com",)
    self_hosted: bool = False

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request:
        """One GET."""
        del key_id, origin, now
        return Request("/v2/user", bearer(secret))

    def read(self, answer: Answer) -> Found:
        """A wrong token gets 403 and ``invalidToken``."""
        if answer.member("error", "invalidToken") is True:
            return dead()
        belongs_to = Belonging(account=answer.words("user", "username"))
        return by_status(answer, belongs_to, as_expected=bool(answer.words("user", "id")))


CHECKS: Final = (GitHub(), GitLab(), Vercel())
