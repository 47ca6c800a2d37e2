"""What a scan says, and all of it that may leave the machine: findings, mentions and problems.

Append-only. Nothing here can hold a secret: a credential is told by its fingerprints, its masked
form and the provider's own name for it, and every text that was read somewhere (paths, names,
authors) is masked before it is put in. Times are UTC microseconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

FINDINGS_FORMAT: Final = 1
BASELINE_FORMAT: Final = 1


class Confidence(StrEnum):
    """How sure the detectors are that this is a secret of this provider, rising."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Liveness(StrEnum):
    """What the provider said when it was asked about a key."""

    LIVE = "live"
    """It accepts the key."""
    DEAD = "dead"
    """It does not."""
    UNKNOWN = "unknown"
    """It was not asked, or gave no clear answer; the reason says why."""


class PlaceKind(StrEnum):
    """What kind of place a location is."""

    FILE = "file"
    NOTEBOOK_SOURCE = "notebook_source"
    NOTEBOOK_OUTPUT = "notebook_output"
    ENVIRONMENT_FILE = "environment_file"
    SHELL_HISTORY = "shell_history"
    SHELL_PROFILE = "shell_profile"
    CI_CONFIGURATION = "ci_configuration"
    CONTAINER_CONFIGURATION = "container_configuration"
    """Dockerfiles, compose files."""
    KUBERNETES_MANIFEST = "kubernetes_manifest"
    KUBERNETES_CLUSTER = "kubernetes_cluster"
    HELM_VALUES = "helm_values"
    TERRAFORM_CODE = "terraform_code"
    TERRAFORM_STATE = "terraform_state"
    DEPLOYMENT_CONFIGURATION = "deployment_configuration"
    """Vercel, Netlify, Cloudflare."""
    SCHEDULE = "schedule"
    """Crontabs."""
    SERVICE_UNIT = "service_unit"
    """systemd."""
    PROCESS_ENVIRONMENT = "process_environment"
    EDITOR_CONFIGURATION = "editor_configuration"
    """Editors and assistants, and the MCP servers they start."""
    PACKAGE_CONFIGURATION = "package_configuration"
    """Of package managers."""
    CLOUD_CONFIGURATION = "cloud_configuration"
    """Of cloud and vendor command lines."""
    GIT_CONFIGURATION = "git_configuration"
    GIT_COMMIT = "git_commit"
    """The message of a commit or a tag."""
    FILE_NAME = "file_name"
    CI_SECRET = "ci_secret"  # noqa: S105 - the name of a kind of place
    """A secret that a forge keeps for its pipelines."""
    DEPLOYMENT_SECRET = "deployment_secret"  # noqa: S105 - the name of a kind of place
    """A variable that a hosting service keeps."""
    SECRET_STORE = "secret_store"  # noqa: S105 - the name of a kind of place
    VENDOR_SECRET = "vendor_secret"  # noqa: S105 - the name of a kind of place
    """A key that was given to an AI vendor."""
    TRACE = "trace"
    """A span in which somebody sent it; it was masked before the span was written."""


class Fingerprint(msgspec.Struct, frozen=True, order=True):
    """A keyed hash by which the same secret is recognised in different places.

    HMAC-SHA-256 under an organization's fingerprint key, see ``primitives.fingerprints``. Whoever
    holds that key can ask of a guess whether it is the secret: treat it as such an oracle.
    """

    key_id: str
    """Which fingerprint key; rotated keys keep their id and count their version up."""
    version: int
    value: str
    """64 hexadecimal digits."""

    def __str__(self) -> str:
        return f"{self.key_id}.{self.version}.{self.value}"


class OwnerCandidate(msgspec.Struct, frozen=True, order=True):
    """Who may own a location, and why we think so."""

    owner: str
    reason: str
    """``CODEOWNERS``, ``commit author``, ``last commit to the file``, ``file owner`` ..."""


