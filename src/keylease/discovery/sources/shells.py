"""Shell histories and profiles."""

from __future__ import annotations

from typing import ClassVar

from keylease.contracts.findings import PlaceKind
from keylease.discovery.sources.source import Source


class ShellHistory(Source):
    """What was typed: shells, and interpreters that keep a history."""

    kind: ClassVar[PlaceKind] = PlaceKind.SHELL_HISTORY
    names: ClassVar[frozenset[str]] = frozenset(
        {
            ".bash_history",
            ".histfile",
            ".history",
            ".ipython_history",
            ".irb_history",
            ".mysql_history",
            ".node_repl_history",
            ".psql_history",
            ".python_history",
            ".sh_history",
            ".sqlite_history",
            ".zhistory",
            ".zsh_history",
            "fish_history",
            "consolehost_history.txt",
        }
    )


class ShellProfile(Source):
    """What a shell reads when it starts."""

    kind: ClassVar[PlaceKind] = PlaceKind.SHELL_PROFILE
    names: ClassVar[frozenset[str]] = frozenset(
        {
            ".bash_aliases",
            ".bash_login",
            ".bash_profile",
            ".bashrc",
            ".cshrc",
            ".kshrc",
            ".login",
            ".pam_environment",
            ".profile",
            ".tcshrc",
            ".xprofile",
            ".xsessionrc",
            ".zlogin",
            ".zprofile",
            ".zshenv",
            ".zshrc",
            "bash.bashrc",
            "config.fish",
            "environment",
            "microsoft.powershell_profile.ps1",
            "profile.ps1",
        }
    )

    def claims(self, path: str, name: str, data: bytes) -> bool:  # noqa: ARG002 - told by the path
        """``environment`` only in /etc, where it is the one of PAM."""
        return name != "environment" or f"/{path}".endswith("/etc/environment")
