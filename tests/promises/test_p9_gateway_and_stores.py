"""P9: it fails closed and says so. Here: a real gateway whose secret stores fail.

In each case no call succeeds with a stale, a default or another credential, the caller gets an
error in the provider's shape with a stable code, and nothing falls back to plaintext. Where the
fault passes, so does the refusal.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from tests.support.aws import REGION, Aws, aws
from tests.support.failing_gateway import (
    GRANT,
    binding,
    chat,
    code_of,
    credential,
    put,
    refused_start,
)
from tests.support.hostile_upstream import HostileUpstream, hostile_upstream
from tests.support.openbao import Bao, running_bao
from tests.support.ports import free_port
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.simulated_provider import fresh_key
from tests.support.supervised import wait_until

__all__ = ["aws"]

AGE_SECONDS = 0.2


class Stores(NamedTuple):
    gateway: RunningGateway
    upstream: HostileUpstream
    bao: Bao
    bao_pid: int
    aws: Aws
    keys: Path
    secrets: dict[str, bytes]
    token_file: Path

    @property
    def sealed_file(self) -> Path:
        return self.gateway.data_dir / "strongroom" / "sealed.json"

    @property
    def key_file(self) -> Path:
        return self.gateway.config_dir / "sealing.key"


NAMES = ("file", "vault", "aws", "sealed")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, aws: Aws) -> Iterator[Stores]:
    directory = tmp_path_factory.mktemp("p9")
    keys = directory / "keys"
    keys.mkdir(mode=0o700)
    secrets = {name: fresh_key() for name in NAMES}
    (keys / "key").write_bytes(secrets["file"])
    aws_name = f"p9-{free_port()}"
    with contextlib.closing(aws.secrets_manager()) as client:
        text = json.dumps({"key": secrets["aws"].decode()})
        client.create_secret(Name=aws_name, SecretString=text)
    bao_directory = tmp_path_factory.mktemp("p9-bao")
    with hostile_upstream() as upstream, running_bao(bao_directory) as bao:
        bao.put_v2("p9", value=secrets["vault"].decode())
        bao.policy("p9", {"secret/data/p9": ["read"]})
        token_file = directory / "vault-token"
        token_file.write_text(bao.token("p9"))
        references = {
            "file": f"file://{keys}/key",
            "vault": "vault://secret/p9#value",
            "aws": f"aws-sm://{REGION}/{aws_name}#key",
            "sealed": "sealed://p9",
        }
        text = f"""
version = 1
[gateway]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
[stores]
file_directories = ["{keys}"]
maximum_age = "{round(AGE_SECONDS * 1000)}ms"
timeout = "1s"
attempts = 1
[stores.vault]
address = "{bao.address}"
token_file = "{token_file}"
[stores.aws]
endpoint = "{aws.endpoint}"
{"".join(binding(reference, upstream.url) for reference in references.values())}
"""
        (directory / "config").mkdir(mode=0o700)
        (directory / "config" / "gateway.toml").write_text(text)
        put(directory, "p9", secrets["sealed"])
        policy = "version = 1\n" + GRANT
        policy += "".join(credential(n, r, upstream.url) for n, r in references.items())
        with running_gateway(
            directory,
            policy_toml=policy,
            environment={"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
        ) as gateway:
            pid = pid_listening_on(int(bao.address.rpartition(":")[2]))
            yield Stores(gateway, upstream, bao, pid, aws, keys, secrets, token_file)


def pid_listening_on(port: int) -> int:
    """Of a process that this test started."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"-dev-listen-address=127.0.0.1:{port}".encode() in path.read_bytes():
                return int(path.parent.name)
    raise AssertionError("OpenBao is not running")


class Fault(NamedTuple):
    store: str
    codes: set[str]
    happen: Callable[[Stores], object]
    pass_: Callable[[Stores], object]
    by_store: bool = True
    """The store itself notices; otherwise it gives something that no header could carry."""


