"""Whether a text of a policy means what it seems to say: dots, endings, characters that look like others. Pure."""

import re
import unicodedata
from collections.abc import Iterator

from tailsts.policy.claims import spelled
from tailsts.policy.draft import Draft
from tailsts.policy.finding import Page, Severity
from tailsts.policy.patterns.language import can_match_char, unescaped_dots
from tailsts.policy.patterns.pattern import Pattern
from tailsts.policy.patterns.syntax import Literal, Node, Repeat, Sequence, parse

# Letters of other alphabets that look like Latin ones in most typefaces.
_TWINS = frozenset(
    # Cyrillic, Greek, Armenian and Latin ones.
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d\u04cf\u0410"
    "\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405\u050c\u051c"
    "\u03bf\u03b9\u03bd\u03b1\u03c5\u03c1\u03ba\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
    "\u0585\u0578\u057d\u0581\u0570\u0584\u0261\u0131"
)
# Where a pattern forks, and no escaped character or class.
_STRUCTURE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()|]")
_WORD = re.compile(r"[^\W\d_]+")
# What stands before a part that varies, where it is the name of a branch or tag: there a prefix is what is meant.
_OF_A_REF = re.compile(r"refs?[/:]|branch|tag")


def judge_texts(draft: Draft, page: Page) -> None:
    """Note patterns that match more than they seem to, and names that are not what they seem to be."""
    for key, pattern in patterns_of(draft):
        _judge_dots(key, pattern, page)
        _judge_ending(key, pattern, page)
    for text in () if draft.condition is None else draft.condition.patterns:
        if not _is_anchored(text):
            message = f'looks for "{text}" anywhere in the text: what stands before and after it is anybody\'s'
            page.note(Severity.SECURITY, "unanchored-match", "condition", message, 'write matches("^...$")')
    for key, text in _texts(draft):
        if not text.isascii() and (found := _deceptive(text)):
            name = unicodedata.name(found, "without a name")
            message = f"holds U+{ord(found):04X} ({name.lower()}), which looks like another character, or like none"
            page.note(Severity.SECURITY, "confusable", key, message, "type it anew")
    for path, values in draft.claims:
        if any(isinstance(value, str) and "*" in value for value in values):
            message = "is compared exactly: * stands for itself, which hardly any token has"
            page.note(Severity.ADVICE, "wildcard", spelled(("claims", *path)), message, "write it under claim_patterns")


def _is_anchored(text: str) -> bool:
    """Return whether a pattern of `matches`, which looks anywhere, is for the whole text."""
    if not text.startswith(("^", r"\A")) or not text.endswith(("$", r"\z")) or text.endswith(r"\$"):
        return False
    # In ^a|b$ each mark belongs to one branch only.
    depth = 0
    for mark in _STRUCTURE.findall(text):
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if mark == "|" and depth == 0:
            return False
    return True


def patterns_of(draft: Draft) -> Iterator[tuple[str, Pattern]]:
    """Yield the patterns of what tokens hold, each with its key."""
    if draft.subject_pattern is not None:
        yield "subject_pattern", draft.subject_pattern
    if draft.audience_pattern is not None:
        yield "audience_pattern", draft.audience_pattern
    for path, pattern in draft.claim_patterns:
        yield spelled(("claim_patterns", *path)), pattern


def _judge_dots(key: str, pattern: Pattern, page: Page) -> None:
    if unescaped_dots(pattern.text):
        message = "has a dot in a name, which matches any character"
        page.note(
            Severity.SECURITY, "unescaped-dot", key, message, r"write \. for a dot; in TOML between single quotes"
        )


def _judge_ending(key: str, pattern: Pattern, page: Page) -> None:
    node = parse(pattern.text)
    branches = getattr(node, "branches", (node,))
    for branch in branches:
        if isinstance(branch, Sequence) and (name := _open_name(key, branch)):
            message = f'goes on after "{name}" with anything: it matches {name}-evil too, and what follows a separator'
            advice = 'put the separator before what varies, and a class, like "[^/:]+", in place of the dot'
            page.note(Severity.SECURITY, "open-name", key, message, advice)
            return


def _open_name(key: str, sequence: Sequence) -> str:
    """Return the name that is left open in `sequence`, if one is: then it can become that of somebody else."""
    plain = ""
    for part in sequence.parts:
        if isinstance(part, Literal):
            plain += part.character
        else:
            name: str = re.split(r"[/:@]", plain)[-1]
            return name if _is_open(name, part) and not _OF_A_REF.search(f"{key}:{plain}") else ""
    return ""


def _is_open(name: str, part: Node) -> bool:
    if not name or not name[-1].isalnum() or not isinstance(part, Repeat) or part.maximum is not None:
        return False
    return can_match_char(part, "-") and (can_match_char(part, "/") or can_match_char(part, ":"))


def _texts(draft: Draft) -> Iterator[tuple[str, str]]:
    yield "subject", draft.subject or ""
    for audience in sorted(draft.audiences):
        yield "audience", audience
    for key, pattern in patterns_of(draft):
        yield key, pattern.text
    for path, values in draft.claims:
        place = spelled(("claims", *path))
        yield place, ".".join(path)
        for value in values:
            yield place, value if isinstance(value, str) else ""
    for path, _ in draft.claim_patterns:
        yield spelled(("claim_patterns", *path)), ".".join(path)
    if draft.condition is not None:
        yield "condition", draft.condition.text


def _deceptive(text: str) -> str:
    """Return the first character that passes for another one, or for none."""
    for character in text:
        if not character.isascii() and (not character.isprintable() or character.isspace() or _is_form(character)):
            return character
    # A word of another alphabet is what it is. Letters of two alphabets in one word, or only twins, are not.
    for word in _WORD.findall(text):
        twins: list[str] = [character for character in word if character in _TWINS]
        if twins and (len(twins) == len(word) or any(character.isascii() for character in word)):
            return twins[0]
    return ""


def _is_form(character: str) -> bool:
    """Return whether it is but another form of ASCII: full width, ligatures, the long s, the sign for Kelvin."""
    return unicodedata.normalize("NFKC", character).isascii()
