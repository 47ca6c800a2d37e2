"""P2, the policy: whoever writes the policy can neither obtain a key nor send one elsewhere.

A real gateway with an honest gateway.toml gets one hostile policy after another. Each is refused
as a file, or refuses the call; never does a byte of a key reach a host that gateway.toml does not
bind it to, and never is anything read that gateway.toml does not let it read.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import httpx
import pytest
from tests.support.call_rig import CallRig, bundle, credential
from tests.support.hostile_policies import (
    Attacked,
    Secrets,
    attacked,
    nothing_leaked,
)
from tests.support.hostile_upstream import hostile_upstream
from tests.support.issuer_thread import exchange, issuer_thread
from tests.support.running_gateway import running_gateway
from tests.support.simulated_provider import fresh_key

from keylease.contracts.purposes import Purpose

__all__ = ["attacked", "nothing_leaked"]

PLAIN = """
provider = "openai-compatible"
upstream = "{upstream}"
reference = "file://{keys}/good"
purposes = ["development"]
environment = "local"
"""
UPSTREAMS = {
    "another port": "http://127.0.0.1:{trap}/v1",
    "another name of the same host": "http://localhost:{bound}/v1",
    "another address of this host": "http://127.0.0.2:{trap}/v1",
    "IPv6 loopback": "http://[::1]:{trap}/v1",
    "mapped address": "http://[::ffff:127.0.0.1]:{trap}/v1",
    "address as a number": "http://2130706433:{trap}/v1",
    "address in hex": "http://0x7f000001:{trap}/v1",
    "address in octal": "http://0177.0.0.1:{trap}/v1",
    "short address": "http://127.1:{trap}/v1",
    "zero address": "http://0.0.0.0:{trap}/v1",
    "dot at the end": "http://127.0.0.1.:{trap}/v1",
    "metadata service": "http://169.254.169.254/latest/meta-data",
    "metadata service by name": "http://metadata.google.internal/v1",
    "private address": "http://10.0.0.1/v1",
    "another scheme": "https://127.0.0.1:{bound}/v1",
    "user info": "http://127.0.0.1:{bound}@127.0.0.1:{trap}/v1",
    "user and password": "http://user:pass@127.0.0.1:{bound}/v1",
    "empty user": "http://@127.0.0.1:{trap}/v1",
    "backslash": "http://127.0.0.1:{bound}\\\\@127.0.0.1:{trap}/v1",
    "line end": "http://127.0.0.1:{bound}/v1\\r\\nHost: 127.0.0.1:{trap}",
    "tab": "http://127.0.0.1:{bound}\\t@127.0.0.1:{trap}/",
    "query": "http://127.0.0.1:{trap}/?http://127.0.0.1:{bound}/v1",
    "fragment": "http://127.0.0.1:{trap}/#http://127.0.0.1:{bound}/v1",
    "file scheme": "file:///etc/shadow",
    "gopher": "gopher://127.0.0.1:{trap}/v1",
    "ftp": "ftp://127.0.0.1:{trap}/v1",
    "javascript": "javascript:alert(1)",
    "unix socket": "unix:///run/docker.sock",
    "no scheme": "127.0.0.1:{bound}/v1",
    "only slashes": "//127.0.0.1:{trap}/v1",
    "no host": "http:///v1",
    "not a port": "http://127.0.0.1:{bound}x/v1",
    "port too large": "http://127.0.0.1:99999/v1",
    "full-width digits": "http://\uff11\uff12\uff17.0.0.1:{trap}/v1",
    "full-width dot": "http://127\u30020.0.1:{trap}/v1",
    "official name as a prefix": "https://api.openai.com.example.test/v1",
    "official name as a user": "https://api.openai.com@127.0.0.1:{trap}/v1",
    "list": "http://127.0.0.1:{bound},127.0.0.1:{trap}/v1",
}


@pytest.mark.parametrize("upstream", UPSTREAMS.values(), ids=UPSTREAMS.keys())
def test_a_policy_cannot_send_a_key_to_another_host(attacked: Attacked, upstream: str) -> None:
    url = upstream.format(trap=attacked.trap.port, bound=attacked.bound.port)
    if attacked.reload(attacked.policy(PLAIN.format(upstream=url, keys=attacked.keys))):
        assert attacked.call() == (403, "binding_missing")
    assert attacked.bound.received == []


@pytest.mark.parametrize("upstream", UPSTREAMS.values(), ids=UPSTREAMS.keys())
def test_a_worker_does_not_rely_on_whoever_checked_the_policy(upstream: str) -> None:
    """The same, as a bundle that no parser has seen."""
    url = upstream.format(trap=4243, bound=4242).replace("\\\\", "\\").encode().decode()
    rig = CallRig(bundle(credentials=(credential(upstream=url),)))
    call = rig.chat()
    assert (call.status, call.code) == (403, "binding_missing")
    assert rig.calls == []
    assert rig.pools == []


PREFIXES = [
    "/v1/../admin", "/v1/%2e%2e/admin", "/v1/..", "/%2e%2e", "//127.0.0.1:{trap}", "/v1;x=y",
    "/v1%2f..", "/v1\\\\..", "/v1 /x", "/v1%00", "/v1%0d%0aHost:x",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_policy_cannot_choose_odd_paths_at_the_bound_host(
    attacked: Attacked, prefix: str
) -> None:
    url = f"http://127.0.0.1:{attacked.bound.port}{prefix.format(trap=attacked.trap.port)}"
    if attacked.reload(attacked.policy(PLAIN.format(upstream=url, keys=attacked.keys))):
        assert attacked.call() == (403, "binding_missing")
    assert attacked.bound.received == []


@pytest.mark.parametrize("path", ["/admin", "/v1/organization", "/v1/beta", "/"])
def test_at_an_official_host_the_path_is_the_catalogues(path: str) -> None:
    """Else a policy could lead calls to a provider's administration."""
    rig = CallRig(bundle(credentials=(credential(upstream=f"https://api.openai.com{path}"),)))
    assert rig.chat().code == "binding_missing"
    assert rig.calls == []


