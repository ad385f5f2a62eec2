"""What is known of the tokens that jobs get from CI services, as their own documentation describes them. Pure data.

All values are made up, and odd on purpose: no policy names them by accident.
"""

import re

from tailsts.policy.claims import Path
from tailsts.policy.judging.providers import STRANGE_UUID, UUID, Provider, SubjectForm, paths, texts

_TRUTH = (re.compile("true|false"), 'it is "true" or "false"')
_EVENT = (re.compile("[a-z_]+"), "events are in lower case, like push")
_REF_TYPE = (re.compile("branch|tag"), "it is branch or tag")

_GITHUB: dict[Path, object] = {
    **texts(
        "actor actor_id base_ref check_run_id enterprise enterprise_id event_name head_ref "
        "job_workflow_ref job_workflow_sha jti ref ref_protected ref_type repository repository_id repository_owner "
        "repository_owner_id repository_visibility run_attempt run_id run_number runner_environment sha workflow "
        "workflow_ref workflow_sha"
    ),
    ("repository",): "walnut-zq/kumquat",
    ("repository_owner",): "walnut-zq",
    ("ref",): "refs/heads/main",
    ("event_name",): "workflow_dispatch",
}
# Repositories may put further claims behind the usual part, by name. A name of another kind is none.
_GITHUB_REST = rf"(?::(?:environment|repo_property_[^:]+|{'|'.join(path[0] for path in _GITHUB)}):[^:]+)"

GITHUB = Provider(
    name="GitHub Actions",
    issuers=re.compile(
        r"https://token\.actions\.githubusercontent\.com(/[^/]+)?|https://token\.actions\.[^./]+\.ghe\.com"
        r"|https://[^/]+/_services/token"
    ),
    samples=(
        "https://token.actions.githubusercontent.com/walnut-kumquat",
        "https://token.actions.walnut-kumquat.ghe.com",
        "https://token.actions.githubusercontent.com",
    ),
    claims=_GITHUB,
    optional=texts("environment"),
    prefixes=("repo_property_",),
    subject=re.compile(
        r"repo:(?:(?P<repository>[^/@:]+/[^/@:]+)|(?P<owner>[^/@:]+)@(?P<owner_id>\d+)/(?P<repo>[^/@:]+)@(?P<repo_id>\d+))"
        r":(?:ref:(?P<ref>[^:]+)|environment:(?P<environment>(?:[^:%]|%3A)+)|pull_request)(?P<rest>:.+)?"
    ),
    beginning=re.compile(
        r"repo:(?:(?P<repository>[^/@:]+/[^/@:]+)|(?P<owner>[^/@:]+)@(?P<owner_id>\d+)/(?P<repo>[^/@:]+)@(?P<repo_id>\d+))"
    ),
    usual="repo:OWNER/REPO:, or another claim that the repository was told to put there",
    parts={"repo": "kumquat"},
    named={
        "repository": ("repository",),
        "owner": ("repository_owner",),
        "owner_id": ("repository_owner_id",),
        "repo_id": ("repository_id",),
        "ref": ("ref",),
        "environment": ("environment",),
    },
    forms=tuple(
        who + what
        for who in ("repo:{repository}", "repo:{owner}@{owner_id}/{repo}@{repo_id}")
        for what in (":ref:{ref}", ":environment:{environment}", ":pull_request")
    ),
    chosen=paths(
        "base_ref environment event_name head_ref ref ref_protected ref_type repository_visibility run_attempt "
        "run_number runner_environment workflow"
    ),
    weak={
        ("actor",): "whoever it names can start a workflow in any repository",
        ("actor_id",): "whoever it names can start a workflow in any repository",
        ("job_workflow_ref",): "every repository that may call this workflow passes",
        ("job_workflow_sha",): "every repository that may call this workflow passes",
        ("sha",): "every fork has the same commits",
    },
    chosen_parts=frozenset({"repo"}),
    claim_forms={
        ("ref",): (
            re.compile(r"refs/(heads|tags|pull)/.+"),
            "it is the whole name, like refs/heads/main, refs/tags/v1 or refs/pull/7/merge",
        ),
        ("ref_protected",): _TRUTH,
        ("ref_type",): _REF_TYPE,
        ("event_name",): _EVENT,
        ("repository",): (re.compile(r"[^/]+/[^/]+"), "it is OWNER/REPO"),
        ("repository_owner",): (re.compile(r"[^/]+"), "it is the owner alone; repository is OWNER/REPO"),
    },
    ids=paths("repository_id repository_owner_id actor_id enterprise_id"),
    says=(
        SubjectForm(
            re.compile(r"repo:[^:]+:ref:[^:]+"),
            "a job without an environment, and not of a pull request",
            {("environment",): None, ("event_name",): re.compile(r"(?!pull_request\Z).+")},
        ),
        SubjectForm(re.compile(r"repo:[^:]+:ref:refs/heads/[^:]+"), "a branch", {("ref_type",): re.compile("branch")}),
        SubjectForm(re.compile(r"repo:[^:]+:ref:refs/tags/[^:]+"), "a tag", {("ref_type",): re.compile("tag")}),
        SubjectForm(
            re.compile(r"repo:[^:]+:pull_request"),
            "a pull request, in a job without an environment",
            {("environment",): None, ("event_name",): re.compile(r"pull_request(_review(_comment)?)?")},
        ),
    ),
    colon="%3A",
    unspelt=re.compile(rf"repo:[^:]+:environment:[^:]+(?!{_GITHUB_REST}+\Z):.+"),
    id_advice="pin repository_id and repository_owner_id in [claims]; a sub with ids is "
    "repo:OWNER@OWNER_ID/REPO@REPO_ID:..., which repositories have that are new since July 2026",
)

