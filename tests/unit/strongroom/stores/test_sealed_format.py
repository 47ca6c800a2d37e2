from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.manual_clock import ManualClock
from tests.support.store_tools import fake_key, opened, sealed_store

from keylease.errors import SealedKeyWrong, SealedStoreCorrupt, SealedStoreError, SecretNotFound
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores import sealed_format
from keylease.strongroom.stores.sealed_format import KeyFileLock, SealedIndex, StoreKeys

Change = Callable[[dict[str, Any]], object]
VALUES = {"a": fake_key(), "b": fake_key()}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sealed")
    store = sealed_store(directory, ManualClock())
    for name, value in VALUES.items():
        store.put(name, Secret(value), provider="openai", hosts=("api.openai.com", "b.example"))
    return directory


@pytest.fixture(scope="module")
def content(directory: Path) -> bytes:
    return (directory / "data" / "strongroom" / "sealed.json").read_bytes()


def read_all(directory: Path, content: bytes) -> dict[str, str]:
    """What a store says whose file has this content: the secrets, or one of its own errors."""
    store = sealed_store(directory, ManualClock())
    store.path = directory / "mutated.json"
    store.path.write_bytes(content)
    return {name: opened(store.get(name)) for name in VALUES}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keylease.strongroom.stores.sealed._FITTING_PAUSE", 0)


def test_the_unchanged_file_opens(directory: Path, content: bytes) -> None:
    assert read_all(directory, content) == VALUES


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_mutation_ever_gives_a_wrong_secret(
    directory: Path, content: bytes, data: st.DataObject
) -> None:
    mutated = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        if not mutated:
            break
        position = data.draw(st.integers(0, max(len(mutated) - 1, 1)))
        kind = data.draw(st.sampled_from(["flip", "set", "insert", "delete", "cut"]))
        if kind == "flip":
            mutated[position % len(mutated)] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set":
            mutated[position % len(mutated)] = data.draw(st.sampled_from(b'09aAzZ+/="{}[], \n'))
        elif kind == "insert":
            mutated[position:position] = data.draw(st.binary(min_size=1, max_size=4))
        elif kind == "delete":
            del mutated[position : position + 1]
        elif kind == "cut":
            del mutated[max(position, 1) :]
    if bytes(mutated) == content:
        return
    with pytest.raises(SealedStoreError):
        read_all(directory, bytes(mutated))


@given(st.binary(max_size=300))
def test_garbage_is_corrupt(noise: bytes) -> None:
    with pytest.raises(SealedStoreError):
        sealed_format.decode(noise)


def rewritten(content: bytes, change: Change) -> bytes:
    document = json.loads(content)
    change(document)
    encoded = msgspec.json.encode(document)
    return msgspec.json.format(encoded, indent=1) + b"\n"


def _swap(document: dict[str, Any], *fields: str) -> None:
    first, second = document["entries"]
    for field in fields:
        first[field], second[field] = second[field], first[field]


