"""Stores the directory. The only user of its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import delete, insert, select, update

from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.identity.directory.records import (
    Contact,
    Environment,
    Group,
    GroupMember,
    Invitation,
    InvitationState,
    Organization,
    Project,
    ServiceAccount,
    Topic,
    User,
    UserState,
)
from keylease.platform.identity.directory.rows import Rows
from keylease.platform.identity.directory.tables import (
    CONTACTS,
    ENVIRONMENTS,
    GROUP_MEMBERS,
    GROUPS,
    INSTALLATION,
    INVITATIONS,
    ORGANIZATIONS,
    PERSON,
    PROJECTS,
    SERVICE_ACCOUNTS,
    USERS,
)

S = TypeVar("S", bound=msgspec.Struct)
_decode_texts: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_PERSONAL: Final = (PERSON.c.name, PERSON.c.email)


def _user(row: Row) -> User:
    return User(
        id=row["id"],
        organization_id=row["organization_id"],
        state=UserState(row["state"]),
        state_since=row["state_since"],
        created_at=row["created_at"],
        version=row["version"],
        name=row["name"] or "",
        email=row["email"] or "",
    )


def _invitation(row: Row) -> Invitation:
    return Invitation(
        id=row["id"],
        organization_id=row["organization_id"],
        state=InvitationState(row["state"]),
        group_ids=_decode_texts(row["group_ids"]),
        role_id=row["role_id"],
        project_id=row["project_id"],
        invited_by=row["invited_by"],
        user_id=row["user_id"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        version=row["version"],
        name=row["name"] or "",
        email=row["email"] or "",
    )


def _contact(row: Row) -> Contact:
    known = set(Topic)
    return Contact(
        id=row["id"],
        topics=tuple(Topic(text) for text in _decode_texts(row["topics"]) if text in known),
        user_id=row["user_id"],
        created_at=row["created_at"],
        version=row["version"],
        name=row["name"] or "",
        email=row["email"] or "",
    )


def _plain(kind: type[S]) -> Callable[[Row], S]:
    """For records whose fields are the columns."""
    names = kind.__struct_fields__
    return lambda row: kind(**{name: row[name] for name in names})


ORGANIZATION_ROWS: Final[Rows[Organization]] = Rows(
    ORGANIZATIONS, _plain(Organization), called="organization"
)
PROJECT_ROWS: Final[Rows[Project]] = Rows(PROJECTS, _plain(Project), called="project")
ENVIRONMENT_ROWS: Final[Rows[Environment]] = Rows(
    ENVIRONMENTS, _plain(Environment), called="environment"
)
GROUP_ROWS: Final[Rows[Group]] = Rows(GROUPS, _plain(Group), called="group")
SERVICE_ACCOUNT_ROWS: Final[Rows[ServiceAccount]] = Rows(
    SERVICE_ACCOUNTS, _plain(ServiceAccount), called="service account"
)
USER_ROWS: Final[Rows[User]] = Rows(
    USERS,
    _user,
    called="user",
    joined=USERS.outerjoin(PERSON, PERSON.c.id == USERS.c.id),
    more=_PERSONAL,
)
INVITATION_ROWS: Final[Rows[Invitation]] = Rows(
    INVITATIONS,
    _invitation,
    called="invitation",
    joined=INVITATIONS.outerjoin(PERSON, PERSON.c.id == INVITATIONS.c.id),
    more=_PERSONAL,
)
CONTACT_ROWS: Final[Rows[Contact]] = Rows(
    CONTACTS,
    _contact,
    called="contact",
    joined=CONTACTS.outerjoin(PERSON, PERSON.c.id == CONTACTS.c.id),
    more=_PERSONAL,
)


# --- the installation ----------------------------------------------------------------------


async def first_owner(tx: Transaction) -> User | None:
    """The first owner of the organization that the installation began with."""
    row = await tx.row(
        USER_ROWS.query(USERS.c.id == select(INSTALLATION.c.owner_id).scalar_subquery())
    )
    return _user(row) if row else None


async def mark_founded(tx: Transaction, owner_id: str) -> None:
    """Remember it. Raises ``IntegrityError`` when another server was first."""
    await tx.execute(
        insert(INSTALLATION).values(
            id=1,
            organization_id=tx.caller.organization_id,
            owner_id=owner_id,
            founded_at=tx.now,
        )
    )


async def user(tx: Transaction, user_id: str) -> User | None:
    """A user of any organization."""
    row = await tx.row(USER_ROWS.query(USERS.c.id == user_id))
    return _user(row) if row else None


# --- what access asks ----------------------------------------------------------------------


async def acting_principals(tx: Transaction, organization_id: str) -> frozenset[str]:
    """``user:ID`` and ``service_account:ID`` of all that are active."""
    users = await tx.execute(
        select(USERS.c.id).where(
            USERS.c.organization_id == organization_id, USERS.c.state == UserState.ACTIVE
        )
    )
    accounts = await tx.execute(
        select(SERVICE_ACCOUNTS.c.id).where(
            SERVICE_ACCOUNTS.c.organization_id == organization_id,
            SERVICE_ACCOUNTS.c.archived_at.is_(None),
        )
    )
    return frozenset(
        [
            *(f"user:{identifier}" for identifier in users.scalars()),
            *(f"service_account:{identifier}" for identifier in accounts.scalars()),
        ]
    )


async def project_ids(tx: Transaction, organization_id: str) -> frozenset[str]:
    """Every project's identifier, archived ones included."""
    found = await tx.execute(
        select(PROJECTS.c.id).where(PROJECTS.c.organization_id == organization_id)
    )
    return frozenset(found.scalars())