def replaced(path: Callable[[Stores], Path], content: Callable[[bytes], bytes]) -> dict[str, Any]:
    """A file with other content, and back."""
    before: list[bytes] = []

    def happen(stores: Stores) -> None:
        before.append(path(stores).read_bytes())
        path(stores).write_bytes(content(before[-1]))

    return {"happen": happen, "pass_": lambda stores: path(stores).write_bytes(before.pop())}


def moved(path: Callable[[Stores], Path]) -> dict[str, Any]:
    """A file that is not there for a while."""

    def aside(stores: Stores) -> Path:
        return path(stores).with_name(path(stores).name + ".aside")

    return {
        "happen": lambda stores: path(stores).rename(aside(stores)),
        "pass_": lambda stores: aside(stores).rename(path(stores)),
    }


def linked_elsewhere() -> dict[str, Any]:
    def happen(stores: Stores) -> None:
        (stores.keys / "key").unlink()
        (stores.keys / "key").symlink_to("/etc/hostname")

    def pass_(stores: Stores) -> None:
        (stores.keys / "key").unlink()
        (stores.keys / "key").write_bytes(stores.secrets["file"])

    return {"happen": happen, "pass_": pass_}


def new_token(stores: Stores) -> None:
    stores.token_file.write_text(stores.bao.token("p9"))


def lose_token(stores: Stores) -> None:
    stores.bao.write("auth/token/revoke", token=stores.token_file.read_text())
    stores.token_file.unlink()


def new_secret(stores: Stores, *, field: str = "value") -> None:
    stores.bao.put_v2("p9", **{field: stores.secrets["vault"].decode()})


def secret_of_aws(stores: Stores, text: str) -> None:
    with contextlib.closing(stores.aws.secrets_manager()) as client:
        listed = client.list_secrets()["SecretList"]
        name = next(entry["Name"] for entry in listed if entry["Name"].startswith("p9-"))
        client.put_secret_value(SecretId=name, SecretString=text)


def good_aws(stores: Stores) -> None:
    secret_of_aws(stores, json.dumps({"key": stores.secrets["aws"].decode()}))


def key_path(stores: Stores) -> Path:
    return stores.keys / "key"


FAULTS = {
    "file gone": Fault("file", {"secret_not_found"}, **moved(key_path)),
    "file empty": Fault("file", {"secret_invalid"}, **replaced(key_path, lambda _: b"")),
    "file no key": Fault(
        "file", {"secret_invalid"}, **replaced(key_path, lambda _: b"two words\n"), by_store=False
    ),
    "file binary": Fault(
        "file", {"secret_invalid"}, **replaced(key_path, lambda _: b"\x00\xff" * 9), by_store=False
    ),
    "file a link to elsewhere": Fault("file", {"store_access_denied"}, **linked_elsewhere()),
    "vault denies": Fault(
        "vault", {"store_access_denied"},
        lambda s: s.bao.policy("p9", {"secret/data/other": ["read"]}),
        lambda s: s.bao.policy("p9", {"secret/data/p9": ["read"]}),
    ),
    "vault token revoked": Fault(
        "vault", {"store_access_denied"},
        lambda s: s.bao.write("auth/token/revoke", token=s.token_file.read_text()),
        new_token,
    ),
    "vault token file gone": Fault(
        "vault", {"store_access_denied", "store_unavailable", "secret_not_found"},
        lose_token, new_token,
    ),
    "vault has another field": Fault(
        "vault", {"secret_not_found", "secret_invalid"},
        lambda s: new_secret(s, field="other"), new_secret,
    ),
    "vault has an empty field": Fault(
        "vault", {"secret_invalid", "secret_not_found"},
        lambda s: s.bao.put_v2("p9", value=""), new_secret,
    ),
    "vault has a list": Fault(
        "vault", {"secret_invalid"}, lambda s: s.bao.put_v2("p9", value=["a"]), new_secret,
    ),
    "vault secret deleted": Fault(
        "vault", {"secret_not_found"},
        lambda s: s.bao.call("DELETE", "secret/data/p9"), new_secret,
    ),
    "vault is slow": Fault(
        "vault", {"store_timed_out"},
        lambda s: os.kill(s.bao_pid, signal.SIGSTOP), lambda s: os.kill(s.bao_pid, signal.SIGCONT),
    ),
    "vault is sealed": Fault(
        "vault", {"store_unavailable"},
        lambda s: s.bao.call("PUT", "sys/seal"), lambda _: None,
    ),
    "aws has another field": Fault(
        "aws", {"secret_not_found", "secret_invalid"},
        lambda s: secret_of_aws(s, '{"other": "x"}'), good_aws,
    ),
    "aws has no JSON": Fault(
        "aws", {"secret_invalid"}, lambda s: secret_of_aws(s, "not json"), good_aws,
    ),
    "sealed store damaged": Fault(
        "sealed", {"sealed_store_corrupt"}, **replaced(lambda s: s.sealed_file, lambda b: b[:-30]),
    ),
    "sealed store changed": Fault(
        "sealed", {"sealed_store_corrupt", "sealed_key_wrong"},
        **replaced(lambda s: s.sealed_file, lambda b: b.replace(b"p9", b"p8")),
    ),
    "sealed store gone": Fault(
        "sealed", {"secret_not_found", "sealed_store_corrupt"}, **moved(lambda s: s.sealed_file),
    ),
}  # fmt: skip
LAST = "vault is sealed"
"""Passes only with the server, so it comes after the others of its store."""


