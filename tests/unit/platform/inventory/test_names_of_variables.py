"""What a variable's name tells."""

from __future__ import annotations

import pytest

from keylease.contracts.findings import Location, PlaceKind
from keylease.platform.inventory.names import Telling, called, kubernetes_object, telling


@pytest.mark.parametrize(
    "name",
    ["OPENAI_API_KEY", "openai-api-key", "openaiApiKey", "openai.api.key", "_OPENAI_API_KEY"],
)
def test_a_name_is_one_however_it_is_written(name: str) -> None:
    assert called(name) == "openai_api_key"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("API_KEY", Telling.NOTHING),
        ("TOKEN", Telling.NOTHING),
        ("secret", Telling.NOTHING),
        ("PROD_API_KEY", Telling.NOTHING),
        ("KEY_2", Telling.NOTHING),
        ("", Telling.NOTHING),
        ("OPENAI_API_KEY", Telling.SOMETHING),
        ("OPENAI_API_KEY_PROD", Telling.SOMETHING),
        ("BACKEND_OPENAI_KEY", Telling.SOMETHING),
        ("ANTHROPIC_API_KEY_2", Telling.SOMETHING),
        ("HF_TOKEN", Telling.SOMETHING),
        ("ACME_SEARCH_OPENAI_KEY", Telling.OWN),
        ("acmeSearchKey", Telling.SOMETHING),
        ("NPM_TOKEN", Telling.SOMETHING),
        ("SLACK_BOT_TOKEN", Telling.SOMETHING),
        ("EVALS_OPENAI_KEY", Telling.SOMETHING),
        ("acmeOpenaiKey", Telling.OWN),
    ],
)
def test_some_names_are_anybodys(name: str, told: Telling) -> None:
    assert telling(name) is told


@pytest.mark.parametrize(
    ("kind", "path", "detail", "wanted"),
    [
        (PlaceKind.KUBERNETES_MANIFEST, "a.yaml", "Deployment prod/api", ("prod", "api", False)),
        (PlaceKind.KUBERNETES_MANIFEST, "a.yaml", "Secret openai", ("", "openai", True)),
        (PlaceKind.KUBERNETES_CLUSTER, "cluster x: secret prod/o", "", ("prod", "o", True)),
        (
            PlaceKind.KUBERNETES_CLUSTER,
            "cluster x: pod prod/a",
            "container a",
            ("prod", "a", False),
        ),
        (PlaceKind.KUBERNETES_MANIFEST, "a.yaml", "SealedSecret prod/o", ("prod", "o", True)),
    ],
)
def test_an_object_of_kubernetes_is_read_from_its_place(
    kind: PlaceKind, path: str, detail: str, wanted: tuple[str, str, bool]
) -> None:
    thing = kubernetes_object(Location(id="x", kind=kind, path=path, detail=detail))
    assert thing is not None
    assert (thing.namespace, thing.name, thing.keeps) == wanted


def test_other_places_lie_in_no_object() -> None:
    place = Location(id="x", kind=PlaceKind.FILE, path="a: b c/d", detail="Secret prod/openai")
    assert kubernetes_object(place) is None
    broken = Location(
        id="x", kind=PlaceKind.KUBERNETES_MANIFEST, path="a.yaml", detail="Deployment"
    )
    assert kubernetes_object(broken) is None
