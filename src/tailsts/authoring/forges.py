"""GitHub Actions and GitLab CI: what pins a job of a repository. Pure.

Neither subject is looked at. GitHub writes it in two forms, and on both a repository may choose another; the claims say
the same in their own places (and names can be taken over by others, ids cannot).
"""

import re

from tailsts.authoring.sketch import (
    Claims,
    Field,
    Neighbour,
    Pin,
    Said,
    Service,
    Sketch,
    has_texts,
    name_of,
    other,
    pin,
    said,
    text,
    words,
)

_GITHUB = "https://token.actions.githubusercontent.com"
_GITLAB = "https://gitlab.com"
# GitHub itself, an enterprise with a name of its own, data residency, and GitHub Enterprise Server.
_GITHUB_ISSUER = re.compile(
    rf"{re.escape(_GITHUB)}(/[^/]+)?|https://token\.actions\.[a-z0-9-]+\.ghe\.com|https://[^/]+/_services/token"
)
_REPOSITORY = re.compile(r"repo:[^:]+(?=:)")
_OWNER_NAME = r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+"
_REF_FORM = r"refs/(heads|tags|pull)/[^\s]+"
_PULL_REQUESTS = {"pull_request", "pull_request_target", "merge_request_event"}
_REF = "The branch. A list allows several."
_PROTECTED = "Text, not a boolean. Whoever may push past its protection could otherwise change what runs."


def _is_github(claims: Claims) -> bool:
    shape = has_texts(claims, "repository_id", "repository_owner_id", "event_name")
    return shape and _GITHUB_ISSUER.fullmatch(text(claims, "iss")) is not None


def _github(claims: Claims) -> Sketch:
    repository, environment = text(claims, "repository"), text(claims, "environment")
    kept = "The id stays when the name changes, and whoever takes the name over has another."
    event = text(claims, "event_name")
    return Sketch(
        name=name_of(repository, environment or _short_ref(claims)),
        who=words(f"{repository} on GitHub", environment and f"environment {environment}", _short_ref(claims)),
        without_subject="No subject: GitHub writes it in two forms, and repositories choose others. These say who.",
        pins=(
            *pin(claims, "repository_id", f"{repository}. {kept}"),
            *pin(claims, "repository_owner_id", f"{text(claims, 'repository_owner')}. It changes with a transfer."),
            *pin(claims, "environment", "Its rules decide who may deploy. It says nothing of the branch."),
            *_github_ref(claims),
            *pin(claims, "event_name", f'What starts the job. A list allows several, like "schedule".{_never(event)}'),
        ),
        neighbours=(
            Neighbour(
                "another repository under the same name", {("repository_id",): other(text(claims, "repository_id"))}
            ),
            _github_pull_request(claims),
            *_another(claims, "environment"),
            *_another(claims, "ref"),
        ),
        warnings=_warn_of_requests(event),
    )


def _never(event: str) -> str:
    return "" if event == "pull_request_target" else " Never pull_request_target, which strangers can start."


def _github_ref(claims: Claims) -> tuple[Pin, ...]:
    if text(claims, "event_name") in _PULL_REQUESTS:
        return pin(claims, "base_ref", "Into which branch. The code is that of the request, reviewed by nobody yet.")
    if text(claims, "ref_type") == "tag":
        first = pin(claims, "ref_type", "Any tag. What is protected are the tags that a ruleset protects.")
    else:
        first = pin(claims, "ref", _REF)
    return (*first, *_protected(claims))


def _protected(claims: Claims) -> tuple[Pin, ...]:
    return pin(claims, "ref_protected", _PROTECTED) if text(claims, "ref_protected") == "true" else ()


def _github_pull_request(claims: Claims) -> Neighbour:
    if text(claims, "event_name") in _PULL_REQUESTS:
        return Neighbour("a push to the repository", {("event_name",): "push"})
    changes: dict[tuple[str, ...], object] = {
        ("event_name",): "pull_request",
        ("ref",): "refs/pull/7/merge",
        ("ref_protected",): "false",
        ("base_ref",): "main",
    }
    # Of a job with an environment, the subject names that, whatever started it.
    if not text(claims, "environment") and (found := _REPOSITORY.match(text(claims, "sub"))):
        changes["sub",] = f"{found[0]}:pull_request"
    return Neighbour("a pull request to the repository", changes)


