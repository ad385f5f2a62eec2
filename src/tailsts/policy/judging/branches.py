"""Whether code that nobody reviewed can meet a policy: pull requests, any branch, any workflow. Pure."""

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
    key = key_of(asked.draft)
    if asked.values.get(_EVENT) == "pull_request" or (asked.draft.subject or "").endswith(":pull_request"):
        # It is what the author says.
        return
    if asked.takes_changed(_run_at(asked, _MERGE, "pull_request"), frozenset({_ENVIRONMENT}), ":pull_request"):
        message = "is met by workflows of pull requests, whose code nobody has reviewed"
        advice = "pin environment or ref in [claims], or a subject that ends in one"
        page.note(Severity.SECURITY, "pull-request", key, message, advice)
    elif _ENVIRONMENT not in asked.values:
        ref = str(asked.values.get(_REF, ""))
        base = ref if ref.startswith("refs/heads/") else "refs/heads/main"
        if asked.takes_changed({_EVENT: "pull_request_target", _REF: base}, form=":ref:"):
            message = "is met by workflows on pull_request_target, which may run code of strangers"
            page.note(Severity.ADVICE, "pull-request-target", key, message, 'pin event_name in [claims], like "push"')


def _judge_environment(asked: Asked, page: Page) -> None:
    if _ENVIRONMENT not in asked.values:
        return
    if asked.takes_changed(_run_at(asked, _BRANCH, None), form=":environment:"):
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
        file, at, _ = str(asked.values.get(path, "")).partition("@")
        if not at:
            continue
        elsewhere: dict[Path, Scalar] = {path: f"{file}@{_BRANCH}"}
        if path == _WORKFLOW_REF:
            elsewhere |= {_REF: _BRANCH, _REF_PROTECTED: "false"}
        if asked.takes_changed(elsewhere):
            message = "takes the workflow from any branch, where anybody who can push may have changed it"
            advice = r"end it in the branch or tag, like @refs/heads/main"
            page.note(Severity.SECURITY, "workflow-branch", f"claim_patterns.{path[0]}", message, advice)


def _judge_gitlab(asked: Asked, page: Page) -> None:
    if asked.values.get(_SOURCE) == "merge_request_event":
        # The branch of a request is hardly ever protected, and it is what the author says.
        return
    if asked.takes_changed({_REF_PROTECTED: "false"}):
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
