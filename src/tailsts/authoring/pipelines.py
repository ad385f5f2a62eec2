"""Buildkite, CircleCI, HCP Terraform and Bitbucket Pipelines: what pins a run. Pure."""

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

_BUILDKITE = "https://agent.buildkite.com"
_CIRCLECI = "https://oidc.circleci.com"
_TERRAFORM = "https://app.terraform.io"
_BITBUCKET_ISSUER = re.compile(r"https://api\.bitbucket\.org/2\.0/workspaces/[^/]+/pipelines-config/identity/oidc")
_CIRCLECI_ISSUER = re.compile(rf"{re.escape(_CIRCLECI)}(/org/[^/]+)?")


def _changed(claims: Claims, name: str, what: str) -> tuple[Neighbour, ...]:
    value = text(claims, name)
    return (Neighbour(f"another {what}", {(name,): other(value)}),) if value else ()


def _is_buildkite(claims: Claims) -> bool:
    return text(claims, "iss") == _BUILDKITE and has_texts(claims, "organization_slug", "pipeline_slug")


def _buildkite(claims: Claims) -> Sketch:
    organization, pipeline = text(claims, "organization_slug"), text(claims, "pipeline_slug")
    branch = text(claims, "build_branch")
    return Sketch(
        name=name_of(pipeline, branch),
        who=words(f"the pipeline {organization}/{pipeline} on Buildkite", branch),
        without_subject="No subject: it holds the commit, which is another one each time. These say who.",
        pins=(*_buildkite_who(claims), *pin(claims, "build_branch", "The branch. A list allows several.")),
        neighbours=(
            *(_changed(claims, "organization_id", "organization under the same name")),
            *_buildkite_neighbours(claims),
            *_changed(claims, "build_branch", "branch"),
        ),
        warnings=_buildkite_warnings(claims),
    )


def _buildkite_who(claims: Claims) -> tuple[Pin, ...]:
    organization, pipeline = text(claims, "organization_slug"), text(claims, "pipeline_slug")
    by_id = pin(claims, "organization_id", f"{organization}. The id stays when the name changes.")
    pipeline_by_id = pin(claims, "pipeline_id", f"{pipeline}. The id stays when the name changes.")
    return (
        *(by_id or pin(claims, "organization_slug", "A name, which others can take over once it is free.")),
        *(pipeline_by_id or pin(claims, "pipeline_slug", "A name, which can be given to another pipeline.")),
    )


def _buildkite_neighbours(claims: Claims) -> tuple[Neighbour, ...]:
    by_id = text(claims, "organization_id")
    pipeline = "pipeline_id" if text(claims, "pipeline_id") else "pipeline_slug"
    return (
        *(() if by_id else _changed(claims, "organization_slug", "organization")),
        *_changed(claims, pipeline, "pipeline"),
    )


def _buildkite_warnings(claims: Claims) -> tuple[str, ...]:
    if has_texts(claims, "organization_id", "pipeline_id"):
        return ()
    return ("the token does not have both ids: buildkite-agent oidc request-token --claim organization_id,pipeline_id",)


def _buildkite_claims(values: Said) -> Claims:
    organization, pipeline, branch = values["organization"], values["pipeline"], values["branch"]
    commit = "9f3182061f1e2cca4702c368cbc039b7dc9d4485"
    return {
        "iss": _BUILDKITE,
        "sub": f"organization:{organization}:pipeline:{pipeline}:ref:refs/heads/{branch}:commit:{commit}:step:deploy",
        "organization_slug": organization,
        "pipeline_slug": pipeline,
        "build_branch": branch,
        **said(values, {"organization-id": "organization_id", "pipeline-id": "pipeline_id"}),
    }


BUILDKITE = Service(
    name="buildkite",
    title="Buildkite",
    recognises=_is_buildkite,
    sketch=_buildkite,
    default_audiences=lambda claims: (f"https://buildkite.com/{text(claims, 'organization_slug')}",),
    claims=_buildkite_claims,
    fields=(
        Field("organization", "The organization's name in URLs."),
        Field("organization-id", "Its id. Jobs ask for the claim: --claim organization_id,pipeline_id."),
        Field("pipeline", "The pipeline's name in URLs."),
        Field("pipeline-id", "Its id."),
        Field("branch", "The branch.", "main"),
    ),
)


