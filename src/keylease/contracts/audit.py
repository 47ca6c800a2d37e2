"""Audit entries, of gateways and of the platform: one shape.

Append-only. Every entry says who did what to what, in the past tense, and holds no secret, no name
and no address: principals and objects are opaque identifiers, so that a person can be forgotten
without touching the log.

A gateway keeps its entries in its own gap-numbered spool until a platform sequences them; the
platform's commit with the change they are about. What the audit log hashes is the JSON that was
stored then, byte for byte; nobody encodes an entry a second time.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import msgspec

AUDIT_FORMAT: Final = 1
MAXIMUM_ENTRY_BYTES: Final = 16 * 1024
"""Of one entry in JSON."""
ACTION_FORM: Final = re.compile(r"[a-z][a-z_]{0,62}\.[a-z][a-z_]{0,62}", re.ASCII)
"""The grammar of actions; also of those that only a newer version knows."""


class AuditAction(StrEnum):
    """``resource.past_tense``."""

    LEASE_ISSUED = "lease.issued"
    LEASE_REFUSED = "lease.refused"
    LEASE_REFUSALS_COUNTED = "lease.refusals_counted"
    """Refusals of the token endpoint beyond the rate at which each gets an entry of its own."""
    TRACE_TOKEN_ISSUED = "trace_token.issued"  # noqa: S105 - the name of an action
    TRACE_TOKEN_REFUSED = "trace_token.refused"  # noqa: S105 - the name of an action
    LEASE_REVOKED = "lease.revoked"
    REVOCATION_LIFTED = "revocation.lifted"
    CREDENTIAL_FETCHED = "credential.fetched"
    CREDENTIAL_FETCH_FAILED = "credential.fetch_failed"
    CREDENTIAL_ECHOED = "credential.echoed"
    """A provider's answer contained the credential; the answer was cut off."""
    POLICY_LOADED = "policy.loaded"
    POLICY_REFUSED = "policy.refused"
    POLICY_EXPIRED = "policy.expired"
    """The last policy bundle ended with no newer one; nothing is served."""
    SIGNING_KEY_ROTATED = "signing_key.rotated"
    GATEWAY_STARTED = "gateway.started"
    GATEWAY_STOPPED = "gateway.stopped"
    GATEWAY_ENROLLED = "gateway.enrolled"
    GATEWAY_ENROLMENT_REFUSED = "gateway.enrolment_refused"
    """Somebody came with a code that is used, expired, withdrawn or for another group."""
    GATEWAY_RENAMED = "gateway.renamed"
    GATEWAY_REVOKED = "gateway.revoked"
    GATEWAY_FOUND_AHEAD = "gateway.found_ahead"
    """A gateway has had a newer policy than the platform has: the platform was set back."""
    ENROLMENT_CODE_CREATED = "enrolment_code.created"
    ENROLMENT_CODE_WITHDRAWN = "enrolment_code.withdrawn"
    CALL_RECORDS_GAP_FOUND = "call_records.gap_found"
    """Call records of a gateway are missing: an alarm."""
    CALL_RECORDS_RESTARTED = "call_records.restarted"
    """A gateway's spool of call records began again: the old one was lost or replaced."""
    AUDIT_LOG_CONTINUED = "audit_log.continued"
    """Nothing else happened for an hour; the log says that it is alive."""
    AUDIT_LOG_EXPORTED = "audit_log.exported"
    AUDIT_KEY_ROTATED = "audit_key.rotated"
    AUDIT_WITNESS_ADDED = "audit_witness.added"
    AUDIT_CHECKPOINT_REFUSED = "audit_checkpoint.refused"
    """A gateway did not cosign a checkpoint, because the log is not what it was: an alarm."""
    AUDIT_WITNESS_REFUSED = "audit_witness.refused"
    """A witness sent a cosignature that does not hold."""
    GATEWAY_AUDIT_GAP_FOUND = "gateway_audit.gap_found"
    """Entries of a gateway are missing: an alarm."""
    GATEWAY_AUDIT_RESTARTED = "gateway_audit.restarted"
    """A gateway's numbers began again with other entries: its spool was lost or replaced."""
    GATEWAY_AUDIT_SET_ASIDE = "gateway_audit.set_aside"
    """A gateway sent what is not an entry; its hash is in the details."""

    ORGANIZATION_FOUNDED = "organization.founded"
    ORGANIZATION_CHANGED = "organization.changed"
    PROJECT_CREATED = "project.created"
    PROJECT_CHANGED = "project.changed"
    PROJECT_ARCHIVED = "project.archived"
    PROJECT_RESTORED = "project.restored"
    ENVIRONMENT_CREATED = "environment.created"
    ENVIRONMENT_CHANGED = "environment.changed"
    ENVIRONMENT_ARCHIVED = "environment.archived"
    ENVIRONMENT_RESTORED = "environment.restored"
    USER_CREATED = "user.created"
    USER_CHANGED = "user.changed"
    USER_SUSPENDED = "user.suspended"
    USER_RESUMED = "user.resumed"
    USER_OFFBOARDED = "user.offboarded"
    PERSON_ERASED = "person.erased"
    """Name and address of a user who left are gone; the identifier stays."""
    SERVICE_ACCOUNT_CREATED = "service_account.created"
    SERVICE_ACCOUNT_CHANGED = "service_account.changed"
    SERVICE_ACCOUNT_ARCHIVED = "service_account.archived"
    SERVICE_ACCOUNT_HANDED_OVER = "service_account.handed_over"
    GROUP_CREATED = "group.created"
    GROUP_CHANGED = "group.changed"
    GROUP_ARCHIVED = "group.archived"
    GROUP_MEMBER_ADDED = "group.member_added"
    GROUP_MEMBER_REMOVED = "group.member_removed"
    INVITATION_CREATED = "invitation.created"
    INVITATION_REVOKED = "invitation.revoked"
    INVITATION_ACCEPTED = "invitation.accepted"
    CONTACT_CREATED = "contact.created"
    CONTACT_CHANGED = "contact.changed"
    CONTACT_REMOVED = "contact.removed"

    ROLE_CREATED = "role.created"
    ROLE_CHANGED = "role.changed"
    ROLE_REMOVED = "role.removed"
    GRANT_GIVEN = "grant.given"
    GRANT_REVOKED = "grant.revoked"
    ACCESS_DENIED = "access.denied"
    ACCESS_DENIALS_COUNTED = "access.denials_counted"
    """Denials of a principal beyond the rate at which each gets an entry of its own."""

    SESSION_STARTED = "session.started"
    SESSION_ENDED = "session.ended"
    SESSION_REPLAYED = "session.replayed"
    """A session's earlier text was used after it had been exchanged; the session was ended."""
    SIGN_IN_REFUSED = "sign_in.refused"
    SIGN_IN_LINK_MADE = "sign_in_link.made"
    SIGN_IN_LINK_USED = "sign_in_link.used"
    SIGN_IN_SETTINGS_CHANGED = "sign_in_settings.changed"
    SIGN_IN_METHODS_REMOVED = "sign_in_methods.removed"
    PASSWORD_SET = "password.set"  # noqa: S105 - the name of an action
    PASSWORD_REMOVED = "password.removed"  # noqa: S105 - the name of an action
    PASSKEY_ADDED = "passkey.added"
    PASSKEY_REMOVED = "passkey.removed"
    SECOND_FACTOR_ADDED = "second_factor.added"
    SECOND_FACTOR_REMOVED = "second_factor.removed"
    RECOVERY_CODES_MADE = "recovery_codes.made"
    RECOVERY_CODE_USED = "recovery_code.used"
    OUTSIDE_ISSUER_ADDED = "outside_issuer.added"
    OUTSIDE_ISSUER_CHANGED = "outside_issuer.changed"
    OUTSIDE_ISSUER_REMOVED = "outside_issuer.removed"
    OUTSIDE_IDENTITY_LINKED = "outside_identity.linked"
    DEVICE_APPROVED = "device.approved"
    DEVICE_DENIED = "device.denied"
    API_KEY_CREATED = "api_key.created"
    API_KEY_ROTATED = "api_key.rotated"
    API_KEY_REVOKED = "api_key.revoked"
    API_KEY_PREVIOUS_REVOKED = "api_key.previous_revoked"
    IDENTITY_TOKEN_ISSUED = "identity_token.issued"  # noqa: S105 - the name of an action
    IDENTITY_KEY_ROTATED = "identity_key.rotated"
    CREDENTIAL_ADDED = "credential.added"
    CREDENTIAL_CHANGED = "credential.changed"
    CREDENTIAL_REMOVED = "credential.removed"
    ROUTE_ADDED = "route.added"
    ROUTE_CHANGED = "route.changed"
    ROUTE_REMOVED = "route.removed"
    POLICY_GRANT_ADDED = "policy_grant.added"
    POLICY_GRANT_CHANGED = "policy_grant.changed"
    POLICY_GRANT_REMOVED = "policy_grant.removed"
    BUDGET_ADDED = "budget.added"
    BUDGET_CHANGED = "budget.changed"
    BUDGET_REMOVED = "budget.removed"
    TRUST_RULE_ADDED = "trust_rule.added"
    TRUST_RULE_CHANGED = "trust_rule.changed"
    TRUST_RULE_REMOVED = "trust_rule.removed"
    POLICY_SETTINGS_CHANGED = "policy_settings.changed"
    POLICY_PUBLISHED = "policy.published"
    POLICY_ROLLED_BACK = "policy.rolled_back"
    POLICY_DRAFT_DISCARDED = "policy_draft.discarded"
    POLICY_PROPOSAL_MADE = "policy_proposal.made"
    """A change that widens access waits for a second principal."""
    POLICY_PROPOSAL_APPROVED = "policy_proposal.approved"
    POLICY_PROPOSAL_REFUSED = "policy_proposal.refused"
    POLICY_PROPOSAL_WITHDRAWN = "policy_proposal.withdrawn"
    POLICY_PROPOSAL_EXPIRED = "policy_proposal.expired"
    POLICY_PROPOSAL_OVERTAKEN = "policy_proposal.overtaken"
    """The draft was changed after it was proposed."""
    POLICY_KEY_MADE = "policy_key.made"
    POLICY_KEY_ROTATED = "policy_key.rotated"
    POLICY_BUNDLE_ISSUED = "policy_bundle.issued"
    """A new version of a gateway group's bundle."""
    REVOCATION_MADE = "revocation.made"

    INVENTORY_SCAN_TAKEN = "inventory.scan_taken"
    INVENTORY_SECRET_CHANGED = "inventory.secret_changed"  # noqa: S105 - the name of an action
    INVENTORY_EXCEPTION_MADE = "inventory.exception_made"
    INVENTORY_EXCEPTION_WITHDRAWN = "inventory.exception_withdrawn"
    INVENTORY_SOURCE_RETIRED = "inventory.source_retired"
    INVENTORY_EXPORTED = "inventory.exported"
    INVENTORY_WEBHOOK_CREATED = "inventory_webhook.created"
    INVENTORY_WEBHOOK_CHANGED = "inventory_webhook.changed"
    INVENTORY_WEBHOOK_REMOVED = "inventory_webhook.removed"
    INVENTORY_WEBHOOK_DISABLED = "inventory_webhook.disabled"
    """It failed too often in a row, or its receiver said that it is gone."""
    VENDOR_CREATED = "vendor.created"
    VENDOR_CHANGED = "vendor.changed"
    VENDOR_ARCHIVED = "vendor.archived"
    INCIDENT_PREVIEWED = "incident.previewed"

    TRACE_SETTINGS_CHANGED = "trace.settings_changed"
    TRACES_REMOVED = "trace.removed"
    TRACES_EXPORTED = "trace.exported"
    TRACE_STORE_BACKED_UP = "trace_store.backed_up"
    """A back-up of the spans of every organization was begun."""
    TRACE_STORE_BACKUP_REMOVED = "trace_store.backup_removed"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the audit log."""

    format: int = AUDIT_FORMAT
    id: str
    sequence: int
    """In a gateway's spool: counts up by one, and a missing number is an alarm. The platform writes
    0: the entry's place in the log is its number."""
    at: int
    organization_id: str
    action: AuditAction
    principal: str = ""
    """Who; empty when it was the gateway itself."""
    object: str = ""
    """What it was done to: a lease id, a credential id, a policy version."""
    reason: str = ""
    """A stable code: why it was refused or failed."""
    details: dict[str, str] = msgspec.field(default_factory=dict)
    gateway_id: str = ""
    """Whose spool it comes from; set by the platform from the gateway's proven identity."""


class LoggedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as a reader of the log sees it: also one whose action is newer than the reader."""

    format: int = AUDIT_FORMAT
    id: str
    sequence: int
    at: int
    organization_id: str
    action: str
    principal: str = ""
    object: str = ""
    reason: str = ""
    details: dict[str, str] = msgspec.field(default_factory=dict)
    gateway_id: str = ""
