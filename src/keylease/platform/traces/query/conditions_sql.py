"""Makes a condition of ClickHouse SQL from a filter.

Every condition is true or false, never NULL: a comparison with what is missing is false, and
``not`` is its exact opposite. ``evaluate`` says the same in Python, and a test holds the two
together.
"""

from __future__ import annotations

from keylease.platform.traces.query.fields import WORD_SEARCHES, FieldType
from keylease.platform.traces.query.statement import Parameters
from keylease.platform.traces.query.syntax import (
    All,
    Any,
    AttributeTarget,
    Compare,
    Contains,
    Exists,
    Expression,
    FieldTarget,
    HasTag,
    Matches,
    MetadataTarget,
    Not,
    ScoreTarget,
    Target,
    Value,
    Words,
)

TRUE = "1"
_BETWEEN = ", ' ', "
INDEXED_TEXT = f"lower(concat({_BETWEEN.join(WORD_SEARCHES['text'])}))"
"""As the text index of ``spans`` has it."""


def condition_sql(  # noqa: PLR0911 - one case for each kind
    expression: Expression, parameters: Parameters
) -> str:
    """The condition over columns of ``spans``; its values are bound into ``parameters``."""
    match expression:
        case All(parts=()):
            return TRUE
        case All() | Any():
            word = " AND " if isinstance(expression, All) else " OR "
            return f"({word.join(condition_sql(part, parameters) for part in expression.parts)})"
        case Not():
            return f"NOT {condition_sql(expression.part, parameters)}"
        case Compare():
            return _compare(expression, parameters)
        case Contains():
            found = f"position({_text(expression.target, parameters)}, "
            return f"({found}{parameters.text(expression.text)}) > 0)"
        case Matches():
            text = _text(expression.target, parameters)
            return f"match({text}, {parameters.text(expression.pattern)})"
        case Exists():
            return _exists(expression.target, parameters)
        case HasTag():
            return f"has(tags, {parameters.text(expression.tag)})"
        case Words():
            return _words(expression, parameters)


def _words(search: Words, parameters: Parameters) -> str:
    """The expression of the text index first, which lets the engine skip; then what is asked."""
    words = parameters.texts(list(search.words))
    indexed = f"hasAllTokens({INDEXED_TEXT}, {words})"
    if search.columns == WORD_SEARCHES["text"]:
        return indexed
    text = _BETWEEN.join(search.columns)
    return f"({indexed} AND hasAllTokens(lower(concat({text}, '')), {words}))"


def _compare(compare: Compare, parameters: Parameters) -> str:
    target = compare.target
    match target:
        case FieldTarget():
            return _compare_field(target, compare, parameters)
        case ScoreTarget():
            name = parameters.text(target.name)
            numbers = [float(value) for value in compare.values]
            relation = _relation(
                f"scores[{name}]", compare.operator, numbers, "Float64", parameters
            )
            return f"(mapContains(scores, {name}) AND {relation})"
        case _:
            return _compare_open(document_sql(target, parameters), compare, parameters)


def _compare_field(target: FieldTarget, compare: Compare, parameters: Parameters) -> str:
    field, values = target.field, list(compare.values)
    match field.type:
        case FieldType.BOOLEAN:
            return "(parent_span_id = '')" if values == [True] else _any_root(values)
        case FieldType.TEXT | FieldType.CHOICE:
            return _relation(field.name, compare.operator, values, "String", parameters)
        case FieldType.TIME:
            relations = (
                f"{field.name} {compare.operator} {parameters.time(int(value))}" for value in values
            )
            return f"({' OR '.join(relations)})"
        case _:
            whole = all(isinstance(value, int) for value in values)
            kind = "Int64" if whole else "Float64"
            relation = _relation(field.name, compare.operator, values, kind, parameters)
            return f"ifNull({relation}, 0)" if field.unknown else relation


def _any_root(values: list[Value]) -> str:
    return TRUE if True in values else "(parent_span_id != '')"


def _compare_open(document: str, compare: Compare, parameters: Parameters) -> str:
    """By the type of what is there: a number is never equal to a text."""
    texts = [value for value in compare.values if isinstance(value, str)]
    truths = [value for value in compare.values if isinstance(value, bool)]
    numbers = [
        float(value)
        for value in compare.values
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    parts = []
    if texts:
        relation = _relation(
            f"JSONExtractString({document})", compare.operator, texts, "String", parameters
        )
        parts.append(f"(JSONType({document}) = 'String' AND {relation})")
    if numbers:
        relation = _relation(
            f"JSONExtractFloat({document})", compare.operator, numbers, "Float64", parameters
        )
        kinds = "('Int64', 'UInt64', 'Double')"
        parts.append(f"(JSONType({document}) IN {kinds} AND {relation})")
    parts += [
        f"(JSONType({document}) = 'Bool' AND JSONExtractBool({document}) = {int(truth)})"
        for truth in truths
    ]
    return f"({' OR '.join(parts)})"


def _relation(
    subject: str,
    operator: str,
    values: list[Value] | list[float] | list[str],
    kind: str,
    parameters: Parameters,
) -> str:
    if len(values) == 1:
        return f"({subject} {operator} {parameters.bind(values[0], kind)})"
    return f"({subject} IN {parameters.bind(list(values), f'Array({kind})')})"


def document_sql(target: AttributeTarget | MetadataTarget, parameters: Parameters) -> str:
    """Arguments of a JSON function: the document, and the path in it."""
    if isinstance(target, AttributeTarget):
        return f"{target.part}[{parameters.text(target.key)}]"
    return ", ".join(["metadata", *map(parameters.text, target.path)])


def _text(target: Target, parameters: Parameters) -> str:
    if isinstance(target, FieldTarget):
        return target.field.name
    if isinstance(target, ScoreTarget):  # pragma: no cover - the parser refuses it
        raise TypeError(target)
    # The text of a text; of anything else its JSON.
    return f"JSONExtractString({document_sql(target, parameters)})"


def _exists(target: Target, parameters: Parameters) -> str:
    match target:
        case FieldTarget():
            return _field_exists(target)
        case ScoreTarget():
            return f"mapContains(scores, {parameters.text(target.name)})"
        case _:
            return f"(JSONType({document_sql(target, parameters)}) != 'Null')"


def _field_exists(target: FieldTarget) -> str:
    field = target.field
    if field.unknown:
        return f"isNotNull({field.name})"
    match field.type:
        case FieldType.TEXT:
            return f"({field.name} != '')"
        case FieldType.TAGS:
            return "notEmpty(tags)"
        case _:
            return TRUE
