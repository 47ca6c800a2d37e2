"""Reads what a cluster holds: secrets, config maps, and the workloads that use them.

The API answers in pages; each kind of object is read by itself, so that a role that may list some
of them is of use. Throttling is waited for, within bounds; what is late or wrong is reported.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec

from keylease.contracts.findings import OwnerCandidate, PlaceKind
from keylease.discovery.cluster.kubeconfig import ClusterAccess
from keylease.discovery.names import environment_of, provider_of
from keylease.discovery.pieces import Piece
from keylease.discovery.problems import Problems
from keylease.discovery.sightings import NameSighting, Place
from keylease.discovery.sources.kubernetes import OWNER_LABELS
from keylease.errors import EgressRefused, ScanInvalid
from keylease.primitives.egress import Resolver, resolve
from keylease.primitives.egress.client import GuardedTransport
from keylease.primitives.egress.tls import client_context

_PAGE: Final = 250
_MAXIMUM_PAGES: Final = 4000
_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Bytes of one page: 250 secrets of at most 1 MiB would be more; such pages are halved."""
_SECONDS: Final = 60.0
_ATTEMPTS: Final = 5
_LONGEST_WAIT: Final = 30.0
_RESOURCES: Final = (
    "/api/v1/secrets",
    "/api/v1/configmaps",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/apis/apps/v1/daemonsets",
    "/apis/batch/v1/cronjobs",
    "/apis/batch/v1/jobs",
    "/api/v1/pods",
)
_TOO_LARGE: Final = "too_large"


class ClusterText(NamedTuple):
    """The values of one object, a name and a value on each line, and whose it may be."""

    piece: Piece
    environment: str
    owners: tuple[OwnerCandidate, ...]


class Cluster(NamedTuple):
    """A cluster to be read."""

    access: ClusterAccess
    resolver: Resolver = resolve


def read_cluster(cluster: Cluster, problems: Problems) -> Iterator[ClusterText | NameSighting]:
    """Everything that may hold or use a secret. Never raises for the cluster's sake."""
    found: list[ClusterText | NameSighting] = []

    async def collect() -> None:
        async with _client(cluster) as client:
            for resource in _RESOURCES:
                async for item in _items(client, resource, cluster.access.context, problems):
                    found.extend(_from(item, resource, cluster.access.context))

    asyncio.run(collect())
    yield from found