# --- another provider, purpose or environment --------------------------------------------------

BOUND = "{bound}/v1"


def claiming(
    reference: str,
    *,
    provider: str = "openai-compatible",
    upstream: str = BOUND,
    purpose: str = "development",
    environment: str = "local",
) -> tuple[str, dict[str, str]]:
    """A credential as a policy claims it, and the wish of a lease for it."""
    where = f'upstream = "{upstream}"\n' if upstream else ""
    text = (
        f'provider = "{provider}"\n{where}reference = "{reference}"\n'
        f'purposes = ["{purpose}"]\nenvironment = "{environment}"\n'
    )
    return text, {"purpose": purpose, "environment": environment}


GOOD, PRODUCTION, STAGING = (
    "file://{keys}/good",
    "file://{keys}/production/key",
    "file://{keys}/staging/key",
)
RELABELLED = {
    "another provider": claiming(GOOD, provider="anthropic-compatible", upstream="{bound}"),
    "a well-known provider": claiming(GOOD, provider="openai", upstream=""),
    "a well-known provider at our host": claiming("env://BOUND", provider="openai"),
    "a well-known provider at another one's host": claiming(
        "env://BOUND", provider="openai", upstream="https://api.groq.com/openai/v1"
    ),
    "production relabelled for development": claiming(PRODUCTION),
    "production relabelled for evals": claiming(PRODUCTION, purpose="eval"),
    "development relabelled for production": claiming(GOOD, purpose="production"),
    "another environment": claiming(STAGING),
    "an environment of its own": claiming(GOOD, environment="mine"),
    "what was sealed for another provider": claiming("sealed://recorded"),
    "the lease signing key": claiming("sealed://keylease-lease-signing-key"),
}


@pytest.mark.parametrize(("text", "wish"), RELABELLED.values(), ids=RELABELLED.keys())
def test_a_policy_cannot_use_a_key_otherwise(
    attacked: Attacked, text: str, wish: dict[str, str]
) -> None:
    filled = text.format(bound=attacked.bound.url, keys=attacked.keys)
    assert attacked.reload(attacked.policy(filled)), "the file alone looks fine"
    assert attacked.call(**wish) == (403, "binding_missing")
    assert attacked.bound.received == []