async def memberships(tx: Transaction, organization_id: str) -> Mapping[str, tuple[str, ...]]:
    """Member -> the groups it is directly in, as ``group:ID``; without archived groups."""
    c = GROUP_MEMBERS.c
    rows: Iterable[Any] = await tx.execute(
        select(c.member, c.group_id)
        .join(GROUPS, GROUPS.c.id == c.group_id)
        .where(c.organization_id == organization_id, GROUPS.c.archived_at.is_(None))
        .order_by(c.member, c.group_id)
    )
    found: dict[str, tuple[str, ...]] = {}
    for member, group_id in rows:
        found[member] = (*found.get(member, ()), f"group:{group_id}")
    return found


# --- persons -------------------------------------------------------------------------------


class PersonKind:
    """Whose data a row of ``person`` is. Stored."""

    USER: Final = "user"
    INVITATION: Final = "invitation"
    CONTACT: Final = "contact"


async def users_with_email(tx: Transaction, email_key: str) -> tuple[User, ...]:
    """Users with this address in any organization; an address is unique within one."""
    query = USER_ROWS.query(PERSON.c.kind == PersonKind.USER, PERSON.c.email_key == email_key)
    return tuple(map(_user, await tx.rows(query.order_by(USERS.c.id))))


async def person_with_email(tx: Transaction, kind: str, email_key: str) -> str:
    """The identifier of what has this address in the organization; empty when nothing has."""
    row = await tx.row(
        select(PERSON.c.id).where(
            PERSON.c.organization_id == tx.caller.organization_id,
            PERSON.c.kind == kind,
            PERSON.c.email_key == email_key,
        )
    )
    return str(row["id"]) if row else ""


async def add_person(
    tx: Transaction, object_id: str, kind: str, *, name: str, email: str, email_key: str | None
) -> None:
    """Store who somebody is."""
    await tx.execute(
        insert(PERSON).values(
            id=object_id,
            organization_id=tx.caller.organization_id,
            kind=kind,
            name=name,
            email=email,
            email_key=email_key,
        )
    )


async def change_person(
    tx: Transaction, object_id: str, *, name: str, email: str, email_key: str | None
) -> None:
    """Store another name and address."""
    await tx.execute(
        update(PERSON)
        .where(PERSON.c.organization_id == tx.caller.organization_id, PERSON.c.id == object_id)
        .values(name=name, email=email, email_key=email_key)
    )


async def erase_person(tx: Transaction, object_id: str) -> None:
    """Forget who somebody is."""
    await tx.execute(
        delete(PERSON).where(
            PERSON.c.organization_id == tx.caller.organization_id, PERSON.c.id == object_id
        )
    )


# --- group members -------------------------------------------------------------------------


async def membership(tx: Transaction, group_id: str, member: str) -> GroupMember | None:
    """The record that somebody is directly in a group."""
    c = GROUP_MEMBERS.c
    row = await tx.row(
        select(c.member, c.added_at, c.added_by).where(
            c.organization_id == tx.caller.organization_id,
            c.group_id == group_id,
            c.member == member,
        )
    )
    return GroupMember(**row) if row else None


async def members_page(tx: Transaction, group_id: str, request: PageRequest) -> Page[GroupMember]:
    """Who is directly in a group, by kind and identifier."""
    c = GROUP_MEMBERS.c
    query = select(c.member, c.added_at, c.added_by).where(
        c.organization_id == tx.caller.organization_id, c.group_id == group_id
    )
    if (after := request.after()) is not None:
        query = query.where(c.member > after[0])
    rows = await tx.rows(query.order_by(c.member).limit(request.limit + 1))
    found = [GroupMember(**row) for row in rows]
    return page_of(found, request, key=lambda member: (member.member,))