def _is_circleci(claims: Claims) -> bool:
    known = _CIRCLECI_ISSUER.fullmatch(text(claims, "iss")) is not None
    return known and has_texts(claims, _circleci("org-id"), _circleci("project-id"))


def _circleci(name: str) -> str:
    return f"oidc.circleci.com/{name}"


def _circleci_sketch(claims: Claims) -> Sketch:
    origin = text(claims, _circleci("vcs-origin"))
    ref = text(claims, _circleci("vcs-ref")).removeprefix("refs/heads/")
    return Sketch(
        name=name_of(origin.rpartition("/")[2] or "circleci", ref),
        who=words(f"the project of {origin or 'an unnamed repository'} on CircleCI", ref),
        without_subject="No subject: it holds the user who started the job. These say who.",
        pins=(
            *pin(claims, _circleci("org-id"), "The organization."),
            *pin(claims, _circleci("project-id"), f"The project{' of ' + origin if origin else ''}."),
            *pin(claims, _circleci("vcs-origin"), "Where the code is from: of a fork, it is another repository."),
            *pin(claims, _circleci("vcs-ref"), "The branch. A list allows several."),
            *pin(
                claims,
                _circleci("ssh-rerun"),
                "A boolean. In a job that was started again with SSH, somebody has a shell.",
            ),
        ),
        neighbours=(
            *_changed(claims, _circleci("project-id"), "project"),
            *_changed(claims, _circleci("org-id"), "organization"),
            *_changed(claims, _circleci("vcs-origin"), "repository: a fork"),
            *_changed(claims, _circleci("vcs-ref"), "branch"),
        ),
        warnings=_warn_of_shell(claims),
    )


def _warn_of_shell(claims: Claims) -> tuple[str, ...]:
    if claims.get(_circleci("ssh-rerun")) is True:
        return ("the token is of a job that was started again with SSH: the policy trusts only those",)
    return ()


def _circleci_claims(values: Said) -> Claims:
    organization, project = values["org-id"], values["project-id"]
    user = "00000000-0000-4000-8000-000000000000"
    return {
        "iss": f"{_CIRCLECI}/org/{organization}",
        "sub": f"org/{organization}/project/{project}/user/{user}",
        _circleci("org-id"): organization,
        _circleci("project-id"): project,
        **said(values, {"vcs-origin": _circleci("vcs-origin"), "vcs-ref": _circleci("vcs-ref")}),
        _circleci("ssh-rerun"): False,
    }


CIRCLECI = Service(
    name="circleci",
    title="CircleCI",
    recognises=_is_circleci,
    sketch=_circleci_sketch,
    default_audiences=lambda claims: (text(claims, _circleci("org-id")),),
    claims=_circleci_claims,
    fields=(
        Field("org-id", "The organization's id: Organization Settings, Overview."),
        Field("project-id", "The project's id: Project Settings, Overview."),
        Field("vcs-origin", "The repository, like github.com/acme/infra."),
        Field("vcs-ref", "The branch.", "refs/heads/main"),
    ),
)


def _is_terraform(claims: Claims) -> bool:
    return has_texts(claims, "terraform_organization_id", "terraform_workspace_id", "terraform_run_phase")


def _terraform(claims: Claims) -> Sketch:
    workspace, phase = text(claims, "terraform_workspace_name"), text(claims, "terraform_run_phase")
    return Sketch(
        name=name_of(workspace, phase),
        who=f"{phase} in the workspace {workspace} of HCP Terraform",
        without_subject="No subject: it is made of names, which can change hands. These say who.",
        pins=(
            *pin(claims, "terraform_organization_id", f"{text(claims, 'terraform_organization_name')}."),
            *pin(claims, "terraform_workspace_id", f"{workspace}. The id stays when the name changes."),
            *pin(claims, "terraform_run_phase", "A plan runs code that nobody has approved."),
        ),
        neighbours=(
            *_changed(claims, "terraform_workspace_id", "workspace under the same name"),
            *_changed(claims, "terraform_organization_id", "organization under the same name"),
            Neighbour("the other phase", {("terraform_run_phase",): "apply" if phase == "plan" else "plan"}),
        ),
    )


