"""Whether code that nobody reviewed can meet a policy: pull requests, any branch, any workflow. Pure."""

import itertools

from tailsts.policy.claims import Path, Scalar
from tailsts.policy.finding import Page, Severity
from tailsts.policy.judging.known_ci import GITHUB, GITLAB
from tailsts.policy.judging.supposed import Asked
from tailsts.policy.judging.who import key_of

_ENVIRONMENT: Path = ("environment",)
_EVENT: Path = ("event_name",)
_REF: Path = ("ref",)
_REF_PROTECTED: Path = ("ref_protected",)
_SOURCE: Path = ("pipeline_source",)
_WORKFLOW: Path = ("workflow",)
_WORKFLOW_REF: Path = ("workflow_ref",)
_JOB_WORKFLOW_REF: Path = ("job_workflow_ref",)

_BRANCH = "refs/heads/kumquat-zq"
_MERGE = "refs/pull/90210/merge"
# All three run what the pull request holds.
_PULL_EVENTS = ("pull_request", "pull_request_review", "pull_request_review_comment")
# If none of these passes beside it, an author who names pull requests means them.
_OTHER_EVENTS = ("push", "workflow_dispatch", "schedule", "merge_group", "release", "pull_request_target")
_OTHER_SOURCES = ("push", "web", "schedule", "trigger", "api")


def judge_branches(asked: Asked, page: Page) -> None:
    """Note what can be done from a branch that is anybody's."""
    if asked.draft.any_subject and not asked.draft.asks_who():
        return
    if asked.provider is GITHUB:
        _judge_pull_requests(asked, page)
        _judge_environment(asked, page)
        _judge_workflow_name(asked, page)
        _judge_workflow_branch(asked, page)
    elif asked.provider is GITLAB:
        _judge_gitlab(asked, page)


def _judge_pull_requests(asked: Asked, page: Page) -> None:
    each = asked.each()
    if _means_pull_requests(each):
        return
    key = key_of(asked.draft)
    if any(map(_takes_pull_request, each)):
        message = "is met by workflows of pull requests, whose code nobody has reviewed"
        advice = "pin environment or ref in [claims], or a subject that ends in one"
        page.note(Severity.SECURITY, "pull-request", key, message, advice)
    elif any(map(_takes_pull_request_target, each)):
        message = "is met by workflows on pull_request_target, which may run code of strangers"
        page.note(Severity.ADVICE, "pull-request-target", key, message, 'pin event_name in [claims], like "push"')


def _means_pull_requests(each: tuple[Asked, ...]) -> bool:
    """Return whether the author says so: pull requests are named, and nothing else passes."""
    named = any(
        one.values.get(_EVENT) == "pull_request" or (one.subject or "").endswith(":pull_request") for one in each
    )
    others = itertools.product(each, _OTHER_EVENTS, (":ref:", ":environment:"))
    return named and not any(one.takes_changed({_EVENT: event}, form=form) for one, event, form in others)


def _takes_pull_request(one: Asked) -> bool:
    named = str(one.values.get(_REF, ""))
    refs = (_MERGE, named) if named.startswith("refs/pull/") else (_MERGE,)
    return any(
        one.takes_changed(_run_at(one, ref, event), frozenset({_ENVIRONMENT}), ":pull_request")
        for ref, event in itertools.product(refs, _PULL_EVENTS)
    )


def _takes_pull_request_target(one: Asked) -> bool:
    if _ENVIRONMENT in one.values:
        return False
    ref = str(one.values.get(_REF, ""))
    base = ref if ref.startswith("refs/heads/") else "refs/heads/main"
    return one.takes_changed({_EVENT: "pull_request_target", _REF: base}, form=":ref:")


def _judge_environment(asked: Asked, page: Page) -> None:
    if any(
        _ENVIRONMENT in one.values and one.takes_changed(_run_at(one, _BRANCH, None), form=":environment:")
        for one in asked.each()
    ):
        message = "says an environment and no branch: where GitHub does not protect it, every branch can use it"
        advice = 'pin ref, or ref_protected = "true", in [claims], and limit the environment\'s deployment branches'
        page.note(Severity.ADVICE, "environment-branch", key_of(asked.draft), message, advice)


def _judge_workflow_name(asked: Asked, page: Page) -> None:
    if _WORKFLOW in asked.values and not {_WORKFLOW_REF, _JOB_WORKFLOW_REF} & asked.values.keys():
        message = "is free text, which every workflow of the repository can have as its name"
        page.note(
            Severity.ADVICE, "workflow-name", "claims.workflow", message, "pin workflow_ref, the file and its branch"
        )


def _judge_workflow_branch(asked: Asked, page: Page) -> None:
    for path in (_WORKFLOW_REF, _JOB_WORKFLOW_REF):
        if any(_takes_workflow_of_any_branch(one, path) for one in asked.each()):
            message = "takes the workflow from any branch, where anybody who can push may have changed it"
            advice = r"end it in the branch or tag, like @refs/heads/main"
            page.note(Severity.SECURITY, "workflow-branch", f"claim_patterns.{path[0]}", message, advice)


def _takes_workflow_of_any_branch(one: Asked, path: Path) -> bool:
    file, at, _ = str(one.values.get(path, "")).partition("@")
    elsewhere: dict[Path, Scalar] = {path: f"{file}@{_BRANCH}"}
    if path == _WORKFLOW_REF:
        elsewhere |= {_REF: _BRANCH, _REF_PROTECTED: "false"}
    return bool(at) and one.takes_changed(elsewhere)


def _judge_gitlab(asked: Asked, page: Page) -> None:
    each = asked.each()
    named = any(one.values.get(_SOURCE) == "merge_request_event" for one in each)
    others = itertools.product(each, _OTHER_SOURCES)
    if named and not any(one.takes_changed({_SOURCE: source}) for one, source in others):
        # The branch of a request is hardly ever protected, and it is what the author says.
        return
    if any(one.takes_changed({_REF_PROTECTED: "false"}) for one in each):
        message = "is met by every branch, also by those to which every developer can push"
        if _REF in asked.values:
            message = "does not ask whether the branch is protected: if it is not, every developer can push to it"
        advice = 'add ref_protected = "true" to [claims]'
        page.note(Severity.ADVICE, "unprotected-branch", key_of(asked.draft), message, advice)


def _run_at(asked: Asked, ref: str, event: str | None) -> dict[Path, Scalar]:
    """Return what is other about a run of the same workflow at `ref`."""
    changes: dict[Path, Scalar] = {_REF: ref, _REF_PROTECTED: "false"}
    if event is not None:
        changes[_EVENT] = event
    file, at, _ = str(asked.values.get(_WORKFLOW_REF, "")).partition("@")
    if at:
        changes[_WORKFLOW_REF] = f"{file}@{ref}"
    return changes
