"""Laws of patterns: the tree means what RE2 means, and an accepted pattern of issuers stays in its place."""

from urllib.parse import urlsplit

import re2  # type: ignore[import-untyped]
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from tailsts.policy.issuers import refuse_issuer
from tailsts.policy.patterns.breadth import is_catch_all
from tailsts.policy.patterns.issuer_pattern import refuse_issuer_pattern
from tailsts.policy.patterns.language import (
    NOTHING,
    can_be_made_of,
    can_match_char,
    matches,
    matches_nothing,
    surely_within,
)
from tailsts.policy.patterns.pattern import PatternError, compile_pattern
from tailsts.policy.patterns.syntax import Alternation, CharSet, Literal, Node, Repeat, Sequence, parse

# --- patterns, and strings that they may match ---------------------------------------------------------------------

ATOMS = st.sampled_from(
    [*"abA09-_/:]}{, é", r"\.", r"\[", r"\\", r"\n", r"\t", r"\-", r"\_", r"\x61", r"\x{e9}", r"\d", r"\W", r"\s", "."]
    + ["[ab]", "[^a]", "[a-z0-9-]", "[]a]", "[^]a]", "[a-]", r"[\d-z]", r"[^\w/]", "[[:alpha:]_]", "[.]", "[+-9]"]
    + [f"[[:{name}:]]" for name in ("alnum", "ascii", "blank", "cntrl", "graph", "^print", "punct", "space", "xdigit")]
)
COUNTS = st.sampled_from(["*", "+", "?", "{2}", "{0}", "{1,}", "{0,2}", "{,2}", "*?", "+?", "??", "{1,2}?"])
GROUPS = st.sampled_from(["(", "(?:", "(?P<n>"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join),
        st.builds(lambda group, inside: f"{group}{inside})", GROUPS, inner),
        st.builds(lambda inside, count: f"(?:{inside}){count}", inner, COUNTS),
        st.builds("".join, st.tuples(ATOMS, COUNTS)),
    ),
    max_leaves=8,
)
# Anything in any order, so that the reader meets what RE2 refuses or reads in its own way.
SOUP = st.lists(
    st.sampled_from(
        [*"ab(|)[]{}^$*+?.-:,129\\", "(?:", "(?i", "[:", ":]", r"\Q", r"\E", r"\d", r"\b", r"\z", r"\x6", "é"]
    ),
    max_size=9,
).map("".join)
STRINGS = st.text(st.sampled_from("abA09-_/:.[]{}\n\t é\x00\x7f~!") | st.characters(codec="utf-8"), max_size=6)


@st.composite
def strings_of(draw: st.DrawFn, node: Node) -> str:
    """A string that the tree says matches; call only for one that matches something."""
    match node:
        case Literal():
            return node.character
        case CharSet():
            first, last = draw(st.sampled_from(node.ranges))
            return draw(st.characters(min_codepoint=first, max_codepoint=last, codec="utf-8"))
        case Sequence():
            return "".join([draw(strings_of(part)) for part in node.parts])
        case Alternation():
            return draw(
                strings_of(draw(st.sampled_from([each for each in node.branches if not matches_nothing(each)])))
            )
        case Repeat():
            most = node.minimum + 3 if node.maximum is None else node.maximum
            times = 0 if matches_nothing(node.node) else draw(st.integers(node.minimum, most))
            return "".join([draw(strings_of(node.node)) for _ in range(times)])


def ends(node: Node, value: str, starts: frozenset[int]) -> frozenset[int]:
    """Where `node` can end in `value`, having begun at one of `starts`."""
    match node:
        case Literal():
            return frozenset(at + 1 for at in starts if value[at : at + 1] == node.character)
        case CharSet():
            return frozenset(at + 1 for at in starts if at < len(value) and is_in(node, value[at]))
        case Sequence():
            for part in node.parts:
                starts = ends(part, value, starts)
            return starts
        case Alternation():
            return frozenset().union(*(ends(branch, value, starts) for branch in node.branches))
        case Repeat():
            return repeat_ends(node, value, starts)


def repeat_ends(node: Repeat, value: str, starts: frozenset[int]) -> frozenset[int]:
    """Where a repeat can end. More rounds than characters bring nothing new."""
    found = starts if node.minimum == 0 else frozenset()
    most = node.minimum + len(value) if node.maximum is None else node.maximum
    for times in range(1, most + 1):
        starts = ends(node.node, value, starts)
        found |= starts if times >= node.minimum else frozenset()
    return found