@contextlib.asynccontextmanager
async def _client(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    access = cluster.access
    host = urlsplit(access.server).hostname or ""
    transport = GuardedTransport(
        # Clusters mostly live in private networks; this one was asked for by name.
        allow_private=lambda name: name == host,
        timeout=_SECONDS,
        maximum_bytes=_ANSWER_BYTES,
        ssl_context=_context(access),
        resolver=cluster.resolver,
    )
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if access.token:
        headers["Authorization"] = f"Bearer {access.token}"
    async with httpx.AsyncClient(
        base_url=access.server,
        transport=transport,
        timeout=_SECONDS,
        follow_redirects=False,
        trust_env=False,
        headers=headers,
    ) as client:
        yield client


def _context(access: ClusterAccess) -> ssl.SSLContext:
    context = client_context(None)
    try:
        if access.authority:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_verify_locations(cadata=access.authority.decode("ascii"))
        if access.certificate:
            with _only_in_memory(access.certificate) as path:
                context.load_cert_chain(path)
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise ScanInvalid(
            f"The certificates of the context {access.context} in the kubeconfig cannot be used."
        ) from None
    return context


@contextlib.contextmanager
def _only_in_memory(content: bytes) -> Iterator[str]:
    """A path to bytes that lie in no directory: OpenSSL reads certificates from paths only."""
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("certificate", os.MFD_CLOEXEC), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below; it has no name
    with file:
        file.write(content)
        file.flush()
        file.seek(0)
        yield f"/dev/fd/{file.fileno()}"


async def _items(
    client: httpx.AsyncClient, resource: str, context: str, problems: Problems
) -> AsyncIterator[Mapping[str, Any]]:
    title = f"cluster {context}: {resource.rpartition('/')[2]}"
    following, limit, seen = "", _PAGE, set[str]()
    for _ in range(_MAXIMUM_PAGES):
        parameters = {"limit": str(limit)} | ({"continue": following} if following else {})
        page, wrong = await _page(client, resource, parameters)
        if wrong == _TOO_LARGE and limit > 1:
            limit = max(1, limit // 4)
            continue
        if wrong:
            problems.add("cluster", title, wrong)
            return
        items = page.get("items")
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict):
                yield item
        metadata = page.get("metadata")
        following = str(metadata.get("continue") or "") if isinstance(metadata, dict) else ""
        if not following:
            return
        if following in seen:
            problems.add("cluster", title, "The server gives the same page again and again.")
            return
        seen.add(following)
    problems.add("cluster", title, "There are more pages than are read.")


async def _page(
    client: httpx.AsyncClient, resource: str, parameters: Mapping[str, str]
) -> tuple[Mapping[str, Any], str]:
    """A page, or what was wrong with it."""
    for attempt in range(_ATTEMPTS):
        try:
            answer = await client.get(resource, params=dict(parameters))
        except EgressRefused as error:
            too_large = "larger" in error.message
            return {}, _TOO_LARGE if too_large else f"It may not be reached: {error.message}"
        except httpx.TimeoutException:
            return {}, "The server did not answer in time."
        except httpx.HTTPError:
            return {}, "The server cannot be reached, or broke the connection."
        if answer.status_code in {429, 503} and attempt + 1 < _ATTEMPTS:
            await asyncio.sleep(_wait(answer.headers.get("retry-after", ""), attempt))
            continue
        if answer.status_code == httpx.codes.OK:
            return _decoded(answer.content)
        return {}, _refusal(answer.status_code)
    return {}, "The server throttles."


def _wait(retry_after: str, attempt: int) -> float:
    stated = float(retry_after) if retry_after.isdecimal() else 0.5 * 2.0**attempt
    return min(stated, _LONGEST_WAIT)


def _decoded(content: bytes) -> tuple[Mapping[str, Any], str]:
    try:
        page = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        page = None
    if not isinstance(page, dict):
        return {}, "The server answered with something that is no list of objects."
    return page, ""


def _refusal(status: int) -> str:
    if status in {401, 403}:
        return f"The role in the kubeconfig may not list them (HTTP {status})."
    if status == httpx.codes.NOT_FOUND:
        return "The server does not have them."
    return f"The server answered with HTTP {status}."


# --- objects -------------------------------------------------------------------------------


def _from(
    item: Mapping[str, Any], resource: str, context: str
) -> Iterator[ClusterText | NameSighting]:
    metadata = _mapping(item.get("metadata"))
    if metadata.get("ownerReferences") and resource.endswith(("/pods", "/jobs")):
        return  # made from a workload that is read itself
    namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
    kind = resource.rpartition("/")[2].removesuffix("s")
    title = f"cluster {context}: {kind} {namespace}/{name}"
    environment = environment_of(namespace) or environment_of(context)
    owners = tuple(_owners(metadata))
    if resource.endswith(("/secrets", "/configmaps")):
        entries = _values(item, encoded=resource.endswith("/secrets"))
    else:
        entries = list(_plain_variables(item))
        yield from _references(item, title, environment, owners)
    if entries:
        lines = b"\n".join(name.encode(errors="replace") + b"=" + value for name, value in entries)
        yield ClusterText(Piece(lines, title), environment, owners)


def _values(item: Mapping[str, Any], *, encoded: bool) -> list[tuple[str, bytes]]:
    found = []
    for group in ("data", "stringData", "binaryData"):
        for name, value in _mapping(item.get(group)).items():
            if not isinstance(value, str):
                continue
            data = value.encode(errors="replace")
            if (encoded and group == "data") or group == "binaryData":
                with contextlib.suppress(binascii.Error, ValueError):
                    data = base64.b64decode(value)
            found.append((str(name), data))
    return found


def _plain_variables(item: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for container in _containers(item):
        for entry in _list(container.get("env")):
            if isinstance(entry.get("value"), str):
                yield str(entry.get("name", "")), entry["value"].encode(errors="replace")
        for group in ("command", "args"):
            arguments = container.get(group)
            if isinstance(arguments, list):
                text = " ".join(map(str, arguments))
                yield group, text.encode(errors="replace")


def _references(
    item: Mapping[str, Any], title: str, environment: str, owners: tuple[OwnerCandidate, ...]
) -> Iterator[NameSighting]:
    for container in _containers(item):
        for entry in _list(container.get("env")):
            reference = _mapping(_mapping(entry.get("valueFrom")).get("secretKeyRef"))
            name = str(entry.get("name", ""))
            provider = provider_of(name) or provider_of(str(reference.get("key", "")))
            if reference and provider:
                place = Place(
                    path=title.encode(),
                    kind=PlaceKind.KUBERNETES_CLUSTER,
                    name=name,
                    environment=environment,
                    detail=f"container {container.get('name', '')}",
                    owners=owners,
                )
                target = f"{reference.get('name', '')}/{reference.get('key', '')}"
                yield NameSighting(
                    name,
                    provider,
                    f"secretKeyRef {target}",
                    practice=False,
                    place=place,
                    refers_to=target,
                )


def _containers(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    spec = _mapping(item.get("spec"))
    spec = _mapping(_mapping(spec.get("jobTemplate")).get("spec")) or spec
    spec = _mapping(_mapping(spec.get("template")).get("spec")) or spec
    for group in ("containers", "initContainers", "ephemeralContainers"):
        yield from _list(spec.get(group))


def _owners(metadata: Mapping[str, Any]) -> Iterator[OwnerCandidate]:
    for group in ("labels", "annotations"):
        for label, value in _mapping(metadata.get(group)).items():
            if label in OWNER_LABELS and isinstance(value, str):
                yield OwnerCandidate(value, f"{group[:-1]} {label}")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