def _another(claims: Claims, name: str) -> tuple[Neighbour, ...]:
    value = text(claims, name)
    pinned = value and not (name == "ref" and (text(claims, "ref_type") == "tag" or _is_request(claims)))
    said_as = "branch" if name == "ref" else name
    return (Neighbour(f"another {said_as}", {(name,): other(value)}),) if pinned else ()


def _is_request(claims: Claims) -> bool:
    return not _PULL_REQUESTS.isdisjoint((text(claims, "event_name"), text(claims, "pipeline_source")))


def _short_ref(claims: Claims) -> str:
    if _is_request(claims):
        return "requests"
    return "tags" if text(claims, "ref_type") == "tag" else text(claims, "ref").removeprefix("refs/heads/")


def _warn_of_requests(event: str) -> tuple[str, ...]:
    if event == "pull_request_target":
        return (
            "this trusts pull_request_target, whose job runs with the repository's rights for a stranger's request",
        )
    if event in _PULL_REQUESTS:
        return ("this trusts jobs of requests, whose code nobody has reviewed: allow what anybody may have",)
    return ()


def _github_claims(values: Said) -> Claims:
    repository, branch, environment = values["repo"], values["ref"], values.get("environment", "")
    context = f"environment:{environment}" if environment else f"ref:{branch}"
    into = {"base_ref": branch.removeprefix("refs/heads/")} if values["event"] in _PULL_REQUESTS else {}
    return {
        "iss": values["issuer"],
        "sub": f"repo:{repository}:{context}",
        "repository": repository,
        "repository_owner": repository.partition("/")[0],
        **said(values, {"repo-id": "repository_id", "owner-id": "repository_owner_id", "environment": "environment"}),
        "ref": branch,
        "ref_type": "tag" if branch.startswith("refs/tags/") else "branch",
        "ref_protected": values["ref-protected"],
        "event_name": values["event"],
        **into,
    }


def _github_full_ref(ref: str) -> str:
    if ref.startswith(("heads/", "tags/")):
        return f"refs/{ref}"
    return ref if ref.startswith("refs/") or not ref else f"refs/heads/{ref}"


def _github_lookup(values: Said) -> str:
    return f"gh api repos/{values['repo'] or 'OWNER/NAME'} --jq '.id, .owner.id'"


def _github_default_audiences(claims: Claims) -> tuple[str, ...]:
    return (f"https://github.com/{text(claims, 'repository_owner')}",)


GITHUB = Service(
    name="github",
    title="GitHub Actions",
    recognises=_is_github,
    sketch=_github,
    default_audiences=_github_default_audiences,
    claims=_github_claims,
    lookup=_github_lookup,
    fields=(
        Field("repo", "The repository, like acme/infra.", form=_OWNER_NAME, example="acme/infra"),
        Field("repo-id", "Its id: gh api repos/OWNER/NAME --jq .id", form="[0-9]+", example="456789"),
        Field("owner-id", "Its owner's id: gh api repos/OWNER/NAME --jq .owner.id", form="[0-9]+", example="123456"),
        Field("environment", "The environment that the job names.", ""),
        Field(
            "ref",
            "The branch, or any tag if it begins with refs/tags/.",
            "refs/heads/main",
            form=_REF_FORM,
            example="refs/heads/main",
            meant=_github_full_ref,
        ),
        Field("ref-protected", "Whether it is protected.", "true", ("true", "false")),
        Field("event", "What starts the job.", "push"),
        Field("issuer", "Another issuer: of an enterprise, or of a GitHub Enterprise Server.", _GITHUB),
    ),
)


def _is_gitlab(claims: Claims) -> bool:
    return has_texts(claims, "project_id", "namespace_id", "project_path", "pipeline_source")


