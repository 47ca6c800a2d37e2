"""What hardening promises, looked at from outside, on real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.users import NOBODY, open_directory, run_as

from keylease.primitives.confinement.landlock import landlock_abi

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs another user, so root")
landlock = pytest.mark.skipif(landlock_abi() < 1, reason="this kernel offers no Landlock")
WAITING = textwrap.dedent(
    """
    import sys
    from keylease.strongroom.startup import harden
    measures = harden()
    print({measure.name: measure.on for measure in measures}, flush=True)
    sys.stdin.read()
    """
)


@contextmanager
def hardened(
    python: str, *, user: int | None = None, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        [python, "-I", "-c", WAITING],
        env={"PATH": "/usr/bin:/bin", **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        user=user if os.geteuid() == 0 else None,
        group=user if os.geteuid() == 0 else None,
        extra_groups=[] if user is not None and os.geteuid() == 0 else None,
        cwd="/",
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline()
        assert process.stdin is not None
        process.stdin.close()


def field(pid: int, name: str) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{name}:\s*(.*)$", status, flags=re.MULTILINE)
    assert found
    return found[1]


@linux
def test_a_hardened_process_shows_it_from_outside(shared_python: str) -> None:
    with hardened(shared_python, user=NOBODY) as (process, said):
        assert "'no core dumps': True" in said
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert re.search(r"Max core file size\s+0\s+0\s", limits)
        assert field(process.pid, "NoNewPrivs") == "1"
        # The kernel gives the files of a process that is not dumpable to root (proc(5)).
        assert Path(f"/proc/{process.pid}/mem").stat().st_uid == 0
        locked = int(field(process.pid, "VmLck").split()[0])
        assert (locked > 0) is ("'memory locked': True" in said)


@linux
def test_another_process_of_the_same_user_cannot_look_inside(shared_python: str) -> None:
    look = textwrap.dedent(
        """
        import ctypes, sys
        pid = int(sys.argv[1])
        for name in ("environ", "mem", "maps"):
            try:
                open(f"/proc/{pid}/{name}", "rb").close()
                print(name, "opened")
            except PermissionError:
                print(name, "refused")
        libc = ctypes.CDLL(None, use_errno=True)
        print("ptrace", "refused" if libc.ptrace(0x4206, pid, None, None) else "attached")
        """
    )
    waiting = "import sys; print(1, flush=True); sys.stdin.read()"
    with hardened(shared_python, user=NOBODY) as (process, said):
        assert "'not dumpable': True" in said
        result = run_as([shared_python, "-I", "-c", look, str(process.pid)])
        assert result.stdout.split("\n")[:4] == [
            "environ refused",
            "mem refused",
            "maps refused",
            "ptrace refused",
        ]
    # The same look does open a process that is not hardened: the test can see a difference.
    with subprocess.Popen(
        [shared_python, "-I", "-c", waiting],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=NOBODY if os.geteuid() == 0 else None,
        group=NOBODY if os.geteuid() == 0 else None,
        extra_groups=[] if os.geteuid() == 0 else None,
        cwd="/",
    ) as plain:
        assert plain.stdout is not None
        assert plain.stdin is not None
        plain.stdout.readline()
        result = run_as([shared_python, "-I", "-c", look, str(plain.pid)])
        assert "environ opened" in result.stdout
        plain.stdin.close()


@linux
def test_a_finite_lock_limit_is_said_and_not_stumbled_over(shared_python: str) -> None:
    code = textwrap.dedent(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
        from keylease.primitives.confinement.process import memory_locked
        measure = memory_locked()
        held = bytearray(64 * 1024 * 1024)
        print(measure.on, measure.reason)
        """
    )
    result = run_as([shared_python, "-I", "-c", code])
    assert result.stdout.startswith("False at most 64 KiB may be locked"), result.stderr


