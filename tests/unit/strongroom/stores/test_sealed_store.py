from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.store_tools import fake_key, key_file, opened, reference, sealed_store

from keylease.errors import (
    SealedKeyExposed,
    SealedKeyMissing,
    SealedKeyWrong,
    SealedStoreCorrupt,
    SealedStoreError,
    SecretNotFound,
    StorageFull,
    StoreTimedOut,
)
from keylease.primitives import files
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores import sealed, sealing_key
from keylease.strongroom.stores.sealed import SealedStore, locked_by_passphrase
from keylease.strongroom.stores.sealing_key import KeyFile, Passphrase

PHRASE = "correct horse battery staple"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> SealedStore:
    return sealed_store(tmp_path, clock)


@pytest.fixture(autouse=True)
def quick_derivation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing_key, "ITERATIONS", 1)
    monkeypatch.setattr(sealing_key, "MEMORY_KIB", 8 * 1024)


def put(store: SealedStore, name: str = "openai", *, replace: bool = False) -> str:
    value = fake_key()
    store.put(name, Secret(value), provider="openai", hosts=("api.openai.com",), replace=replace)
    return value


async def test_what_is_put_is_fetched(store: SealedStore, clock: ManualClock) -> None:
    value = put(store)
    clock.advance(10)
    fetched = await store.fetch(reference("sealed://openai"))
    assert opened(fetched) == value
    assert fetched.fetched_at == clock.now()
    assert fetched.version == store.describe("openai").version
    await store.close()
    assert opened(await store.fetch(reference("sealed://openai"))) == value


def test_another_process_opens_it_with_the_key_file(
    store: SealedStore, tmp_path: Path, clock: ManualClock
) -> None:
    value = put(store)
    assert opened(sealed_store(tmp_path, clock).get("openai")) == value


def test_describe_and_entries_say_everything_but_the_secret(
    store: SealedStore, clock: ManualClock
) -> None:
    value = put(store, "b")
    put(store, "a")
    assert [entry.name for entry in store.entries()] == ["a", "b"]
    info = store.describe("b")
    assert (info.provider, info.hosts, info.created_at) == (
        "openai",
        ("api.openai.com",),
        clock.now(),
    )
    assert value not in repr(store.entries())


def test_the_file_holds_no_secret_and_only_its_owner_reads_it(
    store: SealedStore, tmp_path: Path
) -> None:
    value = put(store)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert value.encode() not in path.read_bytes()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        else:
            assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_replacing_is_asked_for_and_gives_another_version(store: SealedStore) -> None:
    put(store)
    before = store.describe("openai").version
    with pytest.raises(SealedStoreError, match="already"):
        put(store)
    value = put(store, replace=True)
    assert opened(store.get("openai")) == value
    assert store.describe("openai").version != before, "also when the clock stands still"


def test_remove_forgets(store: SealedStore) -> None:
    put(store)
    store.remove("openai")
    assert store.entries() == ()
    with pytest.raises(SecretNotFound):
        store.get("openai")
    with pytest.raises(SecretNotFound):
        store.remove("openai")


def test_nothing_stored_yet(store: SealedStore) -> None:
    assert store.entries() == ()
    for call in (lambda: store.get("x"), lambda: store.remove("x"), lambda: store.describe("x")):
        with pytest.raises(SecretNotFound, match="secret put"):
            call()
    with pytest.raises(SealedStoreError):
        store.rekey(Passphrase(Secret(PHRASE)))


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "-x", "x" * 129, "ä"])
def test_odd_names_are_refused(store: SealedStore, name: str) -> None:
    with pytest.raises(SealedStoreError, match="no name"):
        put(store, name)


@pytest.mark.parametrize("size", [0, 64 * 1024 + 1])
def test_odd_sizes_are_refused(store: SealedStore, size: int) -> None:
    with pytest.raises(SealedStoreError, match="bytes"):
        store.put("x", Secret(b"x" * size), provider="", hosts=())


# --- keys ----------------------------------------------------------------------------------


def test_the_key_file_is_made_once_outside_the_data_directory(
    store: SealedStore, tmp_path: Path
) -> None:
    put(store)
    path = tmp_path / "config" / "sealing.key"
    content = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    put(store, "second")
    assert path.read_bytes() == content


def test_a_key_file_inside_the_data_directory_is_refused(
    tmp_path: Path, clock: ManualClock
) -> None:
    data = tmp_path / "data"
    source = KeyFile(data / "sealing.key", data_directory=data)
    store = SealedStore(data / "strongroom" / "sealed.json", key_source=source, clock=clock)
    with pytest.raises(SealedKeyExposed, match="inside the data directory"):
        put(store)


