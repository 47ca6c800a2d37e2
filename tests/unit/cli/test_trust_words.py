"""A promise is shown with its last result, and with what that is a result of."""

from __future__ import annotations

from keylease.cli.trust import promise_rows


def test_a_result_has_its_commit_and_what_has_none_is_not_verified() -> None:
    kept = {"id": "P4", "result": "kept", "at": "2026-01-01", "says": "evals", "commit": ""}
    kept["commit"] = f"{'ab' * 20}-dirty"
    unknown = {"id": "P5", "result": "not verified", "at": "", "commit": "", "says": "log"}
    assert promise_rows({"promises": [kept, unknown]}) == [
        ("P4", "kept", "2026-01-01", "abababababab-dirty", "evals"),
        ("P5", "not verified", None, None, "log"),
    ]
