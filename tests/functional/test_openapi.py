"""The service against its description, openapi.yaml: what that allows, what it forbids, and how each is answered."""

import http.client
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fakes.deployment import Deployment, deployed
from fakes.pages import ROOT, read, rows, section
from fakes.raw import RawConnection

SCHEMA = schemathesis.openapi.from_path(ROOT / "openapi.yaml")
DOCUMENT: dict[str, Any] = SCHEMA.raw_schema
OPERATIONS = {
    f"{method.upper()} {path}": (path, method)
    for path, item in DOCUMENT["paths"].items()
    for method in item
    if method in {"get", "head", "post"}
}
CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    not_a_server_error,
]
# The same each time: what is found here can be found again.
bounded = settings(
    max_examples=150,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with its neighbours; no test here changes it."""
    with deployed(tmp_path_factory.mktemp("openapi")) as site:
        yield site


def cases(operation: str, mode: GenerationMode) -> st.SearchStrategy[Case[Any]]:
    """Return requests of an operation: as the document says, or not so in one way."""
    path, method = OPERATIONS[operation]
    return SCHEMA[path][method].as_strategy(generation_mode=mode)


def ask(site: Deployment, case: Case[Any], token: str | None, checks: list[Any]) -> int:
    """Send a request, with a token or with none, see that the answer is as the document says, return its status."""
    admin = case.path in {"/readyz", "/metrics"}
    address = f"http://127.0.0.1:{site.service.ports['admin' if admin else 'public']}"
    headers = None if token is None else {"Authorization": f"Bearer {token}"}
    response = case.call(base_url=address, headers=headers, timeout=30)
    case.validate_response(response, checks=checks, headers=headers)
    return response.status_code


@pytest.mark.timeout(180)
def test_what_the_document_allows(site: Deployment) -> None:
    """Every body that the document allows is read: it is granted, or refused by the policy, and never malformed."""
    token = site.issuer.token()
    statuses: set[int] = set()

    @bounded
    @given(cases("POST /", GenerationMode.POSITIVE))
    def check(case: Case[Any]) -> None:
        statuses.add(ask(site, case, token, [*CONFORMANCE, positive_data_acceptance]))

    check()
    assert statuses <= {200, 403}
    assert 403 in statuses


@pytest.mark.timeout(180)
def test_what_the_document_forbids(site: Deployment) -> None:
    """Every body that the document forbids is refused in a way that it names, and nothing is minted for it."""
    token = site.issuer.token()
    before = site.tailscale.count("/api/v2/oauth/token")
    statuses: dict[bool, list[int]] = {True: [], False: []}

    @bounded
    @given(cases("POST /", GenerationMode.NEGATIVE))
    def check(case: Case[Any]) -> None:
        assert case.meta is not None
        # What is wrong may also be in the header fields: no token, or more fields than anybody asked for.
        is_bad = case.meta.components[ParameterLocation.BODY].mode.is_negative
        statuses[is_bad].append(ask(site, case, token, [*CONFORMANCE, negative_data_rejection]))

    check()
    assert {400} == set(statuses[True])
    assert {401} <= set(statuses[False]) <= {200, 401, 403}
    assert site.tailscale.count("/api/v2/oauth/token") - before == statuses[False].count(200)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("bearer", [None, "a.b.c", "x"])
def test_without_a_good_token(site: Deployment, bearer: str | None) -> None:
    """Whatever is asked for, allowed or not: without a good token it is no."""

    @settings(bounded, max_examples=20)
    @given(cases("POST /", GenerationMode.POSITIVE))
    def check(case: Case[Any]) -> None:
        case.headers.pop("Authorization", None)
        assert ask(site, case, bearer, CONFORMANCE) == 401

    check()


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - {"POST /"}))
def test_the_other_routes(site: Deployment, operation: str) -> None:
    """Each other route answers as the document says, on its port."""

    @settings(bounded, max_examples=5)
    @given(cases(operation, GenerationMode.POSITIVE))
    def check(case: Case[Any]) -> None:
        assert ask(site, case, None, CONFORMANCE) == 200

    check()


@pytest.mark.parametrize("path", sorted(DOCUMENT["paths"]))
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"])
def test_other_methods(site: Deployment, path: str, method: str) -> None:
    """A method that the document does not name gets a 405 with the methods that there are; HEAD goes with GET."""
    item = DOCUMENT["paths"][path]
    named = {name.upper() for name in item} | ({"HEAD"} if "get" in item else set())
    if method in named:
        return
    answer = site.service.request(method, path, admin=path in {"/readyz", "/metrics"})
    allowed = "POST" if "post" in item else "GET, HEAD"
    assert (405, allowed) == (answer.status, answer.headers["Allow"])


def test_statuses_are_those_of_the_reference() -> None:
    """The statuses of the exchange are those of the table in docs/http.md, and a bug's."""
    documented = {int(row[0]) for row in rows(section(read("docs/http.md"), "POST /"))}
    described = {int(status) for status in DOCUMENT["paths"]["/"]["post"]["responses"]}
    assert documented | {http.client.INTERNAL_SERVER_ERROR} == described


def test_every_answer_of_the_exchange_is_described(site: Deployment) -> None:
    """Answers that no generator comes to, of too much and of nothing, are as the document says as well."""
    good = site.issuer.token()
    fields = {
        413: f"Authorization: Bearer {good}\r\nContent-Length: 99999",
        415: f"Authorization: Bearer {good}\r\nContent-Type: text/xml\r\nContent-Length: 2",
        431: f"Authorization: Bearer {'a' * 17_000}\r\nContent-Length: 2",
    }
    for status, lines in fields.items():
        with RawConnection(site.service.port) as connection:
            connection.send([f"POST / HTTP/1.1\r\nHost: sts\r\n{lines}\r\n\r\n{{}}".encode()])
            answer = connection.read()
        assert answer is not None
        assert status == answer.status
        described = DOCUMENT["paths"]["/"]["post"]["responses"][str(status)]["headers"]
        assert all(name in answer.headers for name in described)