def _terraform_claims(values: Said) -> Claims:
    organization, workspace, phase = values["organization"], values["workspace"], values["run-phase"]
    return {
        "iss": values["issuer"],
        "sub": f"organization:{organization}:project:Default Project:workspace:{workspace}:run_phase:{phase}",
        "terraform_organization_name": organization,
        "terraform_workspace_name": workspace,
        "terraform_run_phase": phase,
        **said(values, {"organization-id": "terraform_organization_id", "workspace-id": "terraform_workspace_id"}),
    }


TERRAFORM = Service(
    name="hcp-terraform",
    title="HCP Terraform",
    recognises=_is_terraform,
    sketch=_terraform,
    claims=_terraform_claims,
    fields=(
        Field("organization", "The organization's name."),
        Field("organization-id", "Its id: org-..."),
        Field("workspace", "The workspace's name."),
        Field("workspace-id", "Its id: ws-..."),
        Field("run-phase", "The phase of the run.", "apply", ("plan", "apply")),
        Field("issuer", "Of a Terraform Enterprise: its URL.", _TERRAFORM),
    ),
)


def _is_bitbucket(claims: Claims) -> bool:
    known = _BITBUCKET_ISSUER.fullmatch(text(claims, "iss")) is not None
    return known and has_texts(claims, "workspaceUuid", "repositoryUuid")


def _bitbucket(claims: Claims) -> Sketch:
    workspace = text(claims, "iss").split("/")[5]
    branch = text(claims, "branchName")
    return Sketch(
        name=name_of("bitbucket", workspace, branch),
        who=words(f"a repository of {workspace} on Bitbucket", branch),
        without_subject="No subject: it holds the step, which is another one each time. These say who.",
        pins=(
            *pin(claims, "workspaceUuid", f"{workspace}. Braces and all."),
            *pin(claims, "repositoryUuid", "The repository: it stays when the name changes."),
            *pin(claims, "deploymentEnvironmentUuid", "The deployment environment."),
            *pin(claims, "branchName", "The branch. A list allows several."),
        ),
        neighbours=(
            *_changed(claims, "repositoryUuid", "repository"),
            *_changed(claims, "workspaceUuid", "workspace under the same name"),
            *_changed(claims, "deploymentEnvironmentUuid", "environment"),
            *_changed(claims, "branchName", "branch"),
        ),
    )


def _bitbucket_claims(values: Said) -> Claims:
    step = "{00000000-0000-4000-8000-000000000000}"
    names = {"workspace-uuid": "workspaceUuid", "repository-uuid": "repositoryUuid", "branch": "branchName"}
    return {
        "iss": f"https://api.bitbucket.org/2.0/workspaces/{values['workspace']}/pipelines-config/identity/oidc",
        "sub": f"{values['repository-uuid']}:{step}",
        **said(values, {**names, "environment-uuid": "deploymentEnvironmentUuid"}),
    }


BITBUCKET = Service(
    name="bitbucket",
    title="Bitbucket Pipelines",
    recognises=_is_bitbucket,
    sketch=_bitbucket,
    default_audiences=lambda claims: (f"ari:cloud:bitbucket::workspace/{text(claims, 'workspaceUuid').strip('{}')}",),
    claims=_bitbucket_claims,
    fields=(
        Field("workspace", "The workspace's name in URLs."),
        Field("workspace-uuid", "Its UUID, in braces: Repository settings, OpenID Connect."),
        Field("repository-uuid", "The repository's UUID, in braces."),
        Field("environment-uuid", "The deployment environment's UUID, in braces.", ""),
        Field("branch", "The branch.", "main"),
    ),
)
