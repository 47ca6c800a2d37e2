"""The connector of a process of its own, confined, against a real OpenBao and moto's AWS: names
without values, values when asked and never shown, permissions, pages, deleted versions, throttling.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.support.aws import REGION, Aws
from tests.support.manual_clock import ManualClock
from tests.support.openbao import Bao, running_bao
from tests.support.plain_answers import answering
from tests.support.planting import anthropic_key, characters, openai_key

from keylease.cli.environment import strongroom_environment
from keylease.cli.strongroom_process import strongroom_command
from keylease.contracts.findings import ScanReport
from keylease.primitives.fingerprints import key_file, new_keys, read_keys
from keylease.strongroom.connectors import commands
from keylease.strongroom.connectors.aws_sm import AwsSecretsManager
from keylease.strongroom.connectors.listing import report_of
from keylease.strongroom.connectors.session import Session
from keylease.strongroom.secrets import Secret


class Ran:
    """What the process said, and that none of ``secrets`` is in it."""

    def __init__(self, status: int, stdout: bytes, stderr: bytes, secrets: tuple[str, ...]) -> None:
        self.status, self.stderr = status, stderr.decode()
        self.report: dict[str, Any] = json.loads(stdout) if status == 0 else {}
        for secret in secrets:
            assert secret.encode() not in stdout + stderr

    @property
    def codes(self) -> list[str]:
        return [problem["code"] for problem in self.report["problems"]]

    @property
    def mentioned(self) -> list[str]:
        return sorted(mention["location"]["path"] for mention in self.report["mentions"])


class Connectors:
    """A gateway.toml with connectors, and their process, started as the command line starts it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "config" / "gateway.toml"
        self.file.parent.mkdir()
        self.key_file = home / "config" / "fingerprint.key"
        self.key_file.write_bytes(key_file(new_keys("acme")))
        self.key_file.chmod(0o600)
        self.token = home / "config" / "token"

    def write(self, text: str) -> None:
        folder = self.token.parent
        stores = f'[stores]\nfile_directories = ["{folder}"]\n'
        self.file.write_text(f"version = 1\n{stores}{text}")

    def vault(self, address: str, token: str, account: str, *, more: str = "") -> None:
        self.token.write_text(token)
        self.token.chmod(0o600)
        self.write(
            f'[[connector]]\nsystem = "vault"\nurl = "{address}"\nallow_private_address = true\n'
            f'reference = "file://{self.token}"\naccount = "{account}"\n{more}'
        )

    def run(self, name: str, *arguments: str, never: tuple[str, ...] = ()) -> Ran:
        command = strongroom_command(
            ["connector", *self.arguments(name, *arguments)], python=sys.executable
        )
        named = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        given = {name: os.environ[name] for name in named if name in os.environ}
        done = subprocess.run(
            command,
            env={**strongroom_environment(), **given},
            capture_output=True,
            check=False,
            timeout=90,
        )
        self.search(never)
        return Ran(done.returncode, done.stdout, done.stderr, never)

    def run_here(self, name: str, *arguments: str, never: tuple[str, ...] = ()) -> Ran:
        """The same without a process, which takes a second."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = commands.main(self.arguments(name, *arguments))
        self.search(never)
        return Ran(status, said.getvalue().encode(), b"", never)

    def arguments(self, name: str, *arguments: str) -> list[str]:
        return [
            f"--gateway-file={self.file}",
            f"--data-dir={self.home / 'data'}",
            f"--fingerprint-key={self.key_file}",
            *arguments,
            name,
        ]

    def search(self, never: tuple[str, ...]) -> None:
        for path in self.home.rglob("*"):
            if path.is_file() and path != self.token:
                assert not any(one.encode() in path.read_bytes() for one in never), path


@pytest.fixture
def connectors(tmp_path: Path) -> Connectors:
    return Connectors(tmp_path)


READ = {
    "secret/metadata/team/*": ["list", "read"],
    "secret/metadata/team": ["list"],
    "secret/data/team/*": ["read"],
}


def test_vault_lists_names_and_with_values_fingerprints(connectors: Connectors, bao: Bao) -> None:
    key, other = openai_key(), anthropic_key()
    bao.put_v2("team/app", OPENAI_API_KEY=key, region="eu", replicas=3)
    bao.put_v2("team/deep/er/job", token=other)
    bao.put_v2("team/copy with space", key=key)
    bao.put_v2("team/gone", key=openai_key())
    bao.call("DELETE", "secret/data/team/gone")
    bao.put_v2("elsewhere/x", key="not ours")
    bao.policy("connector", READ)
    token = bao.token("connector")
    connectors.vault(bao.address, token, "secret/team")
    paths = ["team/app", "team/copy with space", "team/deep/er/job", "team/gone"]
    expected = [f"vault:secret/{path}" for path in paths]

    names = connectors.run("vault", never=(key, other, token))
    assert names.status == 0, names.stderr
    assert names.report["complete"]
    assert names.mentioned == expected
    assert names.report["findings"] == []
    assert all(mention["location"]["created_at"] for mention in names.report["mentions"])

    values = connectors.run("vault", "--values", never=(key, other, token))
    assert values.status == 0, values.stderr
    assert values.mentioned == ["vault:secret/team/gone"]
    by_print = {one["id"]: one for one in values.report["findings"]}
    mine, theirs = (
        str(read_keys(connectors.key_file).of(value.encode())[0]) for value in (key, other)
    )
    assert sorted(one["path"] for one in by_print[mine]["locations"]) == expected[:2]
    assert by_print[mine]["kind"] == "openai-key" or "openai" in by_print[mine]["provider"]
    assert [one["name"] for one in by_print[theirs]["locations"]] == ["token"]


def test_vault_says_what_it_may_not_read(connectors: Connectors, bao: Bao) -> None:
    key = openai_key()
    bao.put_v2("half/shown", key=key)
    bao.put_v2("half/closed/inner", key=key)
    rules = {"secret/metadata/half/": ["list"], "secret/metadata/half/shown": ["read"]}
    bao.policy("half", {**rules, "secret/data/half/shown": ["read"]})
    connectors.vault(bao.address, bao.token("half"), "secret/half")
    found = connectors.run_here("vault", "--values", never=(key,))
    assert (found.report["complete"], found.codes) == (False, ["connector_denied"])
    assert len(found.report["findings"]) == 1
    bao.policy("names", rules)
    connectors.vault(bao.address, bao.token("names"), "secret/half")
    found = connectors.run_here("vault", "--values", never=(key,))
    assert (found.mentioned, found.codes) == (["vault:secret/half/shown"], ["connector_denied"])
    connectors.vault(bao.address, "hvs." + characters(24), "secret")
    assert connectors.run_here("vault").codes == ["connector_denied"]
    connectors.vault(bao.address, bao.root, "transit")
    assert connectors.run_here("vault", never=(bao.root,)).codes == ["connector_answer_invalid"]


def test_vault_reads_version_1_and_mounts_with_slashes(connectors: Connectors, bao: Bao) -> None:
    key = openai_key()
    bao.write("old/app/x", key=key)
    bao.write("team/kv/data/y", data={"key": key})
    for account, path in (("old", "old/app/x"), ("team/kv", "team/kv/y")):
        connectors.vault(bao.address, bao.root, account)
        assert connectors.run_here("vault").mentioned == [f"vault:{path}"]
        found = connectors.run_here("vault", "--values", never=(key, bao.root))
        (finding,) = found.report["findings"]
        assert [one["path"] for one in finding["locations"]] == [f"vault:{path}"]


def test_vault_namespaces_are_places_of_their_own(connectors: Connectors, bao: Bao) -> None:
    here, there = openai_key(), anthropic_key()
    bao.call("POST", "sys/namespaces/team-a")
    bao.call("POST", "sys/namespaces/prod", namespace="team-a")
    for namespace, key in (("team-a", here), ("team-a/prod", there)):
        bao.write("sys/mounts/kv", namespace=namespace, type="kv", options={"version": "2"})
        bao.write("kv/data/app", namespace=namespace, data={"key": key})
    for namespace, provider in (("team-a", "openai"), ("team-a/prod/", "anthropic")):
        more = f'namespace = "{namespace}"\n'
        connectors.vault(bao.address, bao.root, "kv", more=more)
        found = connectors.run_here("vault", "--values", never=(here, there, bao.root))
        assert found.codes == []
        (finding,) = found.report["findings"]
        assert finding["provider"] == provider
        place = f"vault:{namespace.strip('/')}/kv/app"
        assert [one["path"] for one in finding["locations"]] == [place]
    connectors.vault(bao.address, bao.root, "kv", more='namespace = "team-b"\n')
    assert connectors.run_here("vault").codes != []


def test_vault_with_a_private_authority(connectors: Connectors, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    with running_bao(folder, tls=True) as server:
        server.put_v2("one", key=openai_key())
        more = f'ca_file = "{server.ca_file}"\n'
        connectors.vault(server.address, server.root, "secret", more=more)
        found = connectors.run("vault")
        assert (found.mentioned, found.codes) == (["vault:secret/one"], [])


@contextlib.contextmanager
def moto_region(aws: Aws, region: str) -> Iterator[Any]:
    client = aws.secrets_manager(region)
    yield client
    for item in client.list_secrets(IncludePlannedDeletion=True)["SecretList"]:
        client.delete_secret(SecretId=item["ARN"], ForceDeleteWithoutRecovery=True)


def test_aws_lists_names_and_with_values_fingerprints(
    connectors: Connectors, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = openai_key()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret := characters(40))
    connectors.write(
        f'[stores.aws]\nendpoint = "{aws.endpoint}"\n'
        '[[connector]]\nsystem = "aws-sm"\naccount = "eu-west-3"\n'
    )
    with moto_region(aws, "eu-west-3") as client:
        for number in range(110):  # over one page
            client.create_secret(Name=f"plain-{number:03}", SecretString=f"value {number}")
        client.create_secret(Name="app/openai", SecretString=json.dumps({"key": key, "n": 1}))
        client.create_secret(Name="app/copy", SecretString=key)
        client.create_secret(Name="app/binary", SecretBinary=key.encode())
        client.create_secret(Name="app/empty")
        client.create_secret(Name="app/going", SecretString=openai_key())
        client.delete_secret(SecretId="app/going", RecoveryWindowInDays=7)
        names = connectors.run("aws-sm", never=(key, secret))
        assert names.status == 0, names.stderr
        listed = {mention["name"] for mention in names.report["mentions"]}
        assert len(listed) == 114
        assert "app/going" not in listed
        values = connectors.run("aws-sm", "--values", never=(key, secret))
    assert values.report["complete"], values.report["problems"]
    assert [mention["name"] for mention in values.report["mentions"]] == ["app/empty"]
    (finding,) = (one for one in values.report["findings"] if len(one["locations"]) > 1)
    named = sorted(one["name"] for one in finding["locations"])
    assert named == ["app/binary", "app/copy", "app/openai#key"]


def test_aws_assumes_a_role_of_another_account(
    connectors: Connectors, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, role = openai_key(), "arn:aws:iam::222222222222:role/keylease"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret := characters(40))
    sts = boto3.client(
        "sts",
        region_name="eu-south-1",
        endpoint_url=aws.endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    assumed = sts.assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    theirs = boto3.client(
        "secretsmanager",
        region_name="eu-south-1",
        endpoint_url=aws.endpoint,
        aws_access_key_id=assumed["AccessKeyId"],
        aws_secret_access_key=assumed["SecretAccessKey"],
        aws_session_token=assumed["SessionToken"],
    )
    theirs.create_secret(Name="theirs", SecretString=key)
    table = (
        f'[stores.aws]\nendpoint = "{aws.endpoint}"\n[[connector]]\nsystem = "aws-sm"\n'
        f'account = "eu-south-1"\nurl = "{aws.endpoint}"\nallow_private_address = true\n'
    )
    with moto_region(aws, "eu-south-1") as ours:
        ours.create_secret(Name="ours", SecretString="x")
        for text, name in ((table, "ours"), (f'{table}role = "{role}"\n', "theirs")):
            connectors.write(text)
            found = connectors.run_here("aws-sm", never=(key, secret))
            assert [mention["name"] for mention in found.report["mentions"]] == [name]
    theirs.delete_secret(SecretId="theirs", ForceDeleteWithoutRecovery=True)


async def test_aws_says_when_a_role_may_not_be_assumed() -> None:
    body = b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
    with answering(403, body) as server:
        connector = AwsSecretsManager(
            server.url,
            identity=identity(),
            role="arn:aws:iam::222222222222:role/x",
            sts_endpoint=server.url,
            timeout=5,
        )
        report = await listed(connector, REGION, values=False)
    assert [one.code for one in report.problems] == ["connector_denied"]
    assert "STS" in report.problems[0].message


async def listed(connector: AwsSecretsManager, region: str, *, values: bool) -> ScanReport:
    session = Session(system="x", origin="https://unused.invalid", headers={})
    found = connector.inventory(session, region, values=values)
    try:
        return await report_of(connector, region, found, keys=new_keys("acme"), clock=ManualClock())
    finally:
        await session.close()


def identity() -> dict[str, Secret]:
    return {"AWS_ACCESS_KEY_ID": Secret("t"), "AWS_SECRET_ACCESS_KEY": Secret("t")}


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("AccessDeniedException", "connector_denied"),
        ("UnrecognizedClientException", "connector_denied"),
        ("TooManyRequestsException", "connector_throttled"),
        ("InternalServiceError", "connector_unreachable"),
    ],
)
async def test_aws_says_why_it_does_not_answer(code: str, problem: str) -> None:
    answer = json.dumps({"__type": code, "message": "no"}).encode()
    with answering(400, answer) as server:
        connector = AwsSecretsManager(server.url, identity=identity(), timeout=5)
        report = await listed(connector, REGION, values=False)
    assert [one.code for one in report.problems] == [problem]
    assert not report.complete


async def test_aws_goes_on_when_one_value_is_denied(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = AwsSecretsManager._client

    def client(self: AwsSecretsManager, *arguments: Any) -> Any:  # noqa: ANN401 - as the original
        made = make(self, *arguments)
        ask = made.get_secret_value

        def refuse(SecretId: str) -> Any:  # noqa: ANN401, N803 - as the original
            if "closed" in SecretId:
                answer = {"Error": {"Code": "AccessDeniedException"}}
                raise ClientError(answer, "GetSecretValue")
            return ask(SecretId=SecretId)

        made.get_secret_value = refuse
        return made

    monkeypatch.setattr(AwsSecretsManager, "_client", client)
    with moto_region(aws, "eu-north-1") as moto:
        for name in ("closed", "open"):
            moto.create_secret(Name=name, SecretString=openai_key())
        connector = AwsSecretsManager(aws.endpoint, identity=identity())
        report = await listed(connector, "eu-north-1", values=True)
    assert [mention.name for mention in report.mentions] == ["closed"]
    assert len(report.findings) == 1
    assert [one.code for one in report.problems] == ["connector_denied"]


def test_mistakes_of_the_caller_are_said(connectors: Connectors, bao: Bao) -> None:
    connectors.vault(bao.address, bao.root, "secret")
    unknown = connectors.run("valt")
    assert (unknown.status, "Listed: vault" in unknown.stderr) == (64, True)
    connectors.token.unlink()
    missing = connectors.run("vault")
    assert missing.status == 1
    assert "Traceback" not in missing.stderr
