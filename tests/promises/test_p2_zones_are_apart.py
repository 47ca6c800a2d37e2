"""P2, the zones: a process outside the strongroom has no way to a secret, by code or by force.

By code: the import contracts, broken on purpose in a copy. By force: other processes of this
machine, also of the gateway's own user, attack a real gateway. Each attack is also made on
something that is not protected, so that a blind attack is seen.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.supervised import wait_until
from tests.support.users import NOBODY, open_directory, run_as, shared_python

from keylease.primitives.confinement.landlock import landlock_abi
from keylease.strongroom.options import STRONGROOM_UID

__all__ = ["shared_python"]

ROOT = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="acts as other users, so root")
landlock = pytest.mark.skipif(landlock_abi() < 1, reason="this kernel offers no Landlock")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")


# --- by code -----------------------------------------------------------------------------------

FORBIDDEN = {
    "the command line takes a secret": (
        "cli/main.py",
        "from keylease.strongroom.secrets import Secret",
    ),
    "the command line opens a store": (
        "cli/doctor.py",
        "from keylease.strongroom.stores.registry import build_stores",
    ),
    "the SDK reaches into the strongroom": (
        "sdk/agent.py",
        "import keylease.strongroom.gateway.call.credentials",
    ),
    "the simulator is a sibling": (
        "simulator/keys.py",
        "from keylease.strongroom.stores.sealed import SealedStore",
    ),
    "a detector reaches up": (
        "detectors/engine.py",
        "from keylease.strongroom import secrets",
    ),
    "a primitive reaches up": (
        "primitives/tasks.py",
        "from keylease.strongroom.stores.env import receive",
    ),
}


def lint_imports(copy: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def copied(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_are_kept(tmp_path: Path) -> None:
    result = lint_imports(copied(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(("module", "line"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_a_forbidden_import_breaks_a_contract(tmp_path: Path, module: str, line: str) -> None:
    copy = copied(tmp_path)
    path = copy / "src" / "keylease" / module
    path.write_text(path.read_text() + f"\n\n{line}\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout


def test_a_folder_without_a_place_breaks_a_contract(tmp_path: Path) -> None:
    copy = copied(tmp_path)
    folder = copy / "src" / "keylease" / "elsewhere"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A zone that nobody has decided about."""\n')
    assert lint_imports(copy).returncode == 1