def test_variables_that_redirect_or_load_code_are_gone() -> None:
    unwanted = {
        "https_proxy": "http://127.0.0.1:9",
        "ALL_PROXY": "x",
        "OPENAI_BASE_URL": "x",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": "x",
        "SSLKEYLOGFILE": "/tmp/keys",  # noqa: S108 - the name is what matters
        "SSL_CERT_FILE": "/tmp/ca",  # noqa: S108 - as above
        "LD_LIBRARY_PATH": "/nowhere",
        "PYTHONSTARTUP": "x",
        "OPENSSL_CONF": "/nowhere",
    }
    code = (
        "import os; from keylease.strongroom.startup import harden; harden();"
        "print(sorted(os.environ));"
        "print(open('/proc/self/environ').read().count('LD_') if os.path.exists('/proc') else 0)"
    )
    result = run_as(
        [sys.executable, "-I", "-c", code], user=None, environment={**unwanted, "TZ": "UTC"}
    )
    names, loader = result.stdout.splitlines()
    assert set(json.loads(names.replace("'", '"'))) - {"LC_CTYPE"} == {"PATH", "TZ"}
    assert loader == "0"


def confined(python: str, body: str, *, abi: int | None = None, user: int | None = NOBODY) -> str:
    """Run ``body`` in a process that was confined to the interpreter and to its argument."""
    with open_directory() as directory:
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
        (directory / "own").mkdir()
        (directory / "own" / "file").write_text("mine")
        (directory / "others").write_text("not mine")
        for path in (directory / "own", directory / "own" / "file", directory / "others"):
            path.chmod(0o777)
        code = textwrap.dedent(
            f"""
            import os, socket, subprocess, sys
            from keylease.primitives.confinement.landlock import Confinement, confine
            from keylease.primitives.confinement.interpreter import interpreter_needs
            directory = {str(directory)!r}
            needs = interpreter_needs()
            measure = confine(Confinement(
                readable=needs.readable, executable=needs.executable,
                writable=(*needs.writable, directory + "/own"), ports=(0,),
            ), abi={abi!r})
            def attempt(name, action):
                try:
                    action()
                    print(name, "ok")
                except OSError as error:
                    print(name, error.strerror)
            """
        ) + textwrap.dedent(body)
        result = run_as([python, "-I", "-c", code], user=user)
        assert result.returncode == 0, result.stderr
        return result.stdout


@landlock
def test_a_confined_process_reaches_its_own_and_nothing_else(shared_python: str) -> None:
    said = confined(
        shared_python,
        """
        attempt("own read", lambda: open(directory + "/own/file").read())
        attempt("own write", lambda: open(directory + "/own/new", "w").write("x"))
        attempt("others read", lambda: open(directory + "/others").read())
        attempt("others write", lambda: open(directory + "/others", "w"))
        attempt("others truncate", lambda: os.truncate(directory + "/others", 0))
        attempt("system file", lambda: open("/etc/passwd").read())
        attempt("list home", lambda: os.listdir("/home"))
        attempt("shell", lambda: subprocess.run(["/bin/sh", "-c", "true"]))
        child = subprocess.run([sys.executable, "-I", "-c",
            "import sys\\ntry: open(sys.argv[1])\\nexcept PermissionError: print('child refused')",
            directory + "/others"], capture_output=True, text=True)
        print(child.stdout.strip(), child.stderr.strip())
        print(measure.on)
        """,
    )
    assert said.splitlines() == [
        "own read ok",
        "own write ok",
        "others read Permission denied",
        "others write Permission denied",
        "others truncate Permission denied",
        "system file Permission denied",
        "list home Permission denied",
        "shell Permission denied",
        "child refused ",
        "True",
    ]


@landlock
def test_root_is_confined_too() -> None:
    said = confined(
        sys.executable,
        'attempt("shadow", lambda: open("/etc/shadow").read())\n'
        'attempt("own", lambda: open(directory + "/own/file").read())',
        user=None,
    )
    assert said.splitlines() == ["shadow Permission denied", "own ok"]


@pytest.mark.skipif(landlock_abi() < 4, reason="needs Landlock ABI 4")
def test_a_confined_process_binds_its_ports_only(shared_python: str) -> None:
    said = confined(
        shared_python,
        """
        free = socket.create_server(("127.0.0.1", 0))
        print("free ok")
        attempt("other port", lambda: socket.create_server(("127.0.0.1", 45671)))
        attempt("outgoing", lambda: socket.create_connection(free.getsockname()))
        """,
    )
    first, other, outgoing = said.splitlines()
    assert first == "free ok"
    assert other.startswith("other port Permission denied")
    assert outgoing == "outgoing ok"


