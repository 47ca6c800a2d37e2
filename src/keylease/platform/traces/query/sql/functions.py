"""Functions that a statement of a user may call: each computes from its arguments, and no more.

Not on the list is whatever reads files, hosts, settings, dictionaries, other tables or the server's
state, whatever waits, and whatever takes the name of another function as a text (``arrayReduce``,
``initializeAggregation``), since that name would not be looked up here. All of them are known to
the embedded engine, which has fewer than a ClickHouse server.
"""

from __future__ import annotations

import difflib
from typing import Final


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


AGGREGATES: Final = _names(
    """
    any anyLast argMax argMin avg corr count covarPop covarSamp first_value groupArray
    groupArrayLast groupUniqArray kurtPop kurtSamp last_value max median medianExact min
    quantile quantileExact quantiles quantilesExact skewPop skewSamp stddevPop stddevSamp sum
    sumCount sumKahan topK topKWeighted uniq uniqCombined uniqExact varPop varSamp windowFunnel
    """
)
COMBINATORS: Final = ("If", "Array", "Distinct", "OrNull", "OrDefault")
WINDOW_FUNCTIONS: Final = _names(
    "row_number rank dense_rank percent_rank cume_dist ntile nth_value lag lead lagInFrame "
    "leadInFrame nonNegativeDerivative"
)
SCALARS: Final = _names(
    """
    abs acos asin atan atan2 cbrt ceil cos e exp exp10 exp2 factorial floor greatest hypot intDiv
    intDivOrNull isFinite isInfinite isNaN ifNotFinite least log log10 log1p log2 max2 min2 modulo
    negate pi plus minus multiply divide divideOrNull pow round roundBankers roundDown sigmoid sign
    sin sqrt tan tanh trunc bitAnd bitOr bitXor bitNot bitCount
    positiveModulo toDecimal64 toFloat32 toFloat64 toFloat64OrNull toFloat64OrZero toInt8 toInt16
    toInt32 toInt64 toInt64OrNull toInt64OrZero toUInt8 toUInt16 toUInt32 toUInt64 toUInt64OrNull
    toUInt64OrZero toBool

    if multiIf ifNull nullIf coalesce assumeNotNull toNullable isNull isNotNull isZeroOrNull
    equals notEquals less lessOrEquals greater greaterOrEquals and or not xor transform
    toString toTypeName identity toLowCardinality clamp

    length lengthUTF8 empty notEmpty lower upper reverse reverseUTF8 concat
    concatWithSeparator substring substringUTF8 left leftUTF8 right rightUTF8 position positionUTF8
    positionCaseInsensitive positionCaseInsensitiveUTF8 locate startsWith endsWith trim trimBoth
    trimLeft trimRight replaceOne replaceAll replaceRegexpOne replaceRegexpAll match extract
    extractAll extractGroups regexpExtract like notLike ilike notILike countSubstrings
    countMatches splitByChar splitByString splitByRegexp splitByNonAlpha splitByWhitespace
    arrayStringConcat substringIndex leftPad rightPad format initcap repeat ngrams tokens
    hasToken hasTokenCaseInsensitive hasAllTokens hasAnyTokens hasPhrase hasSubsequence
    multiSearchAny multiSearchAnyCaseInsensitive multiSearchFirstIndex multiSearchAllPositions
    ngramDistance isValidUTF8 toValidUTF8
    hex unhex encodeURLComponent decodeURLComponent
    domain domainWithoutWWW path pathFull protocol topLevelDomain queryString extractURLParameter
    cutQueryString formatReadableSize
    formatReadableDecimalSize

    now now64 today yesterday toDate toDate32 toDateTime toDateTime64 toDateOrNull toDateTimeOrNull
    toDateTime64OrNull parseDateTime parseDateTimeBestEffort
    parseDateTime64BestEffort makeDate makeDateTime
    toYear toQuarter toMonth toWeek toISOWeek toISOYear toDayOfYear toDayOfMonth toDayOfWeek toHour
    toMinute toSecond toMillisecond toMonday toStartOfYear toStartOfQuarter toStartOfMonth
    toStartOfWeek toStartOfDay toStartOfHour toStartOfMinute toStartOfSecond toStartOfFiveMinutes
    toStartOfTenMinutes toStartOfFifteenMinutes toStartOfInterval toLastDayOfMonth toYYYYMM
    toYYYYMMDD toYYYYMMDDhhmmss toUnixTimestamp toUnixTimestamp64Milli toUnixTimestamp64Micro
    toUnixTimestamp64Nano fromUnixTimestamp fromUnixTimestamp64Milli fromUnixTimestamp64Micro
    fromUnixTimestamp64Nano date_trunc dateTrunc date_diff dateDiff age timeDiff addYears addMonths
    addWeeks addDays addHours addMinutes addSeconds addMilliseconds addMicroseconds subtractYears
    subtractMonths subtractWeeks subtractDays subtractHours subtractMinutes subtractSeconds
    toIntervalSecond toIntervalMinute toIntervalHour toIntervalDay toIntervalWeek toIntervalMonth
    toIntervalYear formatDateTime dateName monthName toTimeZone timeSlot

    JSONExtract JSONExtractString JSONExtractInt JSONExtractUInt JSONExtractFloat JSONExtractBool
    JSONExtractRaw JSONExtractArrayRaw JSONHas JSONLength
    JSONType JSONArrayLength isValidJSON toJSONString JSON_VALUE JSON_QUERY JSON_EXISTS
    simpleJSONExtractString simpleJSONExtractInt simpleJSONExtractFloat simpleJSONExtractBool
    simpleJSONHas

    array arrayAll arrayAvg arrayCompact arrayConcat arrayCount
    arrayDistinct arrayElement arrayElementOrNull arrayEnumerate arrayExists arrayFilter arrayFirst
    arrayFirstIndex arrayFirstOrNull arrayFlatten arrayIntersect arrayJoin arrayLast arrayLastIndex
    arrayMap arrayMax arrayMin arrayPopBack arrayPopFront arrayPushBack arrayPushFront arrayResize
    arrayReverse arrayReverseSort arraySlice arraySort arraySum arrayUniq arrayZip countEqual has
    hasAll hasAny indexOf range emptyArrayString map mapContains mapContainsKey mapKeys mapValues
    mapFromArrays tuple tupleElement

    cityHash64 sipHash64 xxHash64 MD5 SHA256 bar
    """
)


def is_allowed(name: str) -> bool:
    """Whether a statement may call this function; aggregates also with combinators."""
    return name in SCALARS or name in WINDOW_FUNCTIONS or _is_aggregate(name)


def _is_aggregate(name: str) -> bool:
    if name in AGGREGATES:
        return True
    return any(
        name.endswith(combinator) and _is_aggregate(name.removesuffix(combinator))
        for combinator in COMBINATORS
    )


def nearest_function(name: str) -> str:
    """The function on the list that may have been meant, or an empty text."""
    known = {each.lower(): each for each in (*SCALARS, *AGGREGATES, *WINDOW_FUNCTIONS)}
    near = difflib.get_close_matches(name[:64].lower(), known, n=1, cutoff=0.8)
    return known[near[0]] if near else ""