@pytest.mark.parametrize("name", [name for name in FAULTS if name != LAST])
def test_no_call_succeeds_with_what_a_store_gave_before(stores: Stores, name: str) -> None:
    fails_closed(stores, FAULTS[name])
    FAULTS[name].pass_(stores)
    lease = stores.gateway.lease()
    wait_until(lambda: chat(stores.gateway, lease, FAULTS[name].store).status_code == 200)
    assert stores.upstream.received[-1].key == stores.secrets[FAULTS[name].store]


def answered(gateway: RunningGateway, lease: str, credential: str) -> bool:
    return chat(gateway, lease, credential).status_code == 200


def fails_closed(stores: Stores, fault: Fault) -> None:
    lease = stores.gateway.lease()
    wait_until(lambda: chat(stores.gateway, lease, fault.store).status_code == 200)
    try:
        fault.happen(stores)
        time.sleep(AGE_SECONDS + 0.1)
        stores.upstream.received.clear()
        for _ in range(3):
            answer = chat(stores.gateway, lease, fault.store)
            assert answer.status_code == 503, answer.text
            assert code_of(answer) in fault.codes
            for secret in stores.secrets.values():
                assert secret.decode() not in answer.text
        assert stores.upstream.received == [], "nothing was sent, with whatever key"
        others = [name for name in NAMES if name != fault.store]
        for other in others:  # one dead store takes nothing else with it
            wait_until(partial(answered, stores.gateway, lease, other))
        keys = {received.key for received in stores.upstream.received}
        assert keys == {stores.secrets[name] for name in others}
        ready = httpx.get(f"{stores.gateway.url}/readyz", trust_env=False)
        assert ready.status_code == 200
        if fault.by_store:
            assert ready.json()["credentials"][fault.store]["error"] in fault.codes
    except BaseException:
        fault.pass_(stores)
        raise


def test_a_refresh_ahead_of_need_that_fails_extends_nothing(stores: Stores) -> None:
    """Shortly before its age a secret is still good, and asked for again; then it is over."""
    lease = stores.gateway.lease()
    time.sleep(AGE_SECONDS + 0.05)
    wait_until(lambda: chat(stores.gateway, lease, "file").status_code == 200)
    fetched_at = time.monotonic()  # or a little earlier, however slow this machine is
    FAULTS["file gone"].happen(stores)
    try:
        time.sleep(max(0.0, fetched_at + AGE_SECONDS * 0.9 - time.monotonic()))
        chat(stores.gateway, lease, "file")
        for _ in range(10):
            time.sleep(AGE_SECONDS / 2)
            assert chat(stores.gateway, lease, "file").status_code == 503
    finally:
        FAULTS["file gone"].pass_(stores)


