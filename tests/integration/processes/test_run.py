"""`keylease run` with real clients, a real gateway, simulated providers, and a real terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.readable import readable
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.simulated_provider import fresh_key, running_simulator

PYTHON = sys.executable


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    key = fresh_key()
    with running_simulator() as simulator:
        simulator.accept_key(key)
        with running_gateway(
            tmp_path_factory.mktemp("gateway"),
            gateway_toml=textwrap.dedent(
                f"""
                [[binding]]
                reference = "env://TEST_KEY"
                provider = "openai-compatible"
                hosts = ["{simulator.openai_url.rsplit("/v1", 1)[0]}"]
                purposes = ["development"]
                [[binding]]
                reference = "env://TEST_KEY"
                provider = "anthropic-compatible"
                hosts = ["{simulator.anthropic_url}"]
                purposes = ["development"]
                """
            ),
            policy_toml=textwrap.dedent(
                f"""
                version = 1
                [[credential]]
                name = "openai"
                provider = "openai-compatible"
                upstream = "{simulator.openai_url}"
                reference = "env://TEST_KEY"
                purposes = ["development"]
                environment = "local"
                [[credential]]
                name = "anthropic"
                provider = "anthropic-compatible"
                upstream = "{simulator.anthropic_url}"
                reference = "env://TEST_KEY"
                purposes = ["development"]
                environment = "local"
                [[route]]
                name = "openai"
                models = ["gpt-*"]
                targets = [{{ credential = "openai" }}]
                [[route]]
                name = "anthropic"
                models = ["claude-*"]
                targets = [{{ credential = "anthropic" }}]
                [[grant]]
                name = "people"
                principals = ["user:*"]
                models = ["*"]
                purposes = ["development"]
                environments = ["local"]
                """
            ),
            environment={"TEST_KEY": key.decode()},
        ) as running:
            yield running


def line(gateway: RunningGateway, *command: str, options: tuple[str, ...] = ()) -> list[str]:
    data = ["--data-dir", str(gateway.data_dir)]
    return [PYTHON, "-m", "keylease", "run", *data, *options, "--", *command]


def run(
    gateway: RunningGateway,
    *command: str,
    options: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        line(gateway, *command, options=options),
        env={"PATH": os.environ["PATH"], "HOME": str(Path.home()), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


def test_unmodified_clients_get_answers(gateway: RunningGateway) -> None:
    program = textwrap.dedent(
        """
        import anthropic, openai
        client = openai.OpenAI()
        messages = [{"role": "user", "content": "hello"}]
        print(client.chat.completions.create(model="gpt-5-mini", messages=messages).choices[0]
            .finish_reason)
        stream = client.chat.completions.create(model="gpt-5-mini", messages=messages, stream=True)
        print(len([c for c in stream if c.choices and c.choices[0].delta.content]) > 1)
        answer = anthropic.Anthropic().messages.create(
            model="claude-sonnet-4-5", max_tokens=50, messages=messages)
        print(answer.stop_reason)
        """
    )
    result = run(gateway, PYTHON, "-c", program)
    assert result.stdout.splitlines() == ["stop", "True", "end_turn"], result.stderr


def test_the_program_sees_no_other_provider_variable(gateway: RunningGateway) -> None:
    given = {
        "OPENAI_API_KEY": "sk-test-mine",
        "OPENAI_API_KEY_2": "sk-test-mine-too",
        "OPENAI_ORG_ID": "org",
        "AZURE_OPENAI_ENDPOINT": "https://example.test",
        "GEMINI_API_KEY": "x",
        "HF_TOKEN": "x",
        "AWS_BEARER_TOKEN_BEDROCK": "x",
        "AWS_ACCESS_KEY_ID": "kept",
        "MY_OWN": "kept",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    seen = json.loads(run(gateway, PYTHON, "-c", code, environment=given).stdout)
    assert {"OPENAI_API_KEY_2", "OPENAI_ORG_ID", "AZURE_OPENAI_ENDPOINT", "GEMINI_API_KEY",
            "HF_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"}.isdisjoint(seen)  # fmt: skip
    assert seen["AWS_ACCESS_KEY_ID"] == seen["MY_OWN"] == "kept"
    assert seen["OPENAI_API_KEY"].startswith("klr_")
    assert seen["ANTHROPIC_API_KEY"] == seen["OPENAI_API_KEY"]
    assert seen["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    assert "127.0.0.1" in seen["NO_PROXY"]
    assert "kll_" not in json.dumps(seen)


ATTEMPTS = textwrap.dedent(
    """
    import http.client, os, urllib.parse
    base = urllib.parse.urlsplit(os.environ["OPENAI_BASE_URL"])
    bearer = "Bearer " + os.environ["OPENAI_API_KEY"]
    def status(**headers):
        connection = http.client.HTTPConnection("127.0.0.1", base.port)
        connection.request("GET", "/v1/models", headers={k.replace("_", "-"): v
            for k, v in headers.items()})
        return connection.getresponse().status
    print(status(Authorization=bearer),
        status(x_api_key=os.environ["OPENAI_API_KEY"]),
        status(Authorization=bearer, Host=f"localhost:{base.port}"),
        status(), status(Authorization="Bearer klr_wrong"), status(Authorization=bearer[:-1]),
        status(Authorization=bearer, x_api_key="other"),
        status(Authorization=bearer, Host="evil.example"),
        status(Authorization=bearer, Host="127.0.0.1"),
        status(Authorization=bearer, Origin="http://127.0.0.1"),
        status(Authorization=bearer, Origin="null"))
    """
)


def test_the_agent_serves_this_run_only(gateway: RunningGateway) -> None:
    result = run(gateway, PYTHON, "-c", ATTEMPTS)
    assert result.stdout.split() == [
        *["200", "200", "200"],
        *["401", "401", "401", "401"],
        *["403", "403", "403", "403"],
    ], result.stderr


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(0)", 0),
        ("raise SystemExit(37)", 37),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + 9),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 128 + 15),
    ],
)
def test_the_exit_status_is_the_programs(gateway: RunningGateway, code: str, expected: int) -> None:
    assert run(gateway, PYTHON, "-c", code).returncode == expected


def test_programs_that_cannot_be_started(gateway: RunningGateway, tmp_path: Path) -> None:
    absent = run(gateway, "no-such-program-here")
    assert absent.returncode == 127
    assert absent.stderr.startswith("error: There is no program 'no-such-program-here'.")
    plain = tmp_path / "plain"
    plain.write_text("not a program")
    assert run(gateway, str(plain)).returncode == 126


def test_the_models_can_be_narrowed(gateway: RunningGateway) -> None:
    code = (
        "import openai\nclient = openai.OpenAI()\n"
        "print([model.id for model in client.models.list()])\n"
        "try: client.chat.completions.create(model='gpt-5-mini', messages=[])\n"
        "except openai.PermissionDeniedError as error: print(error.code)\n"
    )
    result = run(gateway, PYTHON, "-c", code, options=("--model", "claude-*"))
    assert "model_not_allowed" in result.stdout, result.stderr


def test_without_a_gateway_nothing_is_started(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    result = subprocess.run(
        [PYTHON, "-m", "keylease", "run", "--data-dir", str(tmp_path / "none"), "--", "touch",
         str(marker)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )  # fmt: skip
    assert result.returncode == 69
    assert result.stderr.splitlines()[0].startswith("error: No gateway is running on ")
    assert "keylease up" in result.stderr
    assert not marker.exists()


REPORTER = textwrap.dedent(
    """
    import os, signal, sys, time
    def got(number, frame):  # no print: a second signal may come while it writes
        os.write(1, b"got %s\\n" % signal.Signals(number).name.encode())
        if number == signal.SIGTERM: sys.exit(5)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH, signal.SIGQUIT,
                   signal.SIGTERM):
        signal.signal(number, got)
    os.write(1, b"started\\n")
    while True: time.sleep(0.05)
    """
)


def test_signals_sent_to_it_alone_reach_the_program(gateway: RunningGateway) -> None:
    with subprocess.Popen(
        line(gateway, PYTHON, "-c", REPORTER), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH, signal.SIGQUIT,
                       signal.SIGINT):  # fmt: skip
            process.send_signal(number)
            assert process.stdout.readline() == f"got {number.name}\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "got SIGTERM\n"
        assert process.wait(timeout=30) == 5


class Terminal:
    """A terminal with `keylease run` as its foreground job, as a shell would start it."""

    def __init__(self, command: list[str]) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execv(command[0], command)  # noqa: S606 - our own program
        self.output = ""

    def read_until(self, text: str, *, seconds: float = 20.0) -> None:
        until = time.monotonic() + seconds
        while text not in self.output:
            ready = readable(self.master, until - time.monotonic())
            assert ready, f"{text!r} not in {self.output!r}"
            self.output += os.read(self.master, 4096).decode(errors="replace")

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> int:
        while True:
            with contextlib.suppress(OSError):
                self.output += os.read(self.master, 4096).decode(errors="replace")
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.master)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)


def test_ctrl_c_in_a_terminal_reaches_the_program_once(gateway: RunningGateway) -> None:
    terminal = Terminal(line(gateway, PYTHON, "-c", REPORTER))
    terminal.read_until("started")
    terminal.press(b"\x03")
    terminal.read_until("got SIGINT")
    time.sleep(0.3)
    os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.end() == 5
    assert terminal.output.count("got SIGINT") == 1


def test_an_interactive_program_reads_the_terminal(gateway: RunningGateway) -> None:
    code = "import sys; print('tty', sys.stdin.isatty()); print('said', input('? '))"
    terminal = Terminal(line(gateway, PYTHON, "-c", code))
    terminal.read_until("? ")
    terminal.press(b"hello\n")
    terminal.read_until("said hello")
    assert terminal.end() == 0
    assert "tty True" in terminal.output


def test_ctrl_z_stops_the_whole_job_and_it_can_go_on(gateway: RunningGateway) -> None:
    script = textwrap.dedent(
        f"""
        set -m
        {" ".join(map(repr, line(gateway, PYTHON, "-c", "print('begun', flush=True); input()")))}
        echo "stopped with $?"
        fg >/dev/null
        echo "ended with $?"
        """
    )
    terminal = Terminal(["/bin/bash", "-c", script])
    terminal.read_until("begun")
    terminal.press(b"\x1a")
    terminal.read_until("stopped with 148")
    terminal.press(b"\n")
    terminal.read_until("ended with 0")
    assert terminal.end() == 0


def test_a_pipeline_works(gateway: RunningGateway) -> None:
    joined = " ".join(line(gateway, "cat"))
    result = subprocess.run(
        ["/bin/bash", "-c", f"echo through | {joined} | tr a-z A-Z"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.stdout == "THROUGH\n", result.stderr