def _gitlab(claims: Claims) -> Sketch:
    project, environment = text(claims, "project_path"), text(claims, "environment")
    return Sketch(
        name=name_of(project, environment or _short_ref(claims)),
        who=words(f"{project} on GitLab", environment and f"environment {environment}", _short_ref(claims)),
        without_subject="No subject: it is made of names, and a project can choose another form. These say who.",
        pins=(
            *pin(claims, "project_id", f"{project}. The id stays when the path changes."),
            *pin(claims, "namespace_id", f"{text(claims, 'namespace_path')}. It changes with a transfer."),
            *pin(claims, "job_project_id", "Where the job runs: in a request from a fork, these differ."),
            *pin(claims, "environment", "The environment. It says nothing of the branch."),
            *_gitlab_ref(claims),
        ),
        neighbours=(
            Neighbour("another project under the same path", {("project_id",): other(text(claims, "project_id"))}),
            _gitlab_request(claims),
            *_another(claims, "environment"),
            *_another(claims, "ref"),
        ),
        warnings=(*_warn_of_requests(text(claims, "pipeline_source")), *_warn_of_fork(claims)),
    )


def _gitlab_ref(claims: Claims) -> tuple[Pin, ...]:
    if _is_request(claims):
        return pin(claims, "pipeline_source", "Any merge request. The code is reviewed by nobody yet.")
    if text(claims, "ref_type") == "tag":
        return (*pin(claims, "ref_type", "Any tag that is protected."), *_protected(claims))
    kind = pin(claims, "ref_type", "A tag may have the same name.")
    return (*pin(claims, "ref", _REF), *kind, *_protected(claims))


def _gitlab_request(claims: Claims) -> Neighbour:
    if _is_request(claims):
        return Neighbour("a push to the project", {("pipeline_source",): "push"})
    changes: dict[tuple[str, ...], object] = {
        ("pipeline_source",): "merge_request_event",
        ("ref",): "feature",
        ("ref_type",): "branch",
        ("ref_protected",): "false",
    }
    return Neighbour("a merge request of the project", changes)


def _warn_of_fork(claims: Claims) -> tuple[str, ...]:
    where = text(claims, "job_project_id")
    if where and where != text(claims, "project_id"):
        return ("the token is of a request from another project, a fork: the policy trusts that project",)
    return ()


def _gitlab_claims(values: Said) -> Claims:
    project, branch = values["project"], values["ref"]
    # Since 18.4, which gitlab.com has and others may not have.
    where = {"job_project_id": values["project-id"]} if values["issuer"] == _GITLAB else {}
    return {
        "iss": values["issuer"],
        "sub": f"project_path:{project}:ref_type:branch:ref:{branch}",
        "project_path": project,
        "namespace_path": project.rpartition("/")[0],
        **said(values, {"project-id": "project_id", "namespace-id": "namespace_id", "environment": "environment"}),
        **where,
        "ref": branch,
        "ref_type": "branch",
        "ref_protected": values["ref-protected"],
        "pipeline_source": "push",
    }


def _gitlab_default_audiences(claims: Claims) -> tuple[str, ...]:
    issuer = text(claims, "iss")
    return (issuer, issuer.removeprefix("https://"))


GITLAB = Service(
    name="gitlab",
    title="GitLab CI",
    recognises=_is_gitlab,
    sketch=_gitlab,
    default_audiences=_gitlab_default_audiences,
    claims=_gitlab_claims,
    fields=(
        Field("project", "The project, like acme/infra."),
        Field("project-id", "Its id: on the project's page, or CI_PROJECT_ID.", form="[0-9]+", example="42"),
        Field("namespace-id", "The id of its group or user: CI_PROJECT_NAMESPACE_ID.", form="[0-9]+", example="7"),
        Field("environment", "The environment that the job names.", ""),
        Field("ref", "The branch.", "main"),
        Field("ref-protected", "Whether it is protected.", "true", ("true", "false")),
        Field("issuer", "The instance.", _GITLAB),
    ),
)
