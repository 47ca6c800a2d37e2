"""Where configuration comes from, and what is said when it is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from keylease import settings
from keylease.errors import SettingsInvalid
from keylease.settings import Color, LogLevel, OriginKind

ROOT = Path(__file__).parents[2]


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "PATH": "/usr/bin", **more}


def write_file(home: Path, text: str) -> Path:
    file = home / ".config" / "keylease" / settings.SETTINGS_FILE
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


def test_defaults_lie_in_the_home_directory(tmp_path: Path) -> None:
    loaded = settings.load({}, environment(tmp_path))
    assert loaded.settings.data_dir == tmp_path / ".keylease"
    assert loaded.settings.config_dir == tmp_path / ".config" / "keylease"
    assert loaded.settings.gateway_file == tmp_path / ".config" / "keylease" / "gateway.toml"
    assert loaded.settings.policy_file == tmp_path / ".config" / "keylease" / "keylease.toml"
    assert {origin.kind for origin in loaded.origins.values()} == {OriginKind.DEFAULT}


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    seen = [settings.load({}, environment(tmp_path))]
    file = write_file(tmp_path, 'log_level = "warning"\n')
    seen.append(settings.load({}, environment(tmp_path)))
    variables = environment(tmp_path, KEYLEASE_LOG_LEVEL="error")
    seen.append(settings.load({"log_level": None}, variables))
    seen.append(settings.load({"log_level": "debug"}, variables))
    assert [loaded.settings.log_level for loaded in seen] == [
        LogLevel.INFO,
        LogLevel.WARNING,
        LogLevel.ERROR,
        LogLevel.DEBUG,
    ]
    assert [str(loaded.origins["log_level"]) for loaded in seen] == [
        "default",
        f"file {file}",
        "environment KEYLEASE_LOG_LEVEL",
        "flag --log-level",
    ]


def test_the_files_follow_the_configuration_directory(tmp_path: Path) -> None:
    loaded = settings.load({"config_dir": tmp_path / "elsewhere"}, environment(tmp_path))
    assert loaded.settings.policy_file == tmp_path / "elsewhere" / "keylease.toml"


def test_xdg_is_honoured_when_absolute(tmp_path: Path) -> None:
    absolute = environment(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "xdg"))
    relative = environment(tmp_path, XDG_CONFIG_HOME="xdg")
    assert settings.load({}, absolute).settings.config_dir == tmp_path / "xdg" / "keylease"
    assert settings.load({}, relative).settings.config_dir == tmp_path / ".config" / "keylease"


def test_relative_paths_mean_the_place_where_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_file(tmp_path, 'data_dir = "data"\npolicy_file = "~/policy.toml"\n')
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    loaded = settings.load({"gateway_file": "gw.toml"}, environment(tmp_path)).settings
    assert loaded.data_dir == file.parent / "data"
    assert loaded.policy_file == tmp_path / "policy.toml"
    assert loaded.gateway_file == tmp_path / "here" / "gw.toml"


def test_no_color_is_honoured_and_our_own_variable_beats_it(tmp_path: Path) -> None:
    plain = settings.load({}, environment(tmp_path, NO_COLOR="1"))
    assert plain.settings.color is Color.NEVER
    assert str(plain.origins["color"]) == "environment NO_COLOR"
    assert settings.load({}, environment(tmp_path, NO_COLOR="")).settings.color is Color.AUTO
    own = environment(tmp_path, NO_COLOR="1", KEYLEASE_COLOR="always")
    assert settings.load({}, own).settings.color is Color.ALWAYS


def test_the_strongroom_has_an_environment_of_its_own_when_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = settings.load({}, environment(tmp_path)).settings
    assert shared.strongroom_python == Path(sys.executable)
    assert shared.strongroom_shares_environment
    python = tmp_path / "venv-strongroom" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    own = settings.load({}, environment(tmp_path)).settings
    assert own.strongroom_python == python
    assert not own.strongroom_shares_environment


@pytest.mark.parametrize(
    ("variables", "flags", "file", "message", "advice"),
    [
        ({"KEYLEASE_DATADIR": "x"}, {}, "", "KEYLEASE_DATADIR", "KEYLEASE_DATA_DIR"),
        ({"KEYLEASE_ZZZ": "x"}, {}, "", "KEYLEASE_ZZZ", "Known: "),
        ({}, {"data_dri": "x"}, "", "data_dri", "data_dir"),
        ({}, {}, 'log_levle = "info"', "log_levle", "log_level"),
        ({}, {}, 'config_dir = "/x"', "config_dir", "Known: "),
        ({}, {}, "log_level = 3", "log_level must be text", ""),
        ({}, {}, "log_level = ", "Invalid value", ""),
        ({}, {}, f"log_level = {'9' * 5000}", "not valid TOML", ""),
        ({}, {}, f"log_level = {'[' * 5000}", "not valid TOML", ""),
        ({}, {}, "#" * 70_000, "larger than", ""),
        ({"KEYLEASE_LOG_LEVEL": "loud"}, {}, "", "KEYLEASE_LOG_LEVEL: log_level must be", ""),
        ({"KEYLEASE_DATA_DIR": ""}, {}, "", "data_dir must be a path", ""),
        ({"HOME": ""}, {}, "", "HOME", "--data-dir"),
    ],
)
def test_what_is_wrong_is_named_with_advice(
    tmp_path: Path,
    variables: dict[str, str],
    flags: dict[str, object],
    file: str,
    message: str,
    advice: str,
) -> None:
    write_file(tmp_path, file)
    with pytest.raises(SettingsInvalid) as caught:
        settings.load(flags, environment(tmp_path) | variables)
    assert message in caught.value.message
    assert advice in caught.value.advice
    assert caught.value.exit_status == 64


def test_a_value_that_is_wrong_is_not_repeated(tmp_path: Path) -> None:
    slip = "sk-test-0123456789"
    with pytest.raises(SettingsInvalid) as caught:
        settings.load({}, environment(tmp_path, KEYLEASE_LOG_FORMAT=slip))
    assert slip not in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    write_file(tmp_path, "").unlink()
    (tmp_path / ".config" / "keylease" / settings.SETTINGS_FILE).mkdir()
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        settings.load({}, environment(tmp_path))


def test_every_setting_is_in_the_reference_as_declared() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert page.endswith(settings.reference_page())
    assert [name for name in settings.declarations() if f"`{name}`" not in page] == []


def test_the_process_environment_is_what_is_read_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYLEASE_DATA_DIR", str(tmp_path / "d"))
    assert settings.load({}).settings.data_dir == tmp_path / "d"
