"""Strangers who choose their names to fit: `acme-evil`, `x-acme`, a branch named acme/infra. Pure.

What they call themselves is made of the texts that stand in the policy's patterns and condition.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from tailsts.policy.claims import Path, Scalar
from tailsts.policy.draft import Draft
from tailsts.policy.judging.known_ci import BUILDKITE, CIRCLECI, GITHUB, GITLAB, TERRAFORM
from tailsts.policy.judging.known_cloud import GOOGLE
from tailsts.policy.judging.providers import STRANGE_NAME
from tailsts.policy.judging.supposed import Asked
from tailsts.policy.patterns.syntax import Alternation, Literal, Node, Repeat, Sequence, parse

# Each is tried with each: this many are enough for what people write, and take milliseconds.
_MAX_TEXTS = 5
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OWNER = "walnut-zq"
# They belong to the form of a subject or a branch, and to nobody's name.
_FORMAL = re.compile(
    r"repo|repository(_owner)?|refs?|heads|tags?|pull|environment|pull_request|push|main|master|branch|project_path|ref_type"
    r"|organization|pipeline|project|workspace|run_phase|commit|step|org|user|vcs-(origin|ref)|https|github\.com"
)


class _Stranger(msgspec.Struct, frozen=True):
    claims: Mapping[Path, Scalar]
    parts: Mapping[str, str] = {}


class _Texts(msgspec.Struct, frozen=True):
    """`whole` are the texts as they stand there, `words` the names in them."""

    whole: tuple[str, ...]
    words: tuple[str, ...]

    def names(self) -> tuple[str, ...]:
        """Return names that somebody may still get, for each of those that stand there."""
        return tuple(name for word in self.words for name in (f"{word}-evil", f"x-{word}"))


def takes_lookalike(asked: Asked) -> bool:
    """Return whether a stranger passes who chooses all that strangers can choose, at an issuer that is shared."""
    texts = _texts(asked.draft)
    if asked.provider is None or not texts.whole:
        return False
    strangers = asked.strangers()
    made = _STRANGERS[asked.provider.name](texts)
    return any(one.takes_changed(like.claims, parts=like.parts) for like in made for one in strangers)


def _texts(draft: Draft) -> _Texts:
    found = list(draft.condition.literals) if draft.condition is not None else []
    patterns = [pattern.text for _, pattern in draft.claim_patterns]
    if draft.subject_pattern is not None:
        patterns.append(draft.subject_pattern.text)
    if draft.condition is not None:
        patterns += (text.removeprefix("^").removesuffix("$") for text in draft.condition.patterns)
    for text in patterns:
        if (node := parse(text)) is not None:
            found += _literals(node)
    words = (word for text in found for word in _WORD.findall(text) if not _FORMAL.fullmatch(word))
    whole = (text for text in found if not _FORMAL.fullmatch(text))
    return _Texts(_first(whole), _first(words))


def _first(texts: Iterator[str]) -> tuple[str, ...]:
    return tuple(itertools.islice(dict.fromkeys(texts), _MAX_TEXTS))


def _literals(node: Node) -> Iterator[str]:
    """Yield the texts that stand in a pattern."""
    match node:
        case Literal():
            yield node.character
        case Sequence(parts=parts):
            for is_plain, run in itertools.groupby(parts, lambda part: isinstance(part, Literal)):
                if is_plain:
                    yield "".join(part.character for part in run if isinstance(part, Literal))
                else:
                    yield from itertools.chain.from_iterable(map(_literals, run))
        case Alternation(branches=branches):
            yield from itertools.chain.from_iterable(map(_literals, branches))
        case Repeat():
            yield from _literals(node.node)
        case _:
            return


def _github(texts: _Texts) -> Iterator[_Stranger]:
    for owner, repo in itertools.product((_OWNER, *texts.names()), (STRANGE_NAME, *texts.words)):
        yield _github_run(owner, repo)
    for text in (STRANGE_NAME, *texts.whole):
        yield _github_run(_OWNER, STRANGE_NAME, f"refs/heads/{text.strip('/')}")


def _github_run(owner: str, repo: str, ref: str = "") -> _Stranger:
    repository = f"{owner}/{repo}"
    claims: dict[Path, Scalar] = {
        ("repository",): repository,
        ("repository_owner",): owner,
        ("actor",): owner,
        ("workflow_ref",): f"{repository}/.github/workflows/zq.yml@{ref or 'refs/heads/main'}",
    }
    if ref:
        claims |= {("ref",): ref, ("environment",): ref.removeprefix("refs/heads/")}
    return _Stranger(claims, {"repo": repo})


def _gitlab(texts: _Texts) -> Iterator[_Stranger]:
    for group, project in itertools.product(
        (_OWNER, *texts.names()), (STRANGE_NAME, *texts.words, *(text.strip("/:") for text in texts.whole))
    ):
        path = f"{group}/{project}"
        claims: dict[Path, Scalar] = {("project_path",): path, ("namespace_path",): path.rpartition("/")[0]}
        yield _Stranger({**claims, ("user_login",): group, ("user_email",): f"{group}@x-{project}"})
    for text in texts.whole:
        yield _Stranger({("ref",): text, ("ref_path",): f"refs/heads/{text}", ("environment",): text})


def _google(texts: _Texts) -> Iterator[_Stranger]:
    for name in texts.names():
        yield _Stranger({("email",): f"{name}@walnut-zq.com", ("hd",): "walnut-zq.com"})
        yield _Stranger({("email",): f"zq@{name}", ("hd",): name})


def _buildkite(texts: _Texts) -> Iterator[_Stranger]:
    for name, word in itertools.product((_OWNER, *texts.names()), (STRANGE_NAME, *texts.words)):
        yield _Stranger({("organization_slug",): name, ("pipeline_slug",): word})
    for text in texts.whole:
        yield _Stranger({("build_branch",): text}, {"ref": f"refs/heads/{text}"})


def _terraform(texts: _Texts) -> Iterator[_Stranger]:
    for name, word in itertools.product((_OWNER, *texts.names()), (STRANGE_NAME, *texts.words)):
        claims = {"organization": name, "project": word, "workspace": word}
        yield _Stranger({(f"terraform_{kind}_name",): text for kind, text in claims.items()})


def _circleci(texts: _Texts) -> Iterator[_Stranger]:
    for text in texts.whole:
        yield _Stranger({("oidc.circleci.com/vcs-ref",): f"refs/heads/{text.strip('/')}"})


_STRANGERS: Mapping[str, Callable[[_Texts], Iterator[_Stranger]]] = {
    GITHUB.name: _github,
    GITLAB.name: _gitlab,
    GOOGLE.name: _google,
    BUILDKITE.name: _buildkite,
    TERRAFORM.name: _terraform,
    CIRCLECI.name: _circleci,
}
