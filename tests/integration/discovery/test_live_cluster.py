"""A live cluster, by kubeconfig, against a stand-in of the API server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.kubernetes_api import Api, kubernetes_api
from tests.support.planting import groq_key, openai_key
from tests.support.scanning import codes, look_at, only

from keylease.contracts.findings import PlaceKind, ScanReport
from keylease.discovery.cluster.kubeconfig import read_kubeconfig
from keylease.discovery.cluster.reading import Cluster, _only_in_memory
from keylease.errors import ScanInvalid

SECRETS = "/api/v1/secrets"
CONFIG_MAPS = "/api/v1/configmaps"
DEPLOYMENTS = "/apis/apps/v1/deployments"


@pytest.fixture
def api() -> Iterator[Api]:
    with kubernetes_api() as running:
        yield running


def read(api: Api, tmp_path: Path, **changes: str) -> ScanReport:
    kubeconfig = api.kubeconfig(tmp_path / "config", **changes)
    return look_at(cluster=Cluster(read_kubeconfig([kubeconfig], "", {})))


def secret(name: str, namespace: str = "default", **data: str) -> dict[str, object]:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": {"name": name, "namespace": namespace}, "data": encoded}


def test_values_names_and_users_are_found(api: Api, tmp_path: Path) -> None:
    key = openai_key()
    entry = secret("ai", "staging", OPENAI_API_KEY=key)
    entry["metadata"] = {
        "name": "ai", "namespace": "staging", "labels": {"team": "nlp"},
    }  # fmt: skip
    api.objects = {
        SECRETS: [entry],
        CONFIG_MAPS: [
            {"metadata": {"name": "c", "namespace": "web"}, "data": {"app.env": f"K_KEY={key}\n"}}
        ],
        DEPLOYMENTS: [
            {
                "metadata": {"name": "api", "namespace": "web"},
                "spec": {"template": {"spec": {"containers": [
                    {"name": "main", "env": [
                        {"name": "OPENAI_API_KEY",
                         "valueFrom": {"secretKeyRef": {"name": "ai", "key": "OPENAI_API_KEY"}}},
                        {"name": "PLAIN", "value": "x"},
                    ]},
                ]}}},
            }
        ],
        "/apis/batch/v1/cronjobs": [
            {
                "metadata": {"name": "nightly", "namespace": "eval"},
                "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [
                    {"name": "run", "env": [{"name": "GROQ_API_KEY", "value": groq_key()}]},
                ]}}}}},
            }
        ],
    }  # fmt: skip
    report = read(api, tmp_path)
    assert report.complete
    by_provider = {finding.provider: finding for finding in report.findings}
    first, second = by_provider["openai"].locations
    assert first.kind is PlaceKind.KUBERNETES_CLUSTER
    assert first.path == "cluster prod-eu: configmap web/c"
    assert second.path == "cluster prod-eu: secret staging/ai"
    assert (second.name, second.environment) == ("OPENAI_API_KEY", "staging")
    assert [(o.owner, o.reason) for o in second.owner_candidates] == [("nlp", "label team")]
    (nightly,) = by_provider["groq"].locations
    assert nightly.path == "cluster prod-eu: cronjob eval/nightly"
    (mention,) = report.mentions
    assert (mention.name, mention.reason) == ("OPENAI_API_KEY", "secretKeyRef ai/OPENAI_API_KEY")
    assert mention.location.path == "cluster prod-eu: deployment web/api"
    assert mention.refers_to == "ai/OPENAI_API_KEY"


def test_many_objects_come_in_pages_and_throttling_is_waited_for(api: Api, tmp_path: Path) -> None:
    api.objects[SECRETS] = [secret(f"s{n}", X=str(n)) for n in range(600)]
    api.objects[SECRETS].append(secret("last", OPENAI_API_KEY=openai_key()))
    api.throttled[SECRETS] = 3
    assert only(read(api, tmp_path)).locations[0].path.endswith("default/last")
    assert api.seen.count(SECRETS) == 3 + 3


def test_what_may_not_be_listed_is_reported_and_the_rest_read(api: Api, tmp_path: Path) -> None:
    api.denied = {SECRETS}
    api.objects[CONFIG_MAPS] = [
        {"metadata": {"name": "c", "namespace": "n"}, "data": {"OPENAI_API_KEY": openai_key()}}
    ]
    report = read(api, tmp_path)
    assert only(report).provider == "openai"
    assert codes(report) == {"cluster": ["cluster prod-eu: secrets"]}
    assert not report.complete


def test_a_server_that_lies_or_never_ends_is_reported(api: Api, tmp_path: Path) -> None:
    api.raw = {
        SECRETS: b"<html>",
        CONFIG_MAPS: json.dumps(["x"]).encode(),
        "/api/v1/pods": json.dumps({"items": [1, {"metadata": 2}, None], "metadata": 3}).encode(),
    }
    api.endless = {DEPLOYMENTS}
    api.throttled["/apis/batch/v1/jobs"] = 99
    report = read(api, tmp_path)
    assert {path.rpartition(" ")[2] for path in codes(report)["cluster"]} == {
        "secrets", "configmaps", "deployments", "jobs",
    }  # fmt: skip


def test_a_cluster_that_is_not_there_is_reported(api: Api, tmp_path: Path) -> None:
    kubeconfig = api.kubeconfig(tmp_path / "c", server="http://127.0.0.1:1")
    report = look_at(cluster=Cluster(read_kubeconfig([kubeconfig], "", {})))
    assert len(codes(report)["cluster"]) == 8
    assert "token-of-the-test" not in repr(report)
    wrong = api.kubeconfig(tmp_path / "c", token="other")
    report = look_at(cluster=Cluster(read_kubeconfig([wrong], "", {})))
    assert len(codes(report)["cluster"]) == 8


def test_plain_http_does_not_leave_the_private_network(api: Api, tmp_path: Path) -> None:
    kubeconfig = api.kubeconfig(tmp_path / "c", server="http://192.0.2.1")
    report = look_at(cluster=Cluster(read_kubeconfig([kubeconfig], "", {})))
    assert all("may not be reached" in problem.message for problem in report.problems)


def test_a_plugin_of_the_kubeconfig_gives_the_token(api: Api, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(
        "#!/bin/sh\n"
        'echo "{\\"status\\": {\\"token\\": \\"$ASKED-of-the-test\\"}, \\"x\\": '
        '$KUBERNETES_EXEC_INFO}"\n'
    )
    plugin.chmod(0o755)
    kubeconfig = api.kubeconfig(tmp_path / "config")
    document = json.loads(kubeconfig.read_text())
    user = {"exec": {"command": "./plugin", "apiVersion": "client.authentication.k8s.io/v1",
                     "env": [{"name": "ASKED", "value": "token"}]}}  # fmt: skip
    document["users"][0]["user"] = user
    kubeconfig.write_text(json.dumps(document))
    api.objects[SECRETS] = [secret("ai", OPENAI_API_KEY=openai_key())]
    access = read_kubeconfig([kubeconfig], "", {"PATH": "/usr/bin:/bin"})
    assert only(look_at(cluster=Cluster(access))).provider == "openai"
    assert "token" not in repr(access)
    plugin.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ScanInvalid, match="plugin"):
        read_kubeconfig([kubeconfig], "", {"PATH": "/usr/bin:/bin"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no kubeconfig"),
        ("a: [", "no kubeconfig"),
        ("- x", "no kubeconfig"),
        ("current-context: x", "no context"),
        ("contexts: [{name: '', context: {cluster: c}}]", "no cluster"),
        (
            (
                "contexts: [{name: '', context: {cluster: c, user: u}}]\n"
                "clusters: [{name: c, cluster: {server: ftp://x}}]\nusers: [{name: u, user: {}}]"
            ),
            "names no server",
        ),
        (
            (
                "contexts: [{name: '', context: {cluster: c, user: u}}]\nusers: [{name: u}]\n"
                "clusters: [{name: c, cluster: {server: https://x, "
                "insecure-skip-tls-verify: true}}]"
            ),
            "does not verify",
        ),
        (
            (
                "contexts: [{name: '', context: {cluster: c, user: u}}]\nusers: [{name: u}]\n"
                "clusters: [{name: c, cluster: {server: https://x, "
                "certificate-authority-data: '%%'}}]"
            ),
            "no base64",
        ),
        (
            (
                "contexts: [{name: '', context: {cluster: c, user: u}}]\n"
                "clusters: [{name: c, cluster: {server: https://x}}]\n"
                "users: [{name: u, user: {auth-provider: {name: gcp}}}]"
            ),
            "auth-provider",
        ),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_explained(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "c").write_text(text)
    with pytest.raises(ScanInvalid, match=message):
        read_kubeconfig([tmp_path / "c"], "", {})
    with pytest.raises(ScanInvalid, match="There is no kubeconfig"):
        read_kubeconfig([tmp_path / "none"], "", {})


def test_a_certificate_lies_in_no_directory(tmp_path: Path) -> None:
    with _only_in_memory(b"pem") as path:
        assert Path(path).read_bytes() == b"pem"
        target = str(Path(path).readlink())
    assert "memfd" in target or "deleted" in target
    assert list(tmp_path.iterdir()) == []
