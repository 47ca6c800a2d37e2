"""What the first start shows of the gateway.toml that it has written."""

from __future__ import annotations

from pathlib import Path

from keylease.cli.up import bindings_in_words
from keylease.strongroom.config_files.default_files import gateway_text
from keylease.strongroom.config_files.gateway_file import load_gateway


def test_each_binding_of_the_first_file_is_a_line(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(gateway_text())
    configuration = load_gateway(file)
    lines = bindings_in_words(configuration)
    assert len(lines) == len(configuration.bindings) > 1
    assert len({line.index("may go to") for line in lines}) == 1, "they are aligned"
    [line] = [line for line in lines if line.startswith("sealed://anthropic*")]
    assert line.endswith("may go to api.anthropic.com for development, eval")


def test_a_file_without_bindings_is_said_to_allow_nothing(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("version = 1\n")
    assert bindings_in_words(load_gateway(file)) == [
        "nothing may go anywhere: there is no [[binding]] in it"
    ]