CHANGES: dict[str, Change] = {
    "name": lambda d: d["entries"][0].update(name="c"),
    "names swapped": lambda d: _swap(d, "name"),
    "secrets swapped": lambda d: _swap(
        d, "ciphertext", "nonce", "wrapped_key", "key_nonce", "created_at"
    ),
    "provider": lambda d: d["entries"][0].update(provider="anthropic"),
    "hosts": lambda d: d["entries"][0].update(hosts=["attacker.example"]),
    "host added": lambda d: d["entries"][0]["hosts"].append("attacker.example"),
    "hosts joined": lambda d: d["entries"][0].update(hosts=["api.openai.com,b.example"]),
    "created_at": lambda d: d["entries"][0].update(created_at=1),
    "ciphertext": lambda d: d["entries"][0].update(ciphertext="AAAA"),
    "wrapped key": lambda d: d["entries"][0].update(wrapped_key="AAAA"),
    "nonce": lambda d: d["entries"][0].update(nonce=""),
    "entry removed": lambda d: d["entries"].pop(),
    "entry twice": lambda d: d["entries"].append(d["entries"][0]),
    "order": lambda d: d["entries"].reverse(),
    "generation": lambda d: d.update(generation=99),
    "store made at": lambda d: d.update(created_at=1),
    "mac": lambda d: d.update(mac="AAAA"),
    "unknown field": lambda d: d.update(extra=1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_each_change_is_found(directory: Path, content: bytes, change: Change) -> None:
    changed = rewritten(content, change)
    assert changed != content
    with pytest.raises(SealedStoreCorrupt):
        read_all(directory, changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(key_check="AAAA"),
        lambda d: d.update(store_id="another"),
    ],
    ids=["key check", "store id"],
)
def test_a_changed_head_looks_like_a_wrong_key(
    directory: Path, content: bytes, change: Change
) -> None:
    with pytest.raises(SealedKeyWrong):
        read_all(directory, rewritten(content, change))


def test_an_old_entry_cannot_be_brought_back(tmp_path: Path) -> None:
    store = sealed_store(tmp_path, ManualClock())
    store.put("a", Secret(fake_key()), provider="", hosts=())
    old = json.loads(store.path.read_bytes())["entries"][0]
    store.put("a", Secret(fake_key()), provider="", hosts=(), replace=True)
    changed = rewritten(store.path.read_bytes(), lambda d: d.update(entries=[old]))
    store.path.write_bytes(changed)
    with pytest.raises(SealedStoreCorrupt):
        store.get("a")


def test_the_entry_itself_is_bound_even_under_a_right_index() -> None:
    """Second line of defence: relabelling fails without the index's authentication too."""
    keys = StoreKeys(Secret(b"k" * 32), store_id="s")
    entry = sealed_format.seal(
        Secret("x"), keys, name="a", provider="openai", hosts=("h",), created_at=1
    )
    assert sealed_format.unseal(entry, keys).equals(Secret("x"))
    for changed in (
        {"name": "b"},
        {"provider": "other"},
        {"hosts": ("h", "g")},
        {"created_at": 2},
    ):
        with pytest.raises(SealedStoreCorrupt, match="was changed"):
            sealed_format.unseal(msgspec.structs.replace(entry, **changed), keys)
    with pytest.raises(SealedStoreCorrupt):
        sealed_format.unseal(entry, StoreKeys(Secret(b"k" * 32), store_id="t"))


def test_a_newer_format_is_named(directory: Path, content: bytes) -> None:
    with pytest.raises(SealedStoreError, match="format 2") as caught:
        read_all(directory, content.replace(b'"format": 1', b'"format": 2'))
    assert not isinstance(caught.value, SealedStoreCorrupt)


def test_a_missing_name_is_not_corruption(directory: Path) -> None:
    with pytest.raises(SecretNotFound):
        sealed_store(directory, ManualClock()).get("c")


def test_encoding_is_one_to_one(content: bytes) -> None:
    index = sealed_format.decode(content)
    assert sealed_format.encode(index) == content
    with pytest.raises(SealedStoreCorrupt):
        sealed_format.decode(content + b" ")
    with pytest.raises(SealedStoreCorrupt):
        sealed_format.decode(msgspec.json.encode(index))


def test_data_keys_and_nonces_are_fresh_each_time() -> None:
    keys = StoreKeys(Secret(b"k" * 32), store_id="s")
    entries = [
        sealed_format.seal(Secret("x"), keys, name="a", provider="", hosts=(), created_at=1)
        for _ in range(50)
    ]
    for field in ("nonce", "key_nonce", "wrapped_key", "ciphertext"):
        assert len({getattr(entry, field) for entry in entries}) == 50


def test_errors_hold_no_key_material() -> None:
    keys = StoreKeys(Secret(b"k" * 32), store_id="s")
    index = SealedIndex(
        format=1,
        store_id="s",
        created_at=1,
        generation=1,
        lock=KeyFileLock(),
        key_check=b"wrong",
        entries=(),
        mac=b"",
    )
    with pytest.raises(SealedKeyWrong) as caught:
        sealed_format.verify(index, keys)
    assert caught.value.__cause__ is None
    assert "key file" in caught.value.message
