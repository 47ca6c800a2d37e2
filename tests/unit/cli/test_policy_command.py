"""`keylease policy` and `keylease config`, as a person or a script runs them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from keylease.cli.main import main
from keylease.strongroom.config_files.default_files import gateway_text, policy_text


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration directory with the first files in it."""
    for name in ("KEYLEASE_DATA_DIR", "KEYLEASE_CONFIG_DIR", "XDG_CONFIG_HOME", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    directory = tmp_path / ".config" / "keylease"
    directory.mkdir(parents=True)
    (directory / "gateway.toml").write_text(gateway_text())
    (directory / "keylease.toml").write_text(policy_text())
    return directory


def test_the_first_files_have_nothing_to_report(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert config.exists()
    assert main(["policy", "check"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "no errors, no warnings.\n"


def test_mistakes_are_printed_as_compilers_do(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, gateway = config / "keylease.toml", config / "gateway.toml"
    policy.write_text(policy_text().replace('provider = "openai"', 'provider = "opanai"'))
    gateway.write_text(gateway_text().replace("listen", "listne"))
    assert main(["policy", "check"]) == 64
    captured = capsys.readouterr()
    line = policy.read_text()[: policy.read_text().index('"opanai"')].count("\n") + 1
    assert f'{policy}:{line}:1: error: There is no provider "opanai".' in captured.out
    assert '    hint: Did you mean "openai"?' in captured.out
    assert f'{gateway}:6:1: error: There is no setting "listne" in [gateway].' in captured.out
    assert captured.err == "2 errors, no warnings.\n"


def test_warnings_leave_the_exit_status_at_zero(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config / "gateway.toml").write_text("version = 1\n")
    assert main(["policy", "check"]) == 0
    captured = capsys.readouterr()
    assert 'warning: gateway.toml does not allow the credential "openai"' in captured.out
    assert captured.err == "no errors, 4 warnings.\n"


def test_json_holds_the_same(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config / "keylease.toml").write_text("version = 2\n")
    assert main(["policy", "check", "--json"]) == 64
    found = json.loads(capsys.readouterr().out)
    assert found["errors"] == 1
    assert found["diagnostics"][0]["path"] == str(config / "keylease.toml")
    assert found["diagnostics"][0]["line"] == 1
    assert found["diagnostics"][0]["severity"] == "error"


def test_files_can_be_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = config / "other.toml"
    other.write_text("version = 1\n")
    assert main(["policy", "check", str(other)]) == 0
    missing = str(config / "missing.toml")
    assert main(["policy", "check", str(other), "--gateway", missing]) == 64
    assert f"{missing}: error: There is no such file." in capsys.readouterr().out


def test_without_a_gateway_file_the_policy_is_checked_alone(config: Path) -> None:
    (config / "gateway.toml").unlink()
    assert main(["policy", "check"]) == 0


def test_show_gives_tables_or_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert config.exists()
    assert main(["policy", "show"]) == 0
    shown = capsys.readouterr().out
    for expected in ("Credentials: 2", "sealed://openai", "20.00 USD/day", "Trust rules: none"):
        assert expected in shown
    assert main(["policy", "show", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [grant["limits"]["budget_micro_usd"] for grant in found["grants"]] == [20_000_000]


def test_show_refuses_a_file_with_mistakes(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config / "keylease.toml").write_text("version = 1\nx = 1\n")
    assert main(["policy", "show"]) == 64
    assert 'error: There is no setting "x".' in capsys.readouterr().out


@pytest.mark.parametrize("which", [[], ["--gateway"]])
def test_the_example_is_valid(
    config: Path, capsys: pytest.CaptureFixture[str], which: list[str]
) -> None:
    assert main(["policy", "example", *which]) == 0
    name = "gateway.toml" if which else "keylease.toml"
    (config / name).write_text(capsys.readouterr().out)
    assert main(["policy", "check"]) == 0


@pytest.fixture
def answering() -> Iterator[tuple[Path, list[bytes]]]:
    """A data directory whose control socket answers one question as a gateway does."""
    asked: list[bytes] = []
    status = {
        "changed": True,
        "path": "/c/keylease.toml",
        "version": 3,
        "loaded_at": 1_790_000_000_000_000,
        "credentials": 1,
        "routes": 2,
        "grants": 0,
    }
    with TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = Path(directory) / "strongroom" / "control.sock"
        path.parent.mkdir()
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(json.dumps({"result": status}).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield Path(directory), asked
        thread.join(timeout=5)


def test_reload_asks_the_running_gateway(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    answering: tuple[Path, list[bytes]],
) -> None:
    assert config.exists()
    directory, asked = answering
    assert main(["policy", "reload", "--data-dir", str(directory)]) == 0
    assert json.loads(asked[0])["operation"] == "policy.reload"
    said = capsys.readouterr().err
    assert "/c/keylease.toml is in force: version 3, 1 credential, 2 routes, no grants" in said


def test_reload_without_a_gateway_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "reload", "--data-dir", str(config / "nothing")]) == 69
    assert "No gateway is running" in capsys.readouterr().err


def test_config_shows_every_setting_and_its_origin(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (config / "settings.toml").write_text('log_format = "json"\n')
    monkeypatch.setenv("KEYLEASE_LOG_LEVEL", "debug")
    assert main(["config", "show"]) == 0
    assert "ORIGIN" not in capsys.readouterr().out
    assert main(["config", "show", "--origin", "--data-dir", "/d"]) == 0
    lines = capsys.readouterr().out.splitlines()
    columns = {line.split()[0]: line.split()[1:] for line in lines}
    assert columns["data_dir"] == ["/d", "flag", "--data-dir"]
    assert columns["log_level"] == ["debug", "environment", "KEYLEASE_LOG_LEVEL"]
    assert columns["log_format"] == ["json", "file", str(config / "settings.toml")]
    assert columns["color"] == ["auto", "default"]
    assert main(["config", "show", "--origin", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["log_level"] == {
        "value": "debug",
        "origin": {"kind": "environment", "where": "KEYLEASE_LOG_LEVEL"},
    }


def test_a_wrong_setting_ends_with_64(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert config.exists()
    monkeypatch.setenv("KEYLEASE_LOGLEVEL", "debug")
    assert main(["config", "show"]) == 64
    assert "Did you mean KEYLEASE_LOG_LEVEL?" in capsys.readouterr().err