def test_a_secret_that_was_fetched_before_stays_with_what_it_was_fetched_for(
    attacked: Attacked,
) -> None:
    """The credential keeps its name and leads elsewhere: no worker may use what it holds."""
    url = attacked.bound.url

    def used(reference: str, upstream: str) -> tuple[int, str]:
        text, wish = claiming(reference, upstream=f"{upstream}/v1")
        filled = text.format(bound=url, keys=attacked.keys)
        assert attacked.reload(attacked.policy(filled))
        return attacked.call(**wish)

    assert used("sealed://for-here", url) == (200, "")
    assert attacked.bound.received[-1].key == attacked.secrets.good
    # 1. Another host that the binding allows, but not what the secret was recorded with.
    assert used("sealed://for-here", url.replace("127.0.0.1", "localhost")) == (
        403,
        "binding_missing",
    )
    # 2. Another reference: its own secret, or none.
    count = len(attacked.bound.received)
    assert used("sealed://absent", url) == (503, "secret_not_found")
    assert used(STAGING, url) == (403, "binding_missing")
    assert len(attacked.bound.received) == count


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("openai-compatible", "evil-ai"),
        PLAIN.replace("openai-compatible", "OpenAI"),
        PLAIN.replace('["development"]', '["eval", "production"]'),
        PLAIN.replace('["development"]', '["anything"]'),
        PLAIN.replace('["development"]', "[]"),
        PLAIN + 'hosts = ["http://127.0.0.1:1"]\n',
        PLAIN + "allow_private = true\n",
        PLAIN.replace("[", "[[credential"),
    ],
    ids=["unknown provider", "case", "eval and production", "purpose", "no purpose", "own hosts",
         "own rights", "no TOML"],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused_as_a_whole(attacked: Attacked, text: str) -> None:
    filled = text.format(upstream=f"{attacked.bound.url}/v1", keys=attacked.keys)
    assert not attacked.reload(attacked.policy(filled))
    assert attacked.bound.received == []


# --- what may be read --------------------------------------------------------------------------

REFERENCES = [
    "file:///etc/shadow",
    "file:///etc/passwd",
    "file:///proc/self/environ",
    "file:///proc/1/environ",
    "file:///proc/self/mem",
    "file:///dev/stdin",
    "file:///var/spool/cron/crontabs",
    "file://{outside}/key",
    "file://{keys}/../outside/key",
    "file://{keys}/%2e%2e/outside/key",
    "file://{keys}/./../outside/key",
    "file://{keys}//good",
    "file://{keys}/production/key",
    "file://{keys}/link",
    "file://{keys}/linked/key",
    "file://{keys}",
    "file://{keys}/",
    "file://{config}/sealing.key",
    "file://{data}/strongroom/sealed.json",
    "file://localhost{keys}/good",
    "file://{keys}/good#field",
    "file://{keys}/good%00",
    "env://PATH",
    "env://HOME",
    "env://UNBOUND",
    "env://LD_PRELOAD",
    "vault://secret/other#value",
    "vault://sys/seal-status#sealed",
    "aws-sm://eu-central-1/other#key",
    "keyring://login/other",
    "http://169.254.169.254/latest",
    "exec://cat /etc/shadow",
    "good",
    "",
]


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_policy_cannot_have_anything_else_read(attacked: Attacked, reference: str) -> None:
    text = PLAIN.replace("file://{keys}/good", reference).format(
        upstream=f"{attacked.bound.url}/v1",
        keys=attacked.keys,
        outside=attacked.keys.parent / "outside",
        config=attacked.gateway.config_dir,
        data=attacked.gateway.data_dir,
    )
    if attacked.reload(attacked.policy(text)):
        status, code = attacked.call()
        # A link lies where gateway.toml allows it, so it is the store that refuses.
        assert (status, code) in {
            (403, "binding_missing"),
            (503, "store_access_denied"),
            (503, "secret_not_found"),
        }
        assert (code == "binding_missing") or reference.endswith("/link")
    assert attacked.bound.received == []


@pytest.mark.parametrize("reference", [text for text in REFERENCES if "//" in text])
def test_careless_bindings_still_do_not_open_the_system(careless: Attacked, reference: str) -> None:
    """gateway.toml with ``**`` everywhere: what it lists as directories still counts."""
    text = PLAIN.replace("file://{keys}/good", reference).format(
        upstream=f"{careless.bound.url}/v1",
        keys=careless.keys,
        outside=careless.keys.parent / "outside",
        config=careless.gateway.config_dir,
        data=careless.gateway.data_dir,
    )
    if careless.reload(careless.policy(text)):
        status, code = careless.call()
        if not reference.endswith("/production/key"):
            assert status in {403, 503}, code
            assert code != "internal"
    for received in careless.bound.received:
        assert received.key in {careless.secrets.production, careless.secrets.good}
        assert b"root:" not in received.head


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    directory = tmp_path_factory.mktemp("careless")
    keys = directory / "keys"
    values = Secrets(*(fresh_key() for _ in Secrets._fields))
    for place, value in (
        ("keys/good", values.good),
        ("keys/production/key", values.production),
        ("outside/key", values.outside),
    ):
        path = directory / place
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(value)
        path.chmod(0o600)
    (keys / "link").symlink_to(directory / "outside" / "key")
    (keys / "linked").symlink_to(directory / "outside")
    with hostile_upstream() as bound, hostile_upstream() as trap:
        bindings = "".join(
            f'[[binding]]\nreference = "{scheme}://**"\nprovider = "openai-compatible"\n'
            f'hosts = ["{bound.url}"]\npurposes = ["development"]\n'
            for scheme in ("file", "env", "sealed", "vault", "aws-sm", "keyring")
        )
        stores = f'[stores]\nfile_directories = ["{keys}"]\ntimeout = "1s"\nattempts = 1\n'
        with running_gateway(
            directory,
            gateway_toml=stores + bindings,
            policy_toml="version = 1\n",
            environment={"BOUND": values.good.decode()},
        ) as gateway:
            yield Attacked(gateway, bound, trap, keys, values)


