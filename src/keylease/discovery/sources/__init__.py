"""The sources, and which of them a file belongs to."""

from __future__ import annotations

from typing import Final

from keylease.discovery.sources.azure_pipelines import AzurePipelines
from keylease.discovery.sources.circleci import CircleCi
from keylease.discovery.sources.cloud import CloudCommandLines, is_cloud_folder
from keylease.discovery.sources.code import Code
from keylease.discovery.sources.compose import Compose
from keylease.discovery.sources.deployments import Cloudflare, Netlify, Vercel
from keylease.discovery.sources.dockerfiles import Dockerfiles
from keylease.discovery.sources.dotenv import DotEnv
from keylease.discovery.sources.editors import Editors
from keylease.discovery.sources.git_files import GitFiles
from keylease.discovery.sources.github_actions import GitHubActions
from keylease.discovery.sources.gitlab_ci import GitLabCi
from keylease.discovery.sources.helm import HelmValues
from keylease.discovery.sources.kubernetes import Kubernetes
from keylease.discovery.sources.notebooks import Notebooks
from keylease.discovery.sources.package_managers import PackageManagers
from keylease.discovery.sources.schedules import Crontabs, SystemdUnits, is_crontab
from keylease.discovery.sources.shells import ShellHistory, ShellProfile
from keylease.discovery.sources.source import Source
from keylease.discovery.sources.terraform import TerraformCode, TerraformState

__all__ = ["Source", "source_of"]

_CLOUD: Final = CloudCommandLines()
_CRON: Final = Crontabs()
_GIT: Final = GitFiles()
_PLAIN: Final = Source()
_ALL: Final[tuple[Source, ...]] = (
    DotEnv(),
    Notebooks(),
    ShellHistory(),
    ShellProfile(),
    GitHubActions(),
    GitLabCi(),
    CircleCi(),
    AzurePipelines(),
    Dockerfiles(),
    Compose(),
    Kubernetes(),
    HelmValues(),
    TerraformState(),
    TerraformCode(),
    Vercel(),
    Netlify(),
    Cloudflare(),
    _CRON,
    SystemdUnits(),
    _GIT,
    PackageManagers(),
    _CLOUD,
    Editors(),
    Code(),
)
"""The first that claims a file has it."""
_BY_NAME: Final = {name: source for source in reversed(_ALL) for name in source.names}
_BEGINNINGS: Final = tuple(
    (beginning, source) for source in _ALL for beginning in source.beginnings
)
_ANY_BEGINNING: Final = tuple(beginning for beginning, _ in _BEGINNINGS)
_BY_ENDING: Final[dict[str, tuple[Source, ...]]] = {
    ending: tuple(source for source in _ALL if ending in source.endings)
    for ending in {ending for source in _ALL for ending in source.endings}
}
_LONG_ENDINGS: Final = tuple(
    sorted((ending for ending in _BY_ENDING if ending.count(".") > 1), key=len, reverse=True)
)


def source_of(path: str, data: bytes) -> Source:
    """The source of a file. ``path`` is absolute; ``data`` what was read of it."""
    lowered = path.lower()
    name = lowered[lowered.rfind("/") + 1 :]
    named = _BY_NAME.get(name)
    if named is not None and named.claims(lowered, name, data):
        return named
    if name.startswith(_ANY_BEGINNING):
        for beginning, source in _BEGINNINGS:
            if name.startswith(beginning) and source.claims(lowered, name, data):
                return source
    ending = name[name.rfind(".") :] if "." in name else ""
    if name.endswith(_LONG_ENDINGS):
        ending = next(long for long in _LONG_ENDINGS if name.endswith(long))
    for source in _BY_ENDING.get(ending, ()):
        if source.claims(lowered, name, data):
            return source
    return _by_folder(lowered)


def _by_folder(path: str) -> Source:
    """Files whose names say nothing, in folders that do."""
    if "/." in path and is_cloud_folder(path):
        return _CLOUD
    if "/.git/" in path:
        return _GIT
    if "cron" in path and is_crontab(path):
        return _CRON
    return _PLAIN