async def groups_with(tx: Transaction, member: str) -> tuple[Group, ...]:
    """The groups that a member is directly in."""
    inside = select(GROUP_MEMBERS.c.group_id).where(
        GROUP_MEMBERS.c.organization_id == tx.caller.organization_id,
        GROUP_MEMBERS.c.member == member,
    )
    return await GROUP_ROWS.all(tx, GROUPS.c.id.in_(inside))


async def nesting(tx: Transaction) -> Mapping[str, tuple[str, ...]]:
    """Group -> the groups it is directly in, both as identifiers; archived ones included."""
    c = GROUP_MEMBERS.c
    rows: Iterable[Any] = await tx.execute(
        select(c.member, c.group_id).where(
            c.organization_id == tx.caller.organization_id, c.member.like("group:%")
        )
    )
    found: dict[str, tuple[str, ...]] = {}
    for member, group_id in rows:
        inner = member.partition(":")[2]
        found[inner] = (*found.get(inner, ()), group_id)
    return found


async def groups_in_use(tx: Transaction, group_ids: frozenset[str]) -> frozenset[str]:
    """Those of the identifiers that are groups of the organization and not archived."""
    found = await tx.execute(
        select(GROUPS.c.id).where(
            GROUPS.c.organization_id == tx.caller.organization_id,
            GROUPS.c.id.in_(group_ids),
            GROUPS.c.archived_at.is_(None),
        )
    )
    return frozenset(found.scalars())


async def groups_given(tx: Transaction, member: str, *, added_by: str) -> frozenset[str]:
    """Identifiers of the groups into which somebody has put a member."""
    c = GROUP_MEMBERS.c
    found = await tx.execute(
        select(c.group_id).where(
            c.organization_id == tx.caller.organization_id,
            c.member == member,
            c.added_by == added_by,
        )
    )
    return frozenset(found.scalars())


async def add_member(tx: Transaction, group_id: str, new: GroupMember) -> None:
    """Put a member into a group."""
    await tx.execute(
        insert(GROUP_MEMBERS).values(
            organization_id=tx.caller.organization_id,
            group_id=group_id,
            member=new.member,
            added_at=new.added_at,
            added_by=new.added_by,
        )
    )


async def remove_member(tx: Transaction, group_id: str, member: str) -> bool:
    """Take a member out of a group; whether it was in it."""
    c = GROUP_MEMBERS.c
    removed = await tx.execute(
        delete(GROUP_MEMBERS).where(
            c.organization_id == tx.caller.organization_id,
            c.group_id == group_id,
            c.member == member,
        )
    )
    return removed.rowcount > 0


# --- look-ups of single tables -------------------------------------------------------------


async def pending_with_digest(tx: Transaction, digest: str) -> Invitation | None:
    """The pending invitation of any organization whose secret has this digest."""
    row = await tx.row(
        INVITATION_ROWS.query(
            INVITATIONS.c.secret_digest == digest,
            INVITATIONS.c.state == InvitationState.PENDING,
        )
    )
    return _invitation(row) if row else None


async def pending_invitations_by(tx: Transaction, inviter: str) -> Sequence[Invitation]:
    """What a principal has offered and nobody has accepted yet."""
    return await INVITATION_ROWS.all(
        tx,
        INVITATIONS.c.invited_by == inviter,
        INVITATIONS.c.state == InvitationState.PENDING,
    )


async def accounts_of(tx: Transaction, owner_id: str) -> Sequence[ServiceAccount]:
    """The service accounts that a user answers for."""
    return await SERVICE_ACCOUNT_ROWS.all(
        tx, SERVICE_ACCOUNTS.c.owner_id == owner_id, SERVICE_ACCOUNTS.c.archived_at.is_(None)
    )


async def contacts_of(tx: Transaction, user_id: str) -> Sequence[Contact]:
    """The contacts that are this user."""
    return await CONTACT_ROWS.all(tx, CONTACTS.c.user_id == user_id)


async def remove_contact(tx: Transaction, contact_id: str) -> None:
    """Remove a contact and its address."""
    await erase_person(tx, contact_id)
    await tx.execute(
        delete(CONTACTS).where(
            CONTACTS.c.organization_id == tx.caller.organization_id, CONTACTS.c.id == contact_id
        )
    )


async def organization_ids(tx: Transaction) -> list[str]:
    """Every organization of the installation, for work that nobody in particular asked for."""
    rows = await tx.rows(select(ORGANIZATIONS.c.id).order_by(ORGANIZATIONS.c.id))
    return [str(row["id"]) for row in rows]