@pytest.mark.skipif(landlock_abi() < 6, reason="needs Landlock ABI 6")
def test_a_confined_process_signals_nobody_outside(shared_python: str) -> None:
    said = confined(shared_python, 'attempt("parent", lambda: os.kill(os.getppid(), 0))', user=None)
    assert said == "parent Operation not permitted\n"


@landlock
@pytest.mark.parametrize("abi", range(1, 8))
def test_every_older_version_still_confines_files(shared_python: str, abi: int) -> None:
    said = confined(
        shared_python,
        """
        attempt("others", lambda: open(directory + "/others").read())
        attempt("own", lambda: open(directory + "/own/file").read())
        print(measure.reason)
        """,
        abi=abi,
    )
    lines = said.splitlines()
    assert lines[:2] == ["others Permission denied", "own ok"]
    assert lines[2].startswith(f"ABI {min(abi, landlock_abi())}: files")


def test_without_landlock_it_is_said() -> None:
    said = confined(
        sys.executable,
        'print(measure.on, measure.reason)\nattempt("o", lambda: open(directory + "/others"))',
        abi=0,
        user=None,
    )
    assert said.splitlines() == ["False this kernel does not offer Landlock", "o ok"]


@linux
@as_root
def test_root_becomes_a_user_of_its_own(shared_python: str) -> None:
    with open_directory() as directory:
        data = directory / "data"
        data.mkdir(mode=0o700)
        (data / "file").write_text("x")
        code = textwrap.dedent(
            f"""
            import os
            from keylease.primitives.confinement.users import OwnUser, become
            from keylease.primitives.confinement.interpreter import interpreter_needs
            needs = interpreter_needs()
            print(become(OwnUser(uid=61141, readable=(*needs.readable, *needs.executable),
                owned=({str(data)!r},))))
            print(os.getresuid(), os.getresgid(), os.getgroups())
            print(open({str(data / "file")!r}).read())
            try: os.setuid(0)
            except PermissionError: print("no way back")
            """
        )
        result = run_as([shared_python, "-I", "-c", code], user=None)
        lines = result.stdout.splitlines()
        assert "on=True" in lines[0], result.stderr
        assert lines[1:] == [
            "(61141, 61141, 61141) (61141, 61141, 61141) []",
            "x",
            "no way back",
        ]
        assert data.stat().st_uid == 61141
        assert data.stat().st_mode & 0o777 == 0o700


@linux
@as_root
def test_a_user_that_could_not_reach_the_interpreter_is_not_become() -> None:
    with open_directory() as directory:
        hidden = directory / "hidden"
        hidden.mkdir(mode=0o700)
        (hidden / "python").write_text("")
        code = textwrap.dedent(
            f"""
            import os
            from keylease.primitives.confinement.users import OwnUser, become
            measure = become(OwnUser(uid=61141, readable=({str(hidden / "python")!r},)))
            print(measure.on, measure.reason)
            print(os.getuid())
            """
        )
        result = run_as([sys.executable, "-I", "-c", code], user=None)
    assert result.stdout.splitlines() == [
        f"False user 61141 could not reach {hidden / 'python'}",
        "0",
    ]


def test_not_started_as_root_is_said(shared_python: str) -> None:
    code = (
        "from keylease.primitives.confinement.users import OwnUser, become;"
        "print(become(OwnUser(uid=61141, readable=())).reason)"
    )
    assert run_as([shared_python, "-I", "-c", code]).stdout == "not started as root\n"


def test_a_strongroom_process_insists_on_python_i() -> None:
    result = run_as([sys.executable, "-m", "keylease.strongroom", "posture"], user=None)
    assert result.returncode == 1
    assert "must be started with python -I" in result.stderr


@landlock
def test_the_posture_of_a_real_strongroom_process() -> None:
    result = run_as([sys.executable, "-I", "-m", "keylease.strongroom", "posture"], user=None)
    posture = json.loads(result.stdout)
    measures = {measure["name"]: measure for measure in posture["measures"]}
    assert len(measures) == len(posture["measures"]), "each is said once"
    assert measures["own user"]["reason"], "on, or off and why"
    on = {measure["name"] for measure in posture["measures"] if measure["on"]}
    assert {"no core dumps", "not dumpable", "no new privileges", "confined by Landlock"} <= on