def test_a_missing_key_file_is_never_replaced_by_a_new_one(
    store: SealedStore, tmp_path: Path, clock: ManualClock
) -> None:
    put(store)
    path = tmp_path / "config" / "sealing.key"
    path.unlink()
    fresh = sealed_store(tmp_path, clock)
    with pytest.raises(SealedKeyMissing, match="missing"):
        fresh.get("openai")
    with pytest.raises(SealedKeyMissing):
        put(fresh, "another")
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o610])
def test_a_key_file_that_others_reach_is_refused(
    store: SealedStore, tmp_path: Path, clock: ManualClock, mode: int
) -> None:
    put(store)
    (tmp_path / "config" / "sealing.key").chmod(mode)
    with pytest.raises(SealedKeyExposed, match="chmod 600"):
        sealed_store(tmp_path, clock).get("openai")


@pytest.mark.parametrize("content", [b"", b"garbage", b"keylease-sealing-key-1:AAAA\n"])
def test_a_damaged_key_file_is_named(
    store: SealedStore, tmp_path: Path, clock: ManualClock, content: bytes
) -> None:
    put(store)
    (tmp_path / "config" / "sealing.key").write_bytes(content)
    with pytest.raises(SealedKeyWrong, match="no key file"):
        sealed_store(tmp_path, clock).get("openai")


def test_the_key_of_another_store_is_refused(
    store: SealedStore, tmp_path: Path, clock: ManualClock
) -> None:
    put(store)
    (tmp_path / "config" / "sealing.key").unlink()
    key_file(tmp_path).create()
    with pytest.raises(SealedKeyWrong, match="not the one"):
        sealed_store(tmp_path, clock).get("openai")


def passphrase_store(tmp_path: Path, clock: ManualClock, phrase: str = PHRASE) -> SealedStore:
    path = tmp_path / "data" / "strongroom" / "sealed.json"
    return SealedStore(path, key_source=Passphrase(Secret(phrase)), clock=clock)


def test_a_passphrase_seals_and_opens(tmp_path: Path, clock: ManualClock) -> None:
    value = put(passphrase_store(tmp_path, clock))
    assert opened(passphrase_store(tmp_path, clock).get("openai")) == value
    assert locked_by_passphrase(tmp_path / "data" / "strongroom" / "sealed.json")
    assert not (tmp_path / "config").exists()


def test_the_parameters_of_the_derivation_are_stored(tmp_path: Path, clock: ManualClock) -> None:
    put(passphrase_store(tmp_path, clock))
    lock = json.loads((tmp_path / "data" / "strongroom" / "sealed.json").read_bytes())["lock"]
    assert lock["type"] == "passphrase"
    assert (lock["iterations"], lock["lanes"], lock["memory_kib"]) == (1, 4, 8 * 1024)


def test_a_wrong_passphrase_is_named(tmp_path: Path, clock: ManualClock) -> None:
    put(passphrase_store(tmp_path, clock))
    with pytest.raises(SealedKeyWrong, match="passphrase"):
        passphrase_store(tmp_path, clock, "incorrect horse battery").get("openai")


def test_the_wrong_kind_of_lock_is_named(
    store: SealedStore, tmp_path: Path, clock: ManualClock
) -> None:
    put(store)
    with pytest.raises(SealedKeyWrong, match="locked by a key file"):
        passphrase_store(tmp_path, clock).get("openai")
    store.path.unlink()
    put(passphrase_store(tmp_path, clock))
    with pytest.raises(SealedKeyWrong, match="locked by a passphrase"):
        sealed_store(tmp_path, clock).get("openai")


def test_a_short_passphrase_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(SealedStoreError, match="12"):
        put(passphrase_store(tmp_path, clock, "short"))


def test_a_passphrase_comes_from_a_descriptor(tmp_path: Path, clock: ManualClock) -> None:
    reader, writer = os.pipe()
    os.write(writer, f"{PHRASE}\n".encode())
    os.close(writer)
    source = Passphrase.from_file(Path(f"/dev/fd/{reader}"))
    os.close(reader)
    value = put(passphrase_store(tmp_path, clock))
    path = tmp_path / "data" / "strongroom" / "sealed.json"
    assert opened(SealedStore(path, key_source=source, clock=clock).get("openai")) == value
    with pytest.raises(SealedKeyMissing):
        Passphrase.from_file(tmp_path / "nothing")


def test_parameters_that_would_eat_the_memory_are_refused(
    tmp_path: Path, clock: ManualClock
) -> None:
    store = passphrase_store(tmp_path, clock)
    put(store)
    content = store.path.read_text()
    store.path.write_text(content.replace('"memory_kib": 8192', '"memory_kib": 99999999'))
    with pytest.raises(SealedStoreCorrupt, match="memory_kib"):
        passphrase_store(tmp_path, clock).get("openai")


# --- rekey ---------------------------------------------------------------------------------