def is_in(of: CharSet, character: str) -> bool:
    """Whether the set holds the character."""
    return any(first <= ord(character) <= last for first, last in of.ranges)


def tree_matches(node: Node, value: str) -> bool:
    """Whether the whole value matches."""
    return len(value) in ends(node, value, frozenset([0]))


# --- the tree ------------------------------------------------------------------------------------------------------


@given(PATTERNS | SOUP, st.data())
@example("a{,2}", None)
@example("[]-a]", None)
@example("^a$|b", None)
def test_tree_is_re2(text: str, data: st.DataObject | None) -> None:
    """A tree is of a pattern that RE2 takes, and matches exactly the strings that RE2 does."""
    node = parse(text)
    if not text or node is None:
        return
    pattern = compile_pattern(text)
    if data is None:
        return
    values = [data.draw(STRINGS)]
    if not matches_nothing(node):
        values.append(data.draw(strings_of(node)))
        values.append(values[1] + data.draw(st.sampled_from(["\n", "a", "/"])))
        assert pattern.matches(values[1])
    for value in values:
        event(f"matches: {pattern.matches(value)}")
        assert pattern.matches(value) is tree_matches(node, value)


@given(PATTERNS, st.data())
def test_language(text: str, data: st.DataObject) -> None:
    """What is said of a pattern's strings holds of those that RE2 matches."""
    node = parse(text)
    if node is None:
        return
    value = data.draw(STRINGS if matches_nothing(node) else STRINGS | strings_of(node))
    if compile_pattern(text or "()").matches(value):
        assert all(can_match_char(node, character) for character in value)
        assert can_be_made_of(node, CharSet(tuple((ord(each), ord(each)) for each in value)))
    assert can_be_made_of(node, NOTHING) is compile_pattern(text or "()").matches("")
    assert matches(node, value) is compile_pattern(text or "()").matches(value)


@given(st.text("ab", max_size=3), PATTERNS, st.sampled_from([".*", ".+", "[a-z]*", "[^a]+", "b", ""]), st.data())
def test_within(start: str, text: str, end: str, data: st.DataObject) -> None:
    """Where one pattern is said to be within another, RE2 matches no string by the one and not by the other."""
    narrow, wide = parse(start + text), parse(start[:2] + end)
    if narrow is None or wide is None or matches_nothing(narrow) or not surely_within(narrow, wide):
        return
    value = data.draw(strings_of(narrow))
    event("within")
    assert compile_pattern(start[:2] + end or "()").matches(value)


@given(SOUP | PATTERNS, STRINGS)
def test_compile(text: str, value: str) -> None:
    """Any text is a pattern or a PatternError; a pattern matches as RE2 does, and in groups it is the same."""
    try:
        pattern = compile_pattern(text)
    except PatternError:
        return
    options = re2.Options()
    options.log_errors = False
    assert pattern.matches(value) is (re2.fullmatch(text, value, options) is not None)


@given(SOUP, st.sampled_from(["(?i)", "(?i:a)", "(?s)"]), SOUP)
def test_flags(before: str, flags: str, after: str) -> None:
    """A pattern with flags is accepted only where they are plain characters, of which RE2 refuses none."""
    text = before + flags + after
    try:
        compile_pattern(text)
    except PatternError:
        return
    # No flag is called Z.
    options = re2.Options()
    options.log_errors = False
    re2.compile(before + flags.replace("?", "?Z") + after, options)


@given(PATTERNS, STRINGS)
def test_catch_all_stays_one(text: str, other: str) -> None:
    """A branch beside a catch-all does not hide it."""
    assert is_catch_all(compile_pattern(f"{text}|.*"))
    assert is_catch_all(compile_pattern(f".+|{re2.escape(other)}"))


# --- patterns of issuers -------------------------------------------------------------------------------------------

