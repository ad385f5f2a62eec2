"""Names that look closed and are not: a branch `main.*`, a service account of any namespace. Pure."""

import re
from collections.abc import Callable, Mapping

from tailsts.policy.claims import Path, Scalar, spelled
from tailsts.policy.finding import Page, Severity
from tailsts.policy.judging.known_ci import BITBUCKET, BUILDKITE, CIRCLECI, GITHUB, GITLAB
from tailsts.policy.judging.providers import STRANGE_NAME, STRANGE_UUID
from tailsts.policy.judging.supposed import Asked
from tailsts.policy.judging.who import key_of

# Nobody means a family of branches by these: what goes on from them is not the branch that is protected.
_BRANCHES = ("main", "master", "trunk", "develop")
_REF_PROTECTED: Path = ("ref_protected",)
_WORKFLOW_REF: Path = ("workflow_ref",)
_JOB_WORKFLOW_REF: Path = ("job_workflow_ref",)
_NAMESPACE: Path = ("kubernetes.io", "namespace")
_ACCOUNT: Path = ("kubernetes.io", "serviceaccount", "name")
_IDS = (("kubernetes.io", "serviceaccount", "uid"), ("kubernetes.io", "pod", "uid"))
_NAME = re.compile("[a-z0-9-]+")

_Changes = Mapping[Path, Scalar]


def judge_reach(asked: Asked, page: Page) -> None:
    """Note the branch that goes on with anything, and the namespace that is anybody's."""
    if asked.draft.any_subject and not asked.draft.asks_who():
        return
    draft = asked.draft
    if draft.claim_patterns or draft.subject_pattern is not None or draft.condition is not None:
        # A value that is named is closed.
        _judge_branch(asked, page)
    if asked.provider is not None and asked.provider.name == "Kubernetes" and any(map(_is_of_any, asked.each())):
        message = "is met by service accounts of every namespace, and whoever has one gives them any name"
        advice = "name the namespace, or the start of its name"
        page.note(Severity.SECURITY, "any-namespace", _key(asked, frozenset({_NAMESPACE})), message, advice)


def _is_of_any(one: Asked) -> bool:
    elsewhere: dict[Path, Scalar] = {_NAMESPACE: STRANGE_NAME, **dict.fromkeys(_IDS, STRANGE_UUID)}
    if one.takes_changed({**elsewhere, _ACCOUNT: STRANGE_NAME}):
        # Where the account may be any as well, that is said already.
        return False
    literals = () if one.draft.condition is None else one.draft.condition.literals
    return one.takes_changed(elsewhere) or any(
        one.takes_changed({**elsewhere, _ACCOUNT: name}) for text in literals for name in _NAME.findall(text)
    )


def _judge_branch(asked: Asked, page: Page) -> None:
    for one in asked.each():
        for at in _places(one):
            if met := _met_beside(one, at):
                message = (
                    f'is met by the branch "{met[1]}" as well as by "{met[0]}": everybody who can push can make it'
                )
                advice = "write the whole name; a slash before what varies, like release/.*"
                key = _key(asked, frozenset(at("")))
                page.note(Severity.SECURITY, "open-branch", key, message, advice)
                return


def _met_beside(one: Asked, at: Callable[[str], _Changes]) -> tuple[str, str] | None:
    """Return a branch that is meant and one that only looks like it, if both pass and not just any branch does."""
    for branch in _BRANCHES:
        if one.takes_changed(at(branch)) and not one.takes_changed(at(STRANGE_NAME)):
            beside = (f"{branch}-evil", f"evil-{branch}", f"{branch}/evil", f"evil/{branch}", f"evil-{branch}-evil")
            return next(((branch, name) for name in beside if one.takes_changed(at(name))), None)
    return None


def _places(one: Asked) -> list[Callable[[str], _Changes]]:
    """Return how the claims of a run say its branch, for each branch that they say."""
    if one.provider is GITHUB:
        return _places_of_github(one)
    if one.provider is GITLAB:
        return [lambda branch: {("ref",): branch, ("ref_path",): f"refs/heads/{branch}", _REF_PROTECTED: "false"}]
    if one.provider is BUILDKITE:
        return [lambda branch: {("build_branch",): branch}]
    if one.provider is BITBUCKET:
        return [lambda branch: {("branchName",): branch}]
    if one.provider is CIRCLECI:
        return [lambda branch: {("oidc.circleci.com/vcs-ref",): f"refs/heads/{branch}"}]
    return []


def _places_of_github(one: Asked) -> list[Callable[[str], _Changes]]:
    file = str(one.values.get(_WORKFLOW_REF, "")).partition("@")[0]
    called = str(one.values.get(_JOB_WORKFLOW_REF, "")).partition("@")[0]

    def of_the_run(branch: str) -> _Changes:
        ref = f"refs/heads/{branch}"
        return {("ref",): ref, _REF_PROTECTED: "false", **({_WORKFLOW_REF: f"{file}@{ref}"} if file else {})}

    def of_the_called(branch: str) -> _Changes:
        return {_JOB_WORKFLOW_REF: f"{called}@refs/heads/{branch}"}

    return [of_the_run, of_the_called] if called else [of_the_run]


def _key(asked: Asked, paths: frozenset[Path]) -> str:
    """Return the key that leaves it open, as far as that can be told."""
    draft = asked.draft
    said = (spelled(("claim_patterns", *path)) for path, _ in draft.claim_patterns if path in paths)
    other = "subject_pattern" if draft.subject_pattern is not None else key_of(draft)
    return next(said, "condition" if draft.condition is not None and draft.subject_pattern is None else other)