def test_rekey_changes_the_key_and_everything_encrypted(
    store: SealedStore, tmp_path: Path, clock: ManualClock
) -> None:
    values = {name: put(store, name) for name in ("a", "b")}
    old_file = store.path.read_bytes()
    old_key = (tmp_path / "config" / "sealing.key").read_bytes()
    running = sealed_store(tmp_path, clock)
    running.get("a")
    store.rekey(key_file(tmp_path))
    assert (tmp_path / "config" / "sealing.key").read_bytes() != old_key
    assert not list((tmp_path / "config").glob("*.next"))
    for other in (store, running, sealed_store(tmp_path, clock)):
        assert {name: opened(other.get(name)) for name in values} == values
    before, after = json.loads(old_file), json.loads(store.path.read_bytes())
    for old, new in zip(before["entries"], after["entries"], strict=True):
        assert old["created_at"] == new["created_at"], "the secrets are the same versions"
        for field in ("ciphertext", "wrapped_key", "nonce", "key_nonce"):
            assert old[field] != new[field]
    store.path.write_bytes(old_file)
    with pytest.raises(SealedKeyWrong):
        sealed_store(tmp_path, clock).get("a")


def test_the_key_file_keeps_its_inode_for_a_confined_gateway(
    store: SealedStore, tmp_path: Path
) -> None:
    put(store)
    inode = (tmp_path / "config" / "sealing.key").stat().st_ino
    store.rekey(key_file(tmp_path))
    assert (tmp_path / "config" / "sealing.key").stat().st_ino == inode


def test_rekey_between_key_file_and_passphrase(
    store: SealedStore, tmp_path: Path, clock: ManualClock
) -> None:
    value = put(store)
    store.rekey(Passphrase(Secret(PHRASE)))
    assert opened(passphrase_store(tmp_path, clock).get("openai")) == value
    with pytest.raises(SealedStoreError, match="already a file"):
        store.rekey(key_file(tmp_path))
    store.rekey(key_file(tmp_path, "second.key"))
    path = tmp_path / "data" / "strongroom" / "sealed.json"
    again = SealedStore(path, key_source=key_file(tmp_path, "second.key"), clock=clock)
    assert opened(again.get("openai")) == value


# --- writing -------------------------------------------------------------------------------


def test_concurrent_writers_lose_nothing(tmp_path: Path, clock: ManualClock) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            store = sealed_store(tmp_path, clock)
            for count in range(5):
                put(store, f"entry-{number}-{count}")
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(sealed_store(tmp_path, clock).entries()) == 20


def test_a_lock_that_is_held_too_long_is_named(
    store: SealedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store)
    monkeypatch.setattr(sealed, "LOCK_SECONDS", 0.05)
    lock = store.path.with_name("sealed.json.lock")
    with files.locked(lock, seconds=1), pytest.raises(StoreTimedOut, match="lock"):
        put(store, "second")


def test_a_full_disk_changes_nothing(store: SealedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    value = put(store)

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageFull, match="no space"):
            put(store, "second")
    assert opened(store.get("openai")) == value
    assert not list(store.path.parent.glob("*.tmp-*"))


def test_signature_changes_with_the_file(store: SealedStore) -> None:
    assert store.signature(reference("sealed://openai")) is None
    put(store)
    before = store.signature(reference("sealed://openai"))
    assert before == store.signature(reference("sealed://openai"))
    put(store, replace=True)
    assert before != store.signature(reference("sealed://openai"))


def test_a_fifo_in_its_place_does_not_hang(store: SealedStore) -> None:
    store.path.parent.mkdir(parents=True)
    os.mkfifo(store.path)
    with pytest.raises(SealedStoreCorrupt):
        store.get("x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for another user")
def test_what_root_writes_belongs_to_the_owner_of_the_directory(
    store: SealedStore, tmp_path: Path, clock: ManualClock
) -> None:
    """The strongroom has a user of its own; `keylease secret put` may be run by root."""
    (tmp_path / "data").mkdir(mode=0o700)
    os.chown(tmp_path / "data", 61141, 61141)
    put(store)
    put(store, replace=True)
    for path in (tmp_path / "data").rglob("*"):
        assert path.stat().st_uid == 61141, path
    key = tmp_path / "config" / "sealing.key"
    os.chown(key, 61141, 61141)
    value = put(sealed_store(tmp_path, clock), "second")
    store.rekey(key_file(tmp_path))
    assert key.stat().st_uid == 61141, "a confined gateway goes on reading its key"
    assert opened(sealed_store(tmp_path, clock).get("second")) == value
    os.chown(key, 12345, 12345)
    with pytest.raises(SealedKeyExposed, match="another user"):
        sealed_store(tmp_path, clock).get("second")


@pytest.mark.parametrize("damage", [b"", b"keylease-sealing-key-1:AA", None])
def test_a_key_in_waiting_opens_the_store_when_the_key_file_is_damaged(
    store: SealedStore, tmp_path: Path, clock: ManualClock, damage: bytes | None
) -> None:
    """A crash while the new key was moved to its place; the next writer finishes it."""
    value = put(store)
    key = tmp_path / "config" / "sealing.key"
    waiting = key.with_name("sealing.key.next")
    waiting.write_bytes(key.read_bytes())
    waiting.chmod(0o600)
    if damage is None:
        key.unlink()
    else:
        key.write_bytes(damage)
    assert opened(sealed_store(tmp_path, clock).get("openai")) == value
    put(sealed_store(tmp_path, clock), "second")
    assert not waiting.exists()
    assert opened(sealed_store(tmp_path, clock).get("second"))