class Appearance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A commit that put a secret into a place, wrote it there again, or took it out."""

    commit: str
    at: int
    author: str = ""
    path: str = ""


class Location(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A place where a secret or its name was found."""

    id: str
    """The same for the same place in later scans: made of the kind, the repository and the path
    in it (or the host and the path), the name, the detail, and a number among equal ones."""
    kind: PlaceKind
    path: str
    """As the user would name it; inside an archive ``outer.zip!/inner``."""
    line: int = 0
    """Counts from 1; 0 means the place has no lines."""
    column: int = 0
    """Characters, counted from 1."""
    name: str = ""
    """The variable, secret or member that holds it."""
    environment: str = ""
    detail: str = ""
    """What the place adds: the job of a workflow, the cell of a notebook, a resource."""
    repository: str = ""
    """The remote address of the repository, without credentials; or its first commit."""
    repository_path: str = ""
    in_history_only: bool = False
    """It is in a commit, and no longer in the newest one."""
    first: Appearance | None = None
    """The oldest commit that put it there."""
    last: Appearance | None = None
    """The newest commit that wrote it there."""
    removed: Appearance | None = None
    """The newest commit that took it out, when it is no longer there."""
    owner_candidates: tuple[OwnerCandidate, ...] = ()
    created_at: int = 0
    """When the place says the secret came into it; microseconds UTC, 0 when it says nothing."""
    changed_at: int = 0
    """When the place says the secret was last changed."""
    preview: str = ""
    """What the place itself shows of the secret, masked once more."""
    encodings: tuple[str, ...] = ()
    """What had to be undone to find it, outermost first: ``base64``, ``json`` ..."""


class Belonging(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose a key is and what it may do, in the provider's words; empty where it does not say."""

    account: str = ""
    """A user, a service account, or the provider's name for the key."""
    organization: str = ""
    project: str = ""
    scopes: tuple[str, ...] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One secret, in every place where this scan met it."""

    id: str
    """The first fingerprint; for a secret without one, made of its first location."""
    provider: str
    kind: str
    """The provider's kind of key, as the detectors name it."""
    confidence: Confidence
    reason: str = ""
    """Why this confidence."""
    nature: str = "candidate"
    """``candidate``, or why it is no key that works: ``placeholder``, ``example`` ..."""
    masked: str
    key_id: str = ""
    """The provider's own name for the key, where the key shows it."""
    fingerprints: tuple[Fingerprint, ...] = ()
    """The current fingerprint key's first; while that key is rotated, the previous one's too.
    Empty for secrets that could be guessed."""
    known: bool = False
    """The baseline has it."""
    liveness: Liveness | None = None
    """None: the scan was not told to ask."""
    liveness_reason: str = ""
    liveness_at: int = 0
    """When the provider was asked; 0 when it was not."""
    belongs_to: Belonging | None = None
    locations: tuple[Location, ...]


class Mention(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A location without a value: the name of a secret that is kept elsewhere."""

    name: str
    provider: str
    reason: str
    """How the place refers to it: ``GitHub Actions secret``, ``secretKeyRef`` ..."""
    location: Location
    refers_to: str = ""
    """The object that the value is taken from, and its member: ``openai/api-key`` of Kubernetes."""


class Practice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A way in which a place gets its credentials that needs no stored secret, such as OIDC."""

    name: str
    location: Location


class ReadProblem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that could not be read, or not wholly. Reported once for a place."""

    code: str
    path: str
    message: str
    count: int = 1
    incomplete: bool = True
    """Secrets may lie in what was not read. False for what had simply gone meanwhile."""


class ScanCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at."""

    files: int = 0
    bytes: int = 0
    archive_members: int = 0
    git_objects: int = 0
    ignored: int = 0
    """Files and directories that an ignore file names, and that were left out for it."""
    binaries: int = 0
    links: int = 0
    """Symbolic links, which are not followed."""
    placeholders: int = 0
    """Examples and placeholders that look like a key and are none."""


class ScanReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a scan has to say."""

    format: int = FINDINGS_FORMAT
    scanner: str
    """``keylease 0.2.0``."""
    started_at: int
    finished_at: int
    host: str
    roots: tuple[str, ...]
    complete: bool
    """False when it was interrupted, or could not read everything."""
    interrupted: bool = False
    fingerprint_key: str = ""
    """``id.version`` of the current fingerprint key."""
    covers: tuple[str, ...] = ()
    """What a complete scan of this kind would find again: the roots as absolute paths, and
    ``machine``, ``cluster NAME``, ``ignored files``, ``examples`` where they were looked at."""
    history: bool = False
    """Whether git histories were looked at."""
    counts: ScanCounts
    findings: tuple[Finding, ...]
    mentions: tuple[Mention, ...]
    practices: tuple[Practice, ...] = ()
    problems: tuple[ReadProblem, ...]


class BaselineEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A finding that is known. Holds what a person needs to recognise it, and no place."""

    fingerprints: tuple[Fingerprint, ...] = ()
    location: str = ""
    """The location's identifier, for a secret that has no fingerprint."""
    provider: str
    masked: str


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """Findings that are known and not to be reported as new."""

    format: int = BASELINE_FORMAT
    key: str
    """The fingerprint key of this file alone, in base64. It lies beside what it makes, so that
    everybody who has the file can use it; secrets that could be guessed have no fingerprint."""
    findings: tuple[BaselineEntry, ...]
