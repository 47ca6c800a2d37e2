"""The commands that change the platform's policy, against its real routes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.policy_kit import ADA
from tests.support.served_policy import ServedPolicy, served_policy

from keylease.cli.main import main

Run = Callable[..., str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPolicy]:
    with served_policy(tmp_path_factory.mktemp("platform")) as served:
        yield served


@pytest.fixture
def run(server: ServedPolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command as Ada, or as another; gives what it prints."""

    def command(*arguments: str, who: str = "ada", status: int = 0) -> str:
        key = tmp_path / who
        key.write_text(f"{who}\n")
        got = main([*arguments, "--server", server.url, "--api-key-file", str(key)])
        captured = capsys.readouterr()
        assert got == status, captured.err
        return captured.out + captured.err

    return command


def test_a_policy_from_the_first_credential_to_a_rollback(run: Run, server: ServedPolicy) -> None:
    add_everything(run)
    publish_and_roll_back(run)
    let_somebody_else_approve(run, server)
    revoke_and_lift(run)
    remove_everything(run)


def add_everything(run: Run) -> None:
    ref = "vault://secret/ai/openai#key"
    run("credential", "add", "openai", "--ref", ref, "--purpose", "development")
    assert ref in run("credential", "list")
    run("credential", "update", "openai", "--maximum-age", "90d", "--when-old", "refuse")
    shown = json.loads(run("credential", "show", "openai", "--json"))
    assert (shown["maximum_age_seconds"], shown["age_action"]) == (90 * 86_400, "refuse")
    assert shown["boundary"]["hosts"] == ["https://api.openai.com:443"]
    assert "Vault or OpenBao" in run("credential", "show", "openai")
    run("credential", "versions", "openai")
    told = run("credential", "history", "openai")
    assert "age_action, maximum_age_seconds" in told
    assert ADA.name in told

    run("route", "add", "chat", "--model", "gpt-*", "--to", "openai=gpt-5:3", "--weighted")
    assert "openai=gpt-5:3" in run("route", "list")
    run("route", "update", "chat", "--to", "openai")
    assert "openai=gpt-5:3" not in run("route", "list")
    run("budget", "add", "team", "25.00", "--period", "month")
    assert "25.00" in run("budget", "list")
    run(
        *("grant", "add", "developers", "--principal", "user:*", "--model", "gpt-5"),
        *("--purpose", "development", "--usd", "5", "--budget", "team"),
    )
    run("grant", "update", "developers", "--requests-per-minute", "60")
    assert "60 calls/min, 5.00 USD/day" in run("grant", "list")
    run(
        *("trust-rule", "add", "jobs", "--issuer", "https://issuer.example.com"),
        *("--audience", "keylease", "--claim", "sub=job-7", "--principal", "workload:jobs"),
        *("--purpose", "development"),
    )
    assert "workload:jobs" in run("trust-rule", "list")


def publish_and_roll_back(run: Run) -> None:
    standing = run("policy", "status")
    assert "Nothing is published." in standing
    assert "5 changes" in standing
    difference = run("policy", "diff")
    assert "added credential openai" in difference
    assert 'wider: The grant "developers" is new.' in difference
    assert "Version 1 is published." in run("policy", "publish", "--note", "first")
    assert "is published since" in run("policy", "status")
    contents = json.loads(run("policy", "show", "--version", "1"))
    assert [held["name"] for held in contents["credentials"].values()] == ["openai"]

    run("grant", "update", "developers", "--maximum-lease", "1h")
    assert "maximum_lease_seconds: 900 -> 3600" in run("policy", "diff")
    assert "no calls" in run("policy", "dry-run")
    run("policy", "publish")
    assert "Version 3 is published." in run("policy", "rollback", "1", "--note", "too long")
    assert "back to 1. too long" in run("policy", "history")


def let_somebody_else_approve(run: Run, server: ServedPolicy) -> None:
    server.second_approver = True
    run("grant", "update", "developers", "--maximum-lease", "2h")
    waiting = run("policy", "publish")
    proposal = next(line for line in waiting.splitlines() if len(line) == 36)
    assert "waits for a second principal" in waiting
    assert proposal in run("policy", "status")
    assert "does not approve it" in run("policy", "approve", proposal, status=1)
    assert "Version 4 is published." in run("policy", "approve", proposal, who="bob")
    server.second_approver = False


def revoke_and_lift(run: Run) -> None:
    revocation = run("policy", "revoke", "credential", "openai", "--reason", "lost").strip()
    assert revocation in run("policy", "revocations")
    assert "revoked" in run("credential", "list")
    assert "lifted" in run("policy", "lift", revocation)


def remove_everything(run: Run) -> None:
    assert "used by" in run("credential", "remove", "openai", status=1)
    for kind, name in (
        ("trust-rule", "jobs"),
        ("grant", "developers"),
        ("budget", "team"),
        ("route", "chat"),
        ("credential", "openai"),
    ):
        run(kind, "show", name)
        run(kind, "history", name)
        run(kind, "remove", name)
    run("policy", "discard")
    assert "Draft" in run("policy", "status")


def test_every_mistake_is_shown_with_its_place(run: Run) -> None:
    told = run("credential", "add", "x", "--ref", "nowhere", "--provider", "opnai", status=1)
    assert "body.provider: There is no provider of this name. Did you mean" in told
    assert "body.reference: " in told
    assert "body.purposes: " in told


def test_a_key_in_the_place_of_a_reference_is_not_repeated(run: Run) -> None:
    secret = "sk-proj-" + "aB3" * 20
    told = run("credential", "add", "x", "--ref", secret, "--purpose", "eval", status=1)
    assert secret not in told
    assert "looks like a key" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("credential", "add", "x"), "--ref is missing"),
        (("credential", "show", "nobody"), "There is no credential with this name."),
        (("credential", "update", "x"), "Nothing is changed."),
        (("route", "add", "x", "--to", "nobody"), "There is no credential with this name."),
        (("route", "add", "x", "--to", ":"), "is no target"),
        (("grant", "add", "x", "--usd", "much"), "is not an amount"),
        (("grant", "add", "x", "--maximum-lease", "long"), "is not a duration"),
        (("trust-rule", "add", "x", "--claim", "sub"), "is not NAME=VALUE"),
        (("policy", "revoke", "credential"), "Which credential?"),
    ],
)
def test_what_is_wrong_with_a_command_is_said(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    assert said in run(*arguments, status=64)


def test_no_name_is_not_any_name(run: Run) -> None:
    ref = "vault://secret/ai/first#key"
    run("credential", "add", "a-first", "--provider", "openai", "--ref", ref, "--purpose", "eval")
    assert "Which credential?" in run("policy", "revoke", "credential", status=64)
    assert "There is no credential" in run("credential", "remove", "", status=64)
    run("credential", "remove", "a-first")


def test_who_is_not_signed_in_is_told(run: Run) -> None:
    assert "Sign in" in run("credential", "list", who="mallory", status=77)


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "status", "--server", "http://127.0.0.1:1"]) == 69
    said = capsys.readouterr().err
    assert "http://127.0.0.1:1 cannot be reached: nothing takes connections there." in said
    assert "keylease up" in said
