"""Statements that try to see more than the caller's rows: refused, or without anything foreign."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.queried_spans import (
    FOREIGN,
    FOREIGN_MARK,
    FOREIGN_TRACE,
    OTHER_PROJECT,
    OURS,
    SCOPE,
)

from keylease.errors import (
    KeyleaseError,
    QueryInvalid,
    QueryNotAllowed,
    TraceStoreUnavailable,
)
from keylease.platform.traces.query.sql.scoping import ScopedQuery, scoped_query
from keylease.platform.traces.store.store import TraceStore

REFUSED = [
    # other tables, by whatever name
    "SELECT * FROM system.tables",
    "SELECT * FROM keylease.spans",
    "SELECT * FROM `keylease`.`spans`",
    'SELECT * FROM "keylease.spans"',
    "SELECT * FROM `system.tables`",
    "SELECT * FROM span_keys",
    "SELECT * FROM payloads",
    "SELECT * FROM removals",
    "SELECT * FROM spans_local",
    "SELECT * FROM default.spans",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM INFORMATION_SCHEMA.COLUMNS",
    "SELECT * FROM SPANS",
    "SELECT * FROM kl_table_spans_",
    "SELECT kl_row.organization_id FROM spans",
    "SELECT * FROM spans, span_keys",
    "SELECT * FROM spans JOIN system.users ON 1 = 1",
    "SELECT * FROM spans UNION ALL SELECT * FROM system.tables",
    "SELECT * FROM spans EXCEPT SELECT * FROM payloads",
    "SELECT (SELECT count() FROM span_keys)",
    "SELECT 1 WHERE exists(SELECT 1 FROM system.one)",
    "WITH spans AS (SELECT 1 AS x) SELECT * FROM spans",
    "WITH x AS (SELECT * FROM span_keys) SELECT * FROM x",
    "WITH span_versions AS (SELECT 1) SELECT * FROM span_versions",
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT * FROM t",
    "WITH 1 AS organization_id SELECT * FROM spans",
    "WITH '@FOREIGN' AS organization_id SELECT * FROM spans",
    "WITH '@FOREIGN' AS kl_0 SELECT * FROM spans",
    # IN reads a table of that name
    "SELECT 1 IN span_keys",
    "SELECT ('a', 'b') IN system.tables",
    "SELECT name FROM spans WHERE trace_id IN payloads",
    "SELECT name FROM spans WHERE trace_id NOT IN span_keys",
    "SELECT name FROM spans WHERE trace_id GLOBAL IN (SELECT trace_id FROM spans)",
    "SELECT 0 IN (system.one)",
    "SELECT 0 IN ((system.one))",
    "SELECT 0 IN [system.one]",
    "SELECT 0 IN (system.one AS x)",
    "SELECT 0 IN (`system`.`one`)",
    "SELECT 0 NOT IN (one)",
    "SELECT ('a', 'b') IN (span_keys)",
    "SELECT name FROM spans WHERE trace_id IN (payloads)",
    "SELECT name FROM spans WHERE (trace_id, 'a') IN ((spans))",
    "SELECT arrayMap(x -> x IN (removals), [1])",
    "WITH one AS (SELECT 0 AS x) SELECT 0 IN (one)",
    "SELECT 1 IN (span_keys, span_keys)",
    "SELECT (1, 2) IN (payloads, 1)",
    "SELECT 1 IN ((1), (identity(span_keys)))",
    "SELECT 1 IN (span_keys AS x)",
    "SELECT in(trace_id, span_keys) FROM spans",
    "SELECT globalIn(1, span_keys) FROM spans",
    # table functions
    "SELECT * FROM url('http://127.0.0.1/', 'LineAsString')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1/b/k', 'CSV')",
    "SELECT * FROM remote('127.0.0.1', keylease.spans)",
    "SELECT * FROM remoteSecure('127.0.0.1', 'keylease', 'spans')",
    "SELECT * FROM mysql('127.0.0.1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM merge('keylease', '.*')",
    "SELECT * FROM merge(REGEXP('.*'), 'spans')",
    "SELECT * FROM cluster('default', keylease.spans)",
    "SELECT * FROM clusterAllReplicas('default', 'keylease', 'spans')",
    "SELECT * FROM view(SELECT * FROM keylease.spans)",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))",
    "SELECT * FROM input('a String')",
    "SELECT * FROM executable('id', 'TSV', 'a String')",
    "SELECT * FROM dictionary('x')",
    "SELECT * FROM numbers(10)",
    "SELECT * FROM numbers_mt(1000000000000)",
    "SELECT * FROM zeros(10)",
    "SELECT * FROM generateRandom('a UInt8')",
    "SELECT * FROM generate_series(1, 10)",
    "SELECT * FROM loop(keylease.spans)",
    "SELECT * FROM mergeTreeIndex('keylease', 'spans')",
    "SELECT * FROM mergeTreeTextIndex('keylease', 'spans', 'text_input')",
    "SELECT * FROM fuzzJSON('x', 1)",
    "SELECT * FROM python('open')",
    "SELECT * FROM Python(spans)",
    "SELECT * FROM format('CSV', '1,2')",
    "SELECT * FROM values('a UInt8', 1)",
    "SELECT * FROM null('a UInt8')",
    "SELECT * FROM `file`('/etc/passwd')",
    "SELECT * FROM \"url\"('http://127.0.0.1')",
    "SELECT * FROM spans JOIN file('/etc/passwd') AS f ON 1 = 1",
    "SELECT * FROM (file('/etc/passwd', 'LineAsString'))",
    # functions that reach outside their arguments
    "SELECT file('/etc/passwd')",
    "SELECT dictGet('d', 'a', 1)",
    "SELECT dictGetOrDefault('d', 'a', 1, 2)",
    "SELECT joinGet('keylease.spans', 'name', 1)",
    "SELECT getSetting('max_threads')",
    "SELECT getServerSetting('path')",
    "SELECT sleep(3)",
    "SELECT sleepEachRow(1) FROM spans",
    "SELECT hostName(), version(), uptime()",
    "SELECT currentUser(), currentDatabase()",
    "SELECT addressToLine(1)",
    "SELECT evaluateLocation(1)",
    "SELECT catboostEvaluate('/etc/passwd', 1)",
    "SELECT modelEvaluate('m', 1)",
    "SELECT getMacro('shard')",
    "SELECT hasColumnInTable('keylease', 'payloads', 'text')",
    "SELECT arrayReduce('groupArray', [1])",
    "SELECT initializeAggregation('sum', 1)",
    "SELECT countState() FROM spans",
    "SELECT sumMerge(x) FROM spans",
    "SELECT decrypt('aes-128-ecb', 'a', 'b')",
    "SELECT generateUUIDv4()",
    "SELECT randomString(1000000000)",
    # seconds for two texts, and not stopped within a block of rows
    "SELECT editDistance(repeat('a', 65000), name) FROM spans",
    "SELECT jaroWinklerSimilarity(repeat('a', 65000), name) FROM spans",
    "SELECT transactionID()",
    "SELECT reinterpretAsString(1)",
    "SELECT `hostName`()",
    "SELECT hostname()",
    "SELECT _file FROM spans, file('x')",
    "SELECT eval('1')",
    # settings, formats, files, other statements
    "SELECT 1 SETTINGS max_execution_time = 0",
    "SELECT 1 SETTINGS readonly = 0, additional_table_filters = {'spans': '1'}",
    "SELECT 1 FORMAT JSON",
    "SELECT 1 INTO OUTFILE '/tmp/x'",
    "SELECT 1 INTO OUTFILE '/tmp/x' FORMAT CSV",
    "SET max_execution_time = 0",
    "DROP TABLE spans",
    "ALTER TABLE spans DELETE WHERE 1",
    "INSERT INTO spans SELECT * FROM spans",
    "CREATE TABLE x ENGINE = Memory AS SELECT 1",
    "SYSTEM SHUTDOWN",
    "SHOW TABLES",
    "DESCRIBE spans",
    "EXPLAIN SELECT 1",
    "USE system",
    "KILL QUERY WHERE 1",
    "ATTACH TABLE x",
    "BACKUP TABLE spans TO File('/tmp/x')",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE spans",
    "",
    ";",
    "-- nothing",
    # names and parameters
    "SELECT * FROM {t:Identifier}",
    "SELECT {c:Identifier} FROM spans",
    "SELECT {kl_0:String}",
    "SELECT {x:Map(String, String)}",
    "SELECT * FROM \u0455pans",
    "SELECT * FROM spans\u0430",
    "SELECT \u0441ount() FROM spans",
    'SELECT 1 AS "a\\"b"',
    'SELECT 1 AS "a"" FROM system.tables --"',
    "SELECT 1 AS `a\\` FROM system.tables --`",
    "SELECT $$a$$",
    "SELECT $x$ FROM system.tables $x$",
    # modifiers that take names or functions
    "SELECT COLUMNS('.*') FROM spans",
    "SELECT * APPLY(hostName) FROM spans",
    "SELECT * REPLACE(1 AS name) FROM spans",
    "SELECT * EXCEPT('.*') APPLY(sum) FROM spans",
    "SELECT * FROM spans SAMPLE 0.1",
    "SELECT * FROM spans FINAL",
    "SELECT * FROM spans PREWHERE 1",
    "SELECT * FROM spans AS t(a, b)",
    "SELECT organization_id.x.y.z FROM spans",
    "SELECT system.tables.name FROM spans",
    "SELECT * FROM spans GLOBAL JOIN spans AS b USING (trace_id)",
    "SELECT * FROM spans ASOF JOIN spans AS b USING (trace_id, started_at)",
    "SELECT * FROM spans PASTE JOIN spans AS b",
    "SELECT * FROM spans ORDER BY started_at WITH FILL STEP 1",
    "SELECT CAST('1', 'UInt8')",
    "SELECT 1::AggregateFunction(sum, UInt8)",
    "SELECT x'00'",
    "SELECT 1 -> 2",
    "SELECT 7 DIV 2",
    "SELECT 1 ? 2 : 3",
]

STAYS = [
    "SELECT * FROM spans",
    "SELECT * FROM span_versions",
    "SELECT s.* FROM spans AS s",
    "SELECT * FROM spans WHERE 1 = 1 OR 1 = 1",
    "SELECT * FROM spans WHERE 1) OR (1 = 1",
    "SELECT * FROM spans WHERE project_id = '@OTHER_PROJECT'",
    "SELECT * FROM spans WHERE organization_id = '@FOREIGN'",
    "SELECT '018f' AS organization_id, * FROM spans",
    "SELECT * FROM (SELECT '018f' AS project_id, name FROM spans) WHERE 1",
    "SELECT * FROM spans -- WHERE\nUNION ALL SELECT * FROM spans",
    "SELECT * /* ) FROM keylease.spans -- */ FROM spans",
    "SELECT * FROM spans # comment",
    "SELECT * FROM spans AS a JOIN spans AS b USING (trace_id)",
    "SELECT * FROM spans AS a FULL JOIN span_versions AS b ON 1 = 1",
    "SELECT * FROM spans AS a RIGHT JOIN span_versions AS b ON a.trace_id != b.trace_id",
    "SELECT * FROM spans AS a CROSS JOIN span_versions AS b",
    "SELECT * FROM spans LEFT ARRAY JOIN tags AS tag",
    "SELECT k, v FROM spans ARRAY JOIN mapKeys(attributes) AS k, mapValues(attributes) AS v",
    "WITH a AS (SELECT * FROM spans) SELECT * FROM a",
    "WITH a AS (WITH b AS (SELECT * FROM spans) SELECT * FROM b) SELECT * FROM a",
    "WITH span_keys AS (SELECT 1 AS x) SELECT * FROM span_keys",
    "SELECT * FROM (SELECT * FROM (SELECT * FROM spans))",
    "SELECT * FROM span_keys WHERE 1 IN (WITH span_keys AS (SELECT 1 AS x) SELECT 1)",
    "SELECT (SELECT groupArray(name) FROM spans)",
    "SELECT name FROM spans WHERE trace_id IN (SELECT trace_id FROM span_versions)",
    "SELECT name FROM spans WHERE exists(SELECT 1 FROM span_versions)",
    "SELECT groupUniqArray(name), groupUniqArray(model), groupUniqArray(project_id) FROM spans",
    "SELECT name FROM spans UNION DISTINCT SELECT name FROM span_versions",
    "SELECT name FROM spans INTERSECT SELECT model FROM spans",
    "SELECT * EXCEPT (input, output) FROM spans",
    "SELECT any(name) OVER (ORDER BY started_at) FROM spans",
    "SELECT name FROM spans QUALIFY row_number() OVER (PARTITION BY trace_id ORDER BY name) = 1",
    "SELECT arrayMap(x -> concat(x, name), tags) FROM spans",
    "SELECT toString(tuple(*)) FROM spans",
    "SELECT name AS spans FROM spans",
    "SELECT spans.name FROM spans AS spans",
    "SELECT '''; DROP TABLE spans; --' FROM spans",
    "SELECT '\\'; SELECT * FROM system.tables; --', name FROM spans",
    "SELECT '{kl_0:String}', '{kl_1:Identifier}' FROM spans",
    "SELECT 'kl_table_spans_', 'kl_table_span_versions_' FROM spans",
    "SELECT count() FROM spans GROUP BY name WITH TOTALS",
    "SELECT name FROM spans ORDER BY name LIMIT 1 BY name",
    "SELECT currentUser, version, hostName",
    "(SELECT name FROM spans)",
    "FROM spans SELECT name",
]


def filled(text: str) -> str:
    return text.replace("@FOREIGN", FOREIGN).replace("@OTHER_PROJECT", OTHER_PROJECT)


def arguments_of(text: str) -> dict[str, str]:
    """So that nothing is refused only because a value is missing, or is one too many."""
    return dict.fromkeys(re.findall(r"\{(\w+):", text), "span_keys")


MARKS = re.compile(f"{FOREIGN_MARK}|{FOREIGN_TRACE}")
"""No statement has these, so that they come from rows only."""


def run(store: TraceStore, query: ScopedQuery) -> str:
    rows = store.select_for_user(query.statement.sql, query.statement.parameters)
    return repr(rows.rows)


@pytest.mark.parametrize("text", REFUSED)
def test_what_reaches_further_is_refused(text: str) -> None:
    with pytest.raises(QueryInvalid) as refusal:
        scoped_query(filled(text), SCOPE, arguments_of(text))
    place = refusal.value.position
    assert place is None or 0 <= place <= len(filled(text))


def test_what_is_run_shows_nothing_foreign(store: TraceStore) -> None:
    answered = 0
    for text in STAYS:
        try:
            answer = run(store, scoped_query(filled(text), SCOPE))
        except QueryInvalid:
            continue
        answered += 1
        assert not MARKS.search(answer), text
    assert answered >= len(STAYS) - 8


def test_the_foreign_rows_are_there_for_their_owner(store: TraceStore) -> None:
    answer = store.select(
        "SELECT name, project_id FROM spans UNION ALL SELECT name, project_id FROM span_versions"
    )
    assert FOREIGN_MARK in repr(answer.rows)
    assert OTHER_PROJECT in repr(answer.rows)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SET readonly = 0",
        "CREATE TABLE x (a UInt8) ENGINE = Memory",
        "INSERT INTO spans SELECT * FROM spans",
    ],
)
def test_the_engine_itself_refuses_it_once_more(store: TraceStore, text: str) -> None:
    with pytest.raises(QueryNotAllowed):
        store.select_for_user(text, {})


def test_nothing_of_a_statement_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    for text in REFUSED:
        with pytest.raises(QueryInvalid):
            scoped_query(text, SCOPE, arguments_of(text))
    assert not caplog.records


def test_a_refusal_repeats_nothing_of_the_statement() -> None:
    secret = "sk-" + "notreal" * 4
    for text in ('SELECT * FROM "@"', "SELECT '@", "SELECT @(1)", "SELECT 1 AS `@`; @"):
        with pytest.raises(KeyleaseError) as refusal:
            scoped_query(text.replace("@", secret), SCOPE)
        assert "notreal" not in str(refusal.value)


WORDS = (
    "SELECT", "FROM", "WHERE", "spans", "span_versions", "span_keys", "keylease", "system",
    "tables", "payloads", "organization_id", "project_id", "name", "*", ",", "(", ")", ".", "AS",
    "a", "b", "JOIN", "ON", "USING", "UNION ALL", "WITH", "IN", "GLOBAL", "1", "=", "'x'",
    f"'{FOREIGN}'", "`", '"', "\\", "'", "--", "/*", "*/", "\n", ";", "{", "}", "{a:String}",
    "file", "url", "FINAL", "SETTINGS", "FORMAT", "ARRAY JOIN", "tags", "GROUP BY", "ORDER BY",
    "LIMIT", "OVER", "count()", "->", "EXCEPT", "APPLY", "REPLACE", "::", "String", "OR", "AND",
    "NOT", "[", "]", "#", "$$", "\u0455pans", "\0", "IS", "NULL", "CASE", "END", "INTERSECT",
    "DISTINCT",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    pieces = re.findall(r"\w+|\s+|.", draw(st.sampled_from([*STAYS, *REFUSED])), re.DOTALL)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(pieces)))
        word = draw(st.sampled_from(WORDS))
        match draw(st.integers(0, 3)):
            case 0:
                pieces.insert(place, f" {word} ")
            case 1:
                pieces[place : place + 1] = [word]
            case 2:
                pieces[place : place + draw(st.integers(1, 5))] = []
            case _:
                pieces[place:place] = pieces[max(0, place - 6) : place]
    return "".join(pieces)


@settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=mutated())
@example(text="SELECT * FROM spans AS kl_row")
def test_mutated_statements_are_refused_or_stay_within(store: TraceStore, text: str) -> None:
    try:
        answer = run(store, scoped_query(text, SCOPE, {}))
    except TraceStoreUnavailable:
        raise
    except KeyleaseError:
        return
    assert not MARKS.search(answer)


def test_ours_are_shown(store: TraceStore) -> None:
    assert OURS not in run(store, scoped_query("SELECT * FROM spans", SCOPE))
    assert "'changed'" in run(store, scoped_query("SELECT name FROM spans", SCOPE))
