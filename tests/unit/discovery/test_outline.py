from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keylease.discovery.outline import Outline

MANIFEST = b"""\
apiVersion: v1
metadata:
  name: ai
  labels: {team: x}
data:
  "quoted key": value  # comment
---
kind: Deployment
spec:
  containers:
  - name: first
    env:
    - name: A
      value: "one # two"
    - name: B
      valueFrom:
        secretKeyRef: {name: s, key: k}
  {{- if .Values.more }}
  - name: second
  {{- end }}
"""


def test_the_way_to_a_place() -> None:
    outline = Outline(MANIFEST)
    path = outline.path(MANIFEST.index(b"one # two"))
    assert [key.name for key in path] == ["spec", "containers", "env", "value"]
    assert path[-1].value == "one # two"
    assert [key.value for key in outline.siblings(path[-1])] == ["A", "one # two"]
    quoted = outline.path(MANIFEST.index(b"quoted"))
    assert [(key.name, key.value) for key in quoted] == [("data", ""), ("quoted key", "value")]


def test_documents_of_a_stream_do_not_mix() -> None:
    outline = Outline(MANIFEST)
    later = MANIFEST.index(b"second")
    assert outline.value(later, "kind") == "Deployment"
    assert outline.value(later, "metadata", "name") == ""
    assert outline.value(0, "metadata", "name") == "ai"


@given(st.binary(max_size=400), st.integers(0, 400))
def test_any_bytes_have_an_outline(data: bytes, offset: int) -> None:
    outline = Outline(data)
    path = outline.path(min(offset, len(data)))
    assert list(path) == sorted(path, key=lambda key: key.start)
    for key in path:
        assert key in list(outline.siblings(key))


@given(
    st.text(alphabet="ab:- \n\"'#{[", max_size=200).map(str.encode),
)
def test_odd_yaml_has_one_too(data: bytes) -> None:
    outline = Outline(data)
    for key in outline.keys:
        assert key in list(outline.siblings(key))
        assert outline.path(key.start)
