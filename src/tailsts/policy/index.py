"""Which of a trust's policies a token may come under, found without asking each. Pure.

A policy that names a subject, or the exact value of a claim, is only a candidate for tokens with that very value. It is
filed under the first condition of that kind that it is asked, so that whoever is passed over would have failed just
there: what the index leaves out changes no verdict.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from tailsts.policy.claims import SCALARS, Path, Scalar, exactly, lookup
from tailsts.policy.condition import Check, ClaimIs, Condition, SubjectIs

SUBJECT: Path = ("sub",)

Key = tuple[type, Scalar]


class Index(msgspec.Struct, frozen=True, gc=False):
    """Positions of policies in their order: by the value at each path, and those that are filed nowhere.

    `passed_over` is the check at which those failed that are not candidates, the furthest of them.
    """

    by_value: Sequence[tuple[Path, Mapping[Key, Sequence[int]]]]
    others: Sequence[int]
    passed_over: Check

    def positions(self, claims: Mapping[str, object]) -> Sequence[int]:
        """Return the positions of the policies that a token with these claims may come under, in order."""
        found: Sequence[int] = self.others
        several = False
        for path, positions in self.by_value:
            value = lookup(claims, path)
            if type(value) in SCALARS:
                here = positions.get(exactly(value), ())  # type: ignore[arg-type]  # a scalar, as was just seen
                if here:
                    several = bool(found)
                    found = (*found, *here) if several else here
        return sorted(found) if several else found


def index(policies: Sequence[Sequence[Condition]]) -> Index:
    """Return the index of policies, each given as its conditions in order."""
    paths = _by_use(policies)
    files: dict[Path, dict[Key, list[int]]] = {}
    others: list[int] = []
    passed_over = Check.SUBJECT
    for position, conditions in enumerate(policies):
        filed = _filed_under(conditions, paths)
        if filed is None:
            others.append(position)
            continue
        passed_over = max(passed_over, filed.check)
        path, values = (SUBJECT, (filed.subject,)) if isinstance(filed, SubjectIs) else (filed.path, filed.values)
        for key in {exactly(value) for value in values}:
            files.setdefault(path, {}).setdefault(key, []).append(position)
    return Index(tuple(files.items()), tuple(others), passed_over)


def _by_use(policies: Sequence[Sequence[Condition]]) -> Counter[Path]:
    """Count the different values that policies ask of each claim: the more, the better it tells them apart."""
    values = {
        (condition.path, exactly(value))
        for conditions in policies
        for condition in conditions
        if isinstance(condition, ClaimIs)
        for value in condition.values
    }
    return Counter(path for path, _ in values)


def _filed_under(conditions: Sequence[Condition], paths: Counter[Path]) -> SubjectIs | ClaimIs | None:
    first = conditions[0] if conditions else None
    if isinstance(first, SubjectIs):
        return first
    exact = [condition for condition in conditions if isinstance(condition, ClaimIs)]
    return max(exact, key=lambda condition: paths[condition.path]) if exact else None