def test_a_process_outside_loads_nothing_that_holds_a_secret() -> None:
    """What `keylease run`, the simulator and the supervisor have in memory."""
    code = textwrap.dedent(
        """
        import sys
        import keylease.cli.run, keylease.cli.supervisor, keylease.cli.simulator
        import keylease.sdk.agent, keylease.sdk.leases, keylease.simulator.server
        print([name for name in sys.modules if name.startswith((
            "keylease.strongroom.secrets", "keylease.strongroom.stores",
            "keylease.strongroom.gateway", "keylease.strongroom.leases"))])
        """
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


# --- by force ----------------------------------------------------------------------------------

LOOK = textwrap.dedent(
    """
    import ctypes, os, sys
    def attempt(name, action):
        try:
            action()
            print(name, "OPEN")
        except (PermissionError, ProcessLookupError):
            print(name, "refused")
        except OSError as error:
            print(name, error)
    for pid in map(int, sys.argv[1:]):
        for name in ("mem", "environ", "maps", "auxv", "syscall"):
            attempt(name, lambda: open(f"/proc/{pid}/{name}", "rb").close())
        attempt("fd", lambda: os.listdir(f"/proc/{pid}/fd"))
        attempt("cwd", lambda: os.readlink(f"/proc/{pid}/cwd"))
        attempt("root", lambda: os.readlink(f"/proc/{pid}/root"))
        libc = ctypes.CDLL(None, use_errno=True)
        seized = libc.ptrace(0x4206, pid, None, None)
        print("ptrace", "refused" if seized == -1 else "OPEN")
        class Span(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
        held = ctypes.create_string_buffer(16)
        here, there = Span(ctypes.addressof(held), 16), Span(0x400000, 16)
        libc.process_vm_readv.restype = ctypes.c_ssize_t
        ctypes.set_errno(0)
        libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        print("process_vm_readv", "refused" if ctypes.get_errno() == 1 else "OPEN")
    """
)
ATTACKS = 10


class Started(NamedTuple):
    gateway: RunningGateway
    directory: Path
    python: str


@pytest.fixture(scope="module")
def started(shared_python: str) -> Iterator[Started]:
    """A gateway as root starts it: with a user of its own, two workers and something to steal."""
    with open_directory() as directory:
        config, keys = directory / "config", directory / "keys"
        config.mkdir(mode=0o755)
        keys.mkdir(mode=0o700)
        (keys / "provider").write_text("sk-test-to-be-stolen")
        for path in (keys, keys / "provider"):
            os.chown(path, STRONGROOM_UID, STRONGROOM_UID)
        (keys / "provider").chmod(0o600)
        for name, text in (
            ("gateway.toml", gateway_toml(keys)),
            ("keylease.toml", policy_toml(keys)),
        ):
            (config / name).write_text(text)
            (config / name).chmod(0o644)
        with running_gateway(directory, python=shared_python) as gateway:
            gateway.lease()
            assert gateway.control("credentials.check")[0]["available"]
            yield Started(gateway, directory, shared_python)


def gateway_toml(keys: Path) -> str:
    return f"""
version = 1
[gateway]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
workers = 2
[stores]
file_directories = ["{keys}"]
[[binding]]
reference = "file://{keys}/*"
provider = "openai"
purposes = ["development"]
"""


def policy_toml(keys: Path) -> str:
    return f"""
version = 1
[[credential]]
name = "openai"
provider = "openai"
reference = "file://{keys}/provider"
purposes = ["development"]
environment = "local"
[[route]]
name = "all"
models = ["*"]
targets = [{{ credential = "openai" }}]
[[grant]]
name = "all"
principals = ["*"]
models = ["*"]
purposes = ["development"]
environments = ["local"]
"""


@linux
@as_root
def test_the_gateway_runs_as_a_user_of_its_own(started: Started) -> None:
    for pid in (started.gateway.pid, *started.gateway.workers):
        assert Path(f"/proc/{pid}").stat().st_uid in {0, STRONGROOM_UID}
        uids = next(
            line
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("Uid:")
        )
        assert uids.split()[1:] == [str(STRONGROOM_UID)] * 4
    assert "zones isolated" in started.gateway.posture
    assert "zones not isolated" not in started.gateway.posture


@linux
@as_root
@pytest.mark.parametrize("user", [STRONGROOM_UID, NOBODY], ids=["its own user", "another user"])
def test_no_process_looks_into_the_gateway(started: Started, user: int) -> None:
    """Not even one of the same user: the gateway and its workers are not dumpable."""
    pids = [str(pid) for pid in (started.gateway.pid, *started.gateway.workers)]
    result = run_as([started.python, "-I", "-c", LOOK, *pids], user=user)
    assert result.stdout.count("refused") == ATTACKS * len(pids), result.stdout + result.stderr
    assert "OPEN" not in result.stdout


@linux
@as_root
def test_the_same_attack_opens_a_process_that_is_not_hardened(started: Started) -> None:
    waiting = "import sys; print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [started.python, "-I", "-c", waiting],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=STRONGROOM_UID,
        group=STRONGROOM_UID,
        extra_groups=[],
        cwd="/",
    ) as plain:
        assert plain.stdout is not None
        assert plain.stdin is not None
        plain.stdout.readline()
        command = [started.python, "-I", "-c", LOOK, str(plain.pid)]
        result = run_as(command, user=STRONGROOM_UID)
        plain.kill()
        assert result.stdout.count("OPEN") == ATTACKS, result.stdout


READ = textwrap.dedent(
    """
    import os, sys
    opened = []
    for root in sys.argv[1:]:
        if os.path.isfile(root):
            try:
                open(root, "rb").read(1)
                opened.append(root)
            except PermissionError:
                pass
        for folder, _, names in os.walk(root):
            opened += [os.path.join(folder, name) for name in names]
    print(opened)
    """
)


@linux
@as_root
def test_another_user_reads_no_file_of_the_strongroom(started: Started) -> None:
    home = started.gateway.data_dir / "strongroom"
    inside = [str(path) for path in home.rglob("*") if path.is_file()]
    assert len(inside) > 5
    places = [
        str(home), str(started.directory / "keys"),
        str(started.gateway.config_dir / "sealing.key"), *inside,
    ]  # fmt: skip
    result = run_as([started.python, "-I", "-c", READ, *places], user=NOBODY)
    assert result.stdout == "[]\n", result.stdout + result.stderr
    as_its_user = run_as([started.python, "-I", "-c", READ, *places], user=STRONGROOM_UID)
    assert "sealed.json" in as_its_user.stdout, "the same program does read what it may"


@linux
@as_root
@landlock
def test_a_confined_process_of_the_same_user_reads_nothing_either(started: Started) -> None:
    """As the platform is confined where it has no user of its own."""
    with open_directory() as own:
        os.chown(own, STRONGROOM_UID, STRONGROOM_UID)
        code = textwrap.dedent(
            f"""
            from keylease.primitives.confinement.landlock import Confinement, confine
            from keylease.primitives.confinement.interpreter import interpreter_needs
            import os, socket
            needs = interpreter_needs()
            confine(Confinement(readable=needs.readable, executable=needs.executable,
                writable=(*needs.writable, {str(own)!r}), ports=()))
            open({str(own / "mine")!r}, "w").close()
            for path in ({str(started.gateway.data_dir / "strongroom" / "sealed.json")!r},
                         {str(started.gateway.config_dir / "sealing.key")!r},
                         {str(started.directory / "keys" / "provider")!r},
                         "/etc/shadow", "/proc/{started.gateway.pid}/environ"):
                try:
                    open(path, "rb").read(1)
                    print("OPEN", path)
                except PermissionError:
                    print("refused")
            """
        )
        result = run_as([started.python, "-I", "-c", code], user=STRONGROOM_UID)
    assert result.stdout == "refused\n" * 5, result.stdout + result.stderr