# --- who may get a lease -----------------------------------------------------------------------


def test_a_policy_cannot_trust_another_issuer(attacked: Attacked) -> None:
    with issuer_thread() as foreign:
        rule = f"""
[[trust]]
name = "mine"
issuer = "{foreign.url}"
audience = "keylease"
principal = "user:root"
purposes = ["development"]
environments = ["local"]
models = ["*"]
[trust.claims]
sub = "job"
"""
        assert attacked.reload(attacked.policy(more=rule))
        answer = exchange(attacked.gateway.url, foreign.token())
        assert answer.status_code == 400
        assert "access_token" not in answer.json()
        assert foreign.jwks_requests == 0, "nobody is asked who is not listed in gateway.toml"


def test_a_rule_without_claims_is_refused(attacked: Attacked) -> None:
    rule = """
[[trust]]
name = "mine"
issuer = "https://token.actions.githubusercontent.com"
audience = "keylease"
principal = "user:root"
purposes = ["development"]
environments = ["local"]
models = ["*"]
[trust.claims]
"""
    assert not attacked.reload(attacked.policy(more=rule))


# --- versions ----------------------------------------------------------------------------------


def test_an_older_policy_is_a_new_version_and_revocations_stay(attacked: Attacked) -> None:
    """Putting an old file back undoes no revocation and lowers no version, also over a restart."""
    first = attacked.policy()
    second = attacked.policy(more=f"# {secrets.token_hex(4)}\nserve_when_spool_full = false\n")
    second = second.replace("version = 1\n", "version = 1\n\n", 1).replace(
        'name = "all"', 'name = "others"'
    )
    second = second.replace("serve_when_spool_full = false\n", "")
    attacked.reload(first)
    lease = attacked.gateway.control("lease.create", purpose="development", environment="local")
    attacked.gateway.control("lease.revoke", kind="lease", value=lease["lease_id"])
    versions = [attacked.gateway.control("policy.status")["version"]]
    for text in (second, first, second, first):
        assert attacked.reload(text)
        versions.append(attacked.gateway.control("policy.status")["version"])
    assert versions == sorted(set(versions)), "every change counts up"
    answer = httpx.get(
        f"{attacked.gateway.url}/v1/models",
        headers={"authorization": f"Bearer {lease['token']}"},
        trust_env=False,
    )
    assert answer.status_code == 401
    high_water = attacked.gateway.data_dir / "strongroom" / "policy-high-water"
    assert f'"version":{versions[-1]}' in high_water.read_text()


def test_the_attacks_are_not_refused_for_being_odd(attacked: Attacked) -> None:
    """The same form of policy works when it asks for what gateway.toml allows."""
    text = PLAIN.format(upstream=f"{attacked.bound.url}/v1", keys=attacked.keys)
    assert attacked.reload(attacked.policy(text))
    assert attacked.call("anything") == (200, "")
    assert {received.key for received in attacked.bound.received} == {attacked.secrets.good}
    staging = PLAIN.replace("/good", "/staging/key").replace('"local"', '"staging"')
    assert attacked.reload(
        attacked.policy(staging.format(upstream=f"{attacked.bound.url}/v1", keys=attacked.keys))
    )
    assert attacked.call("anything", environment="staging") == (200, "")
    assert attacked.bound.received[-1].key == attacked.secrets.staging
    attacked.bound.received.clear()


def test_purposes_are_those_of_the_contract() -> None:
    """The attacks above name every purpose there is."""
    assert set(Purpose) == {Purpose.DEVELOPMENT, Purpose.EVAL, Purpose.PRODUCTION}
    assert os.sep == "/"