GITLAB = Provider(
    name="GitLab",
    issuers=re.compile(r"https://gitlab\.com"),
    samples=("https://gitlab.com",),
    claims=texts(
        "ci_config_ref_uri ci_config_sha deployment_tier environment environment_action environment_protected "
        "job_id job_namespace_id job_namespace_path job_project_id job_project_path job_source jti namespace_id "
        "namespace_path pipeline_id pipeline_source project_id project_path project_visibility ref ref_path "
        "ref_protected ref_type runner_environment sha user_access_level user_email user_id user_login"
    )
    | {
        ("project_path",): "walnut-zq/kumquat",
        ("ref",): "main",
        ("ref_type",): "branch",
        ("runner_id",): 9021,
        ("groups_direct",): [],
        ("user_identities",): [],
    },
    subject=re.compile(
        r"project_path:(?P<project>[^:]+):ref_type:(?P<type>branch|tag):ref:(?P<ref>[^:]+)(?P<rest>:.+)?"
    ),
    beginning=re.compile(r"project_path:(?P<project>[^:]+)"),
    usual="project_path:GROUP/PROJECT:, or another claim that the project was told to put there",
    named={"project": ("project_path",), "type": ("ref_type",), "ref": ("ref",)},
    forms=("project_path:{project}:ref_type:{type}:ref:{ref}",),
    chosen=paths(
        "deployment_tier environment environment_action environment_protected job_source pipeline_source "
        "project_visibility ref ref_path ref_protected ref_type runner_environment user_access_level"
    ),
    weak=dict.fromkeys(
        paths("user_id user_login user_email sha"), "whoever it names can start a pipeline in any project"
    ),
    claim_forms={
        ("ref",): (
            re.compile(r"(?!refs/(heads|tags)/).+"),
            "it is the bare name, like main; ref_path is the whole one",
        ),
        ("ref_path",): (re.compile(r"refs/.+"), "it is the whole name, like refs/heads/main"),
        ("ref_protected",): _TRUTH,
        ("ref_type",): _REF_TYPE,
        ("pipeline_source",): _EVENT,
        ("project_path",): (re.compile(r"[^/]+(/[^/]+)+"), "it is GROUP/PROJECT"),
    },
    ids=paths("project_id namespace_id job_project_id job_namespace_id user_id"),
    id_advice="pin project_id and namespace_id in [claims]",
)

BUILDKITE = Provider(
    name="Buildkite",
    issuers=re.compile(r"https://agent\.buildkite\.com"),
    samples=("https://agent.buildkite.com",),
    claims=texts(
        "agent_id build_branch build_commit build_id build_source build_tag cluster_id cluster_name job_id "
        "organization_id organization_slug pipeline_id pipeline_slug queue_id queue_key runner_environment step_key"
    )
    | {("build_number",): 9021, ("build_branch",): "main"},
    prefixes=("agent_tag:",),
    subject=re.compile(
        r"organization:(?P<organization>[^:]+):pipeline:(?P<pipeline>[^:]+):ref:(?P<ref>[^:]+)"
        r":commit:(?P<commit>[^:]+):step:(?P<step>[^:]*)"
    ),
    beginning=re.compile(r"organization:(?P<organization>[^:]+)(?::pipeline:(?P<pipeline>[^:]+))?"),
    usual="organization:ORG:pipeline:PIPELINE:..., or an id",
    parts={"ref": "refs/heads/main", "commit": "60303ae22b998861bce3b28f33eec1be758a213c", "step": "zq"},
    named={"organization": ("organization_slug",), "pipeline": ("pipeline_slug",)},
    forms=("organization:{organization}:pipeline:{pipeline}:ref:{ref}:commit:{commit}:step:{step}",),
    chosen=paths(
        "build_branch build_number build_source build_tag cluster_name queue_key runner_environment step_key "
        "pipeline_slug"
    ),
    chosen_parts=frozenset({"ref", "commit", "step"}),
    ids=paths("organization_id pipeline_id cluster_id queue_id"),
    id_advice="pin organization_id and pipeline_id in [claims]; the agent adds them with --claim",
    subject_is_id=re.compile(UUID),
    fleeting=re.compile(r".*:commit:[0-9a-f]{40}:.*"),
)