TAME = st.sampled_from(["a", "b-c", "x", "0", "[a-z]+", "[a-z0-9-]+", "[0-9a-f-]{2}", "(a|b)", "(a-b|[0-9]+)", "a{2}"])
WILD = st.sampled_from(["[a-z0-9-]*", "(a|)", "[a-z.]+", r"(a\.b|c)", r"\.", ".", "[^/]+", "[A-Z]?", r"\w+", "[!-~]"])
WILDER = st.sampled_from(
    ["/", "(/a)?", "[/a]", "@", ":", "[:@]", "%2e", "[%2e]{3}", r"\?", "#", "[?#]", r"\\", "-", "$"]
)
LABELS = st.lists(TAME, min_size=1, max_size=2).map("".join)
SUFFIXES = st.sampled_from([r"\.example\.com", r"\.b\.c", r"\.x\.y:8443", r"\.x[.]y"])
# Rarely, so that most patterns are accepted.
OPEN_SUFFIXES = st.sampled_from([r"\.com", r"example\.com", "", r"\.0\.1", r"\.co\.uk"])
HOSTS = st.tuples(
    st.lists(LABELS, min_size=1, max_size=3).map(r"\.".join), st.one_of(*[SUFFIXES] * 5, OPEN_SUFFIXES)
).map("".join)
PATHS = st.lists(LABELS, max_size=3).map(lambda segments: "".join(f"/{segment}" for segment in segments))
TAME_PATTERNS = st.builds("https://{}{}{}".format, HOSTS, PATHS, st.sampled_from(["", "/", "$"]))


@st.composite
def with_something_wild(draw: st.DrawFn) -> str:
    """A pattern with a piece put in somewhere that may or may not be harmless there."""
    text, wild = draw(TAME_PATTERNS), draw(WILD | WILDER)
    place = draw(st.integers(len("https://"), len(text)))
    return text[:place] + wild + text[place:]


ISSUER_PATTERNS = TAME_PATTERNS | TAME_PATTERNS | with_something_wild()


@st.composite
def accepted(draw: st.DrawFn) -> tuple[str, Node]:
    """An accepted pattern of issuers, and its tree."""
    text = draw(ISSUER_PATTERNS)
    assume(refuse_issuer_pattern(text) is None)
    node = parse(text)
    assert node is not None
    return text, node


def parts_of(node: Node) -> tuple[Node, ...]:
    """The parts at the top."""
    return node.parts if isinstance(node, Sequence) else (node,)


@given(accepted(), st.data())
def test_issuers_stay_in_place(pair: tuple[str, Node], data: st.DataObject) -> None:
    """Whatever an accepted pattern matches has its slashes, the end of its host, and nothing beside host and path."""
    text, node = pair
    issuer = data.draw(strings_of(node))
    assert compile_pattern(text).matches(issuer)
    assert parts_of(node).count(Literal("/")) == issuer.count("/")
    url = urlsplit(issuer)
    host, _, _ = issuer.removeprefix("https://").partition("/")
    assert url.scheme == "https"
    assert host == url.netloc
    assert host.partition(":")[0] == url.hostname
    assert not any([url.username, url.password, url.query, url.fragment])
    assert not {"", ".", ".."} & set(url.path.split("/")[1:-1])
    assert fixed_suffix(node) is None or host.endswith(fixed_suffix(node) or "")


@given(accepted(), st.data())
def test_issuers_are_issuers(pair: tuple[str, Node], data: st.DataObject) -> None:
    """Whatever an accepted pattern matches can be an issuer, but for hyphens at the ends of a label, and for length."""
    issuer = data.draw(strings_of(pair[1]))
    assume(not any(label != label.strip("-") for label in (urlsplit(issuer).hostname or "").split(".")))
    assert refuse_issuer(issuer) in {None, "it is longer than 255 characters"}


def fixed_suffix(node: Node) -> str | None:
    """The last three dotted parts of the host if they are plain, the first of them as far as it is; None: all plain."""
    text = "".join(part.character if isinstance(part, Literal) else "*" for part in parts_of(node))
    host = text.removeprefix("https://").partition("/")[0]
    if "*" not in host:
        return None
    suffix = host.rpartition("*")[2]
    assert suffix.partition(":")[0].count(".") >= 2
    return suffix


@given(ISSUER_PATTERNS)
def test_every_issuer_pattern_is_judged(text: str) -> None:
    """Any pattern is accepted, or refused with a reason and an advice."""
    fault = refuse_issuer_pattern(text)
    event(f"{fault and fault.reason}")
    assert fault is None or (fault.reason and fault.advice)