def test_a_store_that_is_down_for_good(tmp_path: Path) -> None:
    """Refused connections, and a server that stops: the same answer, and never the old key."""
    key = fresh_key()
    with hostile_upstream() as upstream, running_bao(tmp_path) as bao:
        bao.put_v2("p9", value=key.decode())
        home = tmp_path / "gateway"
        home.mkdir()
        with running_gateway(
            home,
            gateway_toml=f"""
[stores]
maximum_age = "1s"
timeout = "1s"
attempts = 1
[stores.vault]
address = "{bao.address}"
{binding("vault://secret/p9#value", upstream.url)}
""",
            policy_toml="version = 1\n"
            + GRANT
            + credential("vault", "vault://secret/p9#value", upstream.url),
            environment={"VAULT_TOKEN": bao.root},
        ) as gateway:
            lease = gateway.lease()
            assert chat(gateway, lease, "vault").status_code == 200
            fault = FAULTS[LAST]
            bao.call("PUT", "sys/seal")
            time.sleep(1.1)
            count = len(upstream.received)
            assert code_of(chat(gateway, lease, "vault")) in fault.codes
            os.kill(pid_listening_on(int(bao.address.rpartition(":")[2])), signal.SIGKILL)
            time.sleep(1.1)
            for _ in range(3):
                answer = chat(gateway, lease, "vault")
                assert (answer.status_code, code_of(answer)) == (503, "store_unavailable")
            assert len(upstream.received) == count


def test_a_plaintext_keyring_is_no_store(tmp_path: Path) -> None:
    """Whatever backends are installed: none that keeps secrets in the clear is used."""
    with (
        hostile_upstream() as upstream,
        running_gateway(
            tmp_path,
            gateway_toml=binding("keyring://p9/key", upstream.url),
            policy_toml="version = 1\n"
            + GRANT
            + credential("keyring", "keyring://p9/key", upstream.url),
            environment={"PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring"},
        ) as gateway,
    ):
        answer = chat(gateway, gateway.lease(), "keyring")
        assert answer.status_code == 503
        assert code_of(answer) in {"store_unsupported", "store_unavailable"}
        assert upstream.received == []


# --- the embedded store at the start -----------------------------------------------------------


@pytest.mark.parametrize("fault", ["wrong key", "no key", "exposed key", "corrupt", "cut"])
def test_a_gateway_does_not_start_on_a_store_that_it_cannot_open(
    tmp_path: Path, fault: str
) -> None:
    """And makes no new key: that would only hide that the old one is gone."""
    with running_gateway(tmp_path):
        pass
    key_file = tmp_path / "config" / "sealing.key"
    sealed = tmp_path / "data" / "strongroom" / "sealed.json"
    before = sealed.read_bytes()
    if fault == "wrong key":
        other = tmp_path / "other"
        other.mkdir()
        with running_gateway(other):
            pass
        key_file.write_bytes((other / "config" / "sealing.key").read_bytes())
    elif fault == "no key":
        key_file.unlink()
    elif fault == "exposed key":
        key_file.chmod(0o644)
    elif fault == "corrupt":
        sealed.write_bytes(before.replace(b'"', b"'", 4))
    else:
        sealed.write_bytes(before[: len(before) // 2])
    changed = sealed.read_bytes()
    assert refused_start(tmp_path).status not in {0, None}
    assert sealed.read_bytes() == changed, "nothing was written over it"
    assert key_file.exists() is (fault != "no key")


@pytest.mark.parametrize("content", [None, b"", b"another passphrase\n"])
def test_a_missing_or_wrong_passphrase_opens_nothing(tmp_path: Path, content: bytes | None) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_bytes(b"correct horse battery staple\n")
    passphrase.chmod(0o600)
    text = f'[stores.sealed]\npassphrase_file = "{passphrase}"\n'
    with running_gateway(tmp_path, gateway_toml=text):
        pass
    assert not (tmp_path / "config" / "sealing.key").exists(), "no key file beside a passphrase"
    if content is None:
        passphrase.unlink()
    else:
        passphrase.write_bytes(content)
    refused = refused_start(tmp_path)
    assert "passphrase" in refused.stderr
    assert not (tmp_path / "config" / "sealing.key").exists()