_CIRCLECI = "oidc.circleci.com/"
_CIRCLECI_NAMES = {
    "org": (f"{_CIRCLECI}org-id",),
    "project": (f"{_CIRCLECI}project-id",),
    "origin": (f"{_CIRCLECI}vcs-origin",),
    "ref": (f"{_CIRCLECI}vcs-ref",),
}
CIRCLECI = Provider(
    name="CircleCI",
    issuers=re.compile(rf"https://oidc\.circleci\.com(/org/{UUID})?"),
    samples=(f"https://oidc.circleci.com/org/{STRANGE_UUID}", "https://oidc.circleci.com"),
    claims=dict.fromkeys(
        [(_CIRCLECI + name,) for name in ("org-id", "project-id", "job-id", "workflow-id", "pipeline-id")]
        + [(f"{_CIRCLECI}pipeline-definition-id",)],
        STRANGE_UUID,
    )
    | {
        (f"{_CIRCLECI}context-ids",): [],
        (f"{_CIRCLECI}ssh-rerun",): False,
        (f"{_CIRCLECI}vcs-origin",): "github.com/walnut-zq/kumquat",
        (f"{_CIRCLECI}vcs-ref",): "refs/heads/main",
    },
    subject=re.compile(
        r"org/(?P<org>[^/]+)/project/(?P<project>[^/]+)/user/(?P<user>[^/]+)"
        r"(?:/vcs-origin/(?P<origin>.+)/vcs-ref/(?P<ref>.+))?"
    ),
    usual="org/ORG-ID/project/PROJECT-ID/user/USER-ID",
    parts={"user": STRANGE_UUID},
    named=_CIRCLECI_NAMES,
    forms=(
        "org/{org}/project/{project}/user/{user}",
        "org/{org}/project/{project}/user/{user}/vcs-origin/{origin}/vcs-ref/{ref}",
    ),
    chosen=frozenset({(f"{_CIRCLECI}ssh-rerun",), _CIRCLECI_NAMES["ref"]}),
    weak={_CIRCLECI_NAMES["origin"]: "another organization may build the same repository"},
)

TERRAFORM = Provider(
    name="HCP Terraform",
    issuers=re.compile(r"https://app\.terraform\.io"),
    samples=("https://app.terraform.io",),
    claims=texts(
        "jti terraform_full_workspace terraform_organization_id terraform_organization_name terraform_project_id "
        "terraform_project_name terraform_run_id terraform_run_phase terraform_workspace_id terraform_workspace_name"
    )
    | {("terraform_run_phase",): "apply"},
    subject=re.compile(
        r"organization:(?P<organization>[^:]+):project:(?P<project>[^:]+):workspace:(?P<workspace>[^:]+)"
        r":run_phase:(?P<phase>[^:]+)"
    ),
    beginning=re.compile(r"organization:(?P<organization>[^:]+)(?::project:(?P<project>[^:]+))?"),
    usual="organization:ORG:project:PROJECT:workspace:WORKSPACE:run_phase:PHASE",
    named={
        "organization": ("terraform_organization_name",),
        "project": ("terraform_project_name",),
        "workspace": ("terraform_workspace_name",),
        "phase": ("terraform_run_phase",),
    },
    forms=("organization:{organization}:project:{project}:workspace:{workspace}:run_phase:{phase}",),
    chosen=paths("terraform_project_name terraform_run_phase terraform_workspace_name"),
    ids=paths("terraform_organization_id terraform_project_id terraform_workspace_id"),
    id_advice="pin terraform_organization_id and terraform_workspace_id in [claims]",
)

BITBUCKET = Provider(
    name="Bitbucket Pipelines",
    issuers=re.compile(r"https://api\.bitbucket\.org/2\.0/workspaces/[^/]+/pipelines-config/identity/oidc"),
    samples=("https://api.bitbucket.org/2.0/workspaces/walnut-zq/pipelines-config/identity/oidc",),
    claims=texts(
        "branchName deploymentEnvironmentUuid pipelineUuid repositoryUuid stepUuid workspaceUuid", f"{{{STRANGE_UUID}}}"
    ),
    subject=re.compile(r"(?P<repository>\{[^:]+\})(?::(?P<environment>\{[^:]+\}))?:(?P<step>\{[^:]+\})"),
    usual="{REPOSITORY-UUID}:{STEP-UUID}",
    only=True,
    named={"repository": ("repositoryUuid",), "environment": ("deploymentEnvironmentUuid",), "step": ("stepUuid",)},
    forms=("{repository}:{step}", "{repository}:{environment}:{step}"),
    chosen=paths("branchName"),
    fleeting=re.compile(r"\{[^:]+\}(:\{[^:]+\}){1,2}"),
)