SIGNAL = textwrap.dedent(
    """
    import os, signal, sys
    for pid in map(int, sys.argv[1:]):
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGABRT):
            try:
                os.kill(pid, number)
                print("OPEN")
            except PermissionError:
                print("refused")
    """
)


@linux
@as_root
def test_another_user_cannot_end_or_stop_it(started: Started) -> None:
    pids = [str(pid) for pid in (started.gateway.pid, *started.gateway.workers)]
    result = run_as([started.python, "-I", "-c", SIGNAL, *pids], user=NOBODY)
    assert result.stdout == "refused\n" * 4 * len(pids)


# --- the control socket ------------------------------------------------------------------------

ASK = textwrap.dedent(
    """
    import socket, sys
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    try:
        connection.connect(sys.argv[1])
        connection.sendall(b'{"operation":"lease.create","arguments":'
            b'{"purpose":"development","environment":"local"}}\\n')
        print(connection.makefile().readline().strip())
    except PermissionError:
        print("refused by the directory")
    except (BrokenPipeError, ConnectionResetError):
        print("closed")  # it said why, and did not wait for what we have to say
    """
)


def ask(started: Started, user: int | None) -> str:
    command = [started.python, "-I", "-c", ASK, str(started.gateway.control_socket)]
    return run_as(command, user=user).stdout


@linux
@as_root
def test_the_control_socket_is_closed_to_other_users_twice(started: Started) -> None:
    """By its directory, and by the kernel's word on who is at the other end."""
    assert ask(started, NOBODY) == "refused by the directory\n"
    directories = (started.gateway.data_dir, started.gateway.data_dir / "strongroom")
    before = {
        path: path.stat().st_mode & 0o777
        for path in (*directories, started.gateway.control_socket)
    }  # fmt: skip
    try:
        for path in directories:
            path.chmod(0o755)
        started.gateway.control_socket.chmod(0o666)
        said = ask(started, NOBODY)
        assert said == "closed\n" or json.loads(said)["error"]["code"] == "access_denied"

        def refusals() -> list[str]:
            return [line for line in started.gateway.stderr().splitlines() if "refused" in line]

        wait_until(refusals)
        assert json.loads(refusals()[-1])["uid"] == NOBODY, "and it is written down"
    finally:
        for path, mode in before.items():
            path.chmod(mode)
    assert "kll_" in ask(started, None), "whoever may, gets an answer"


def test_what_is_said_on_the_control_socket_never_holds_a_key(tmp_path: Path) -> None:
    """Whatever is asked: there is no operation that gives a secret back."""
    secret = "sk-test-asked-for"
    with (
        running_gateway(
            tmp_path,
            gateway_toml=(
                '[[binding]]\nreference = "env://KEY"\nprovider = "openai"\n'
                'purposes = ["development"]\n'
            ),
            policy_toml=policy_toml(tmp_path).replace(f"file://{tmp_path}/provider", "env://KEY"),
            environment={"KEY": secret},
        ) as gateway,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        assert gateway.control("credentials.check")[0]["available"]
        connection.settimeout(10)
        connection.connect(str(gateway.control_socket))
        lines = connection.makefile("rb")
        for operation in (
            "secret.get", "secret.reveal", "credentials.get", "credentials.reveal",
            "credentials.check", "status", "posture", "policy.status", "audit.list",
            "environment", "debug", "eval", "lease.keys", "lease.keys.private", "config",
        ):  # fmt: skip
            request: dict[str, object] = {"operation": operation, "arguments": {}}
            connection.sendall(json.dumps(request).encode() + b"\n")
            assert secret.encode() not in lines.readline()
        lines.close()


@linux
def test_without_root_the_same_user_cannot_look_either(shared_python: str) -> None:
    """A gateway of an ordinary user: nothing but its own hardening protects it."""
    with open_directory() as directory:
        for name in ("config", "data"):
            (directory / name).mkdir(mode=0o700)
            if os.geteuid() == 0:
                os.chown(directory / name, NOBODY, NOBODY)
        code = textwrap.dedent(
            f"""
            import pathlib, subprocess, sys
            sys.path.insert(0, {str(ROOT)!r})
            from tests.support.running_gateway import running_gateway
            with running_gateway(pathlib.Path({str(directory)!r})) as gateway:
                pids = [str(pid) for pid in (gateway.pid, *gateway.workers)]
                subprocess.run([sys.executable, "-I", "-c", {LOOK!r}, *pids])
            """
        )
        result = run_as(
            [shared_python, "-c", code], environment={"HOME": str(directory)}, user=NOBODY
        )
    assert result.stdout.count("refused") == 2 * ATTACKS, result.stdout + result.stderr
    assert "OPEN" not in result.stdout
