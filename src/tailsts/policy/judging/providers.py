"""What can be known of those who run issuers: the tables are in `known_ci` and `known_cloud`. Pure.

None of it decides about a token. It is for judging a policy before any token is seen: to make up a token that its
author did not mean, and see whether the policy would take it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from tailsts.policy.claims import MISSING, Path

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# Of strangers: nobody names them by accident.
STRANGE_UUID = "7a1fc7f5-05d2-4a5e-8f00-11aa22bb33cc"
STRANGE_NUMBER = "90210360471"
STRANGE_NAME = "kumquat-zq"


class SubjectForm(msgspec.Struct, frozen=True):
    """What a form of `sub` says beyond its parts: whose it is, and so what some claims are like; None: not there."""

    subject: re.Pattern[str]
    whose: str
    claims: Mapping[Path, re.Pattern[str] | None]


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs the issuers that `issuers` matches, and what their tokens are like.

    `samples` are issuers of strangers, as far as each customer has one. `whose` are parts of an issuer that say whose
    it is, each with a stranger's: the rest, like the region, may be what a policy names.
    `claims` is a whole token of a stranger, by path, and `optional` what it only has on some occasion: their types are
    those of all tokens. `prefixes` begin the names of further claims, which customers define.
    `subject` is the usual form of `sub`, `usual` says it in words, `beginning` is how it begins; their groups are parts
    of it. `parts` has those of the stranger, `named` the claims that say the same as a part, `forms` how a `sub` is
    made of parts. `only`: there are no other forms.
    `chosen` are the claims that everybody who has an account can bring about with any value, `chosen_parts` such parts
    that no claim says. `weak` are claims that strangers can have in common with us, each with the reason.
    `ids` are the claims that tell somebody from whoever gets the same names later; `id_advice` says which to pin.
    `claim_forms` are what the texts of some claims look like always, each with how to say that.
    `algorithms` are those with which the issuer signs. `says` is what forms of `sub` say of other claims. `colon` is
    how a colon within a part of it is written, `unspelt` a `sub` in which it is not.
    `subject_is_id` is a `sub` that is never given to anybody else, `fleeting` one that is another each time.
    """

    name: str
    issuers: re.Pattern[str]
    samples: tuple[str, ...]
    whose: tuple[tuple[re.Pattern[str], str], ...] = ()
    claims: Mapping[Path, object]
    optional: Mapping[Path, object] = {}
    prefixes: tuple[str, ...] = ()
    subject: re.Pattern[str]
    usual: str
    beginning: re.Pattern[str] | None = None
    parts: Mapping[str, str] = {}
    named: Mapping[str, Path] = {}
    forms: tuple[str, ...]
    only: bool = False
    chosen: frozenset[Path] = frozenset()
    chosen_parts: frozenset[str] = frozenset()
    weak: Mapping[Path, str] = {}
    ids: frozenset[Path] = frozenset()
    id_advice: str = ""
    claim_forms: Mapping[Path, tuple[re.Pattern[str], str]] = {}
    subject_is_id: re.Pattern[str] | None = None
    fleeting: re.Pattern[str] | None = None
    algorithms: frozenset[str] = frozenset({"RS256"})
    says: tuple[SubjectForm, ...] = ()
    colon: str = ":"
    unspelt: re.Pattern[str] | None = None

    def known(self, path: Path) -> object:
        """Return a value of the type that the claim has, or MISSING."""
        return self.claims.get(path, self.optional.get(path, MISSING))

    def is_choosable(self, path: Path) -> bool:
        """Return whether everybody can have this claim with any value."""
        return path in self.chosen or self.is_custom(path)

    def is_custom(self, path: Path) -> bool:
        """Return whether customers define claims of this name."""
        return bool(self.prefixes) and any(name.startswith(self.prefixes) for name in path)

    def parts_of(self, subject: str) -> dict[str, str]:
        """Return the parts of a `sub` of the usual form, or of one that begins like it, else nothing."""
        found = self.subject.fullmatch(subject) or (self.beginning and self.beginning.match(subject))
        named = {} if found is None else found.groupdict()
        return {name: text.replace(self.colon, ":") for name, text in named.items() if text is not None}

    def subjects(self, values: Mapping[Path, object], parts: Mapping[str, str], form: str = "") -> list[str]:
        """Return each `sub` that a token with these values and parts can have, of the forms that hold `form`."""
        filled = {**self.parts, **parts}
        filled |= {name: value for name, path in self.named.items() if isinstance(value := values.get(path), str)}
        if self.colon != ":":
            filled = {name: text.replace(":", self.colon) for name, text in filled.items()}
        fitting = (one for one in self.forms if form in one and _fields(one) <= filled.keys())
        return [template.format_map(filled) for template in fitting]


_FIELD = re.compile(r"\{([a-z_]+)\}")


@lru_cache(256)
def _fields(template: str) -> frozenset[str]:
    return frozenset(_FIELD.findall(template))


def paths(names: str) -> frozenset[Path]:
    """Return the paths of claims that are not nested, given their names with blanks between them."""
    return frozenset((name,) for name in names.split())


def texts(names: str, value: str = STRANGE_NAME) -> dict[Path, object]:
    """Return such claims, each with this value."""
    return dict.fromkeys(sorted(paths(names)), value)


def nested(values: Mapping[Path, object]) -> dict[str, object]:
    """Return the claims of a token that has these values at these paths."""
    claims: dict[str, object] = {}
    for path, value in values.items():
        inner = claims
        for name in path[:-1]:
            further = inner.get(name)
            if not isinstance(further, dict):
                inner[name] = further = {}
            inner = further
        inner[path[-1]] = value
    return claims
