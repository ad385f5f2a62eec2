"""POST / over real sockets: every status with its header fields, and what never reaches the exchange."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fakes.deployment import Deployment, deployed
from fakes.raw import RawConnection
from fakes.service import Answer

MAX_BODY = 16 * 1024
MAX_TOKEN = 16 * 1024
BODY = b'{"scopes": ["dns:read"]}'
TEXT = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
# What the HTTP server adds to every answer of its own accord.
OF_THE_TRANSPORT = {"server", "date", "content-length", "connection"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return the service with its neighbours; no test here changes it."""
    with deployed(tmp_path_factory.mktemp("contract")) as site:
        yield site


@dataclass(frozen=True)
class Case:
    """A request, as bytes, and what must come of it. TOKEN in a field stands for a good token."""

    status: int
    reason: str
    body: bytes = BODY
    fields: tuple[bytes, ...] = (b"Authorization: Bearer TOKEN", b"Content-Type: application/json")
    method: bytes = b"POST"
    target: bytes = b"/"
    chunked: bool = False
    extra: tuple[tuple[str, str], ...] = ()

    def message(self, token: str) -> bytes:
        """Return the request."""
        length = b"Transfer-Encoding: chunked" if self.chunked else b"Content-Length: %d" % len(self.body)
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.body), self.body) if self.chunked else self.body
        fields = (field.replace(b"TOKEN", token.encode()) for field in self.fields)
        return b"\r\n".join([b"%s %s HTTP/1.1" % (self.method, self.target), b"Host: sts", *fields, length, b"", body])


def ask(site: Deployment, message: bytes, *, without_body: bool = False) -> Answer:
    """Send a request on a connection of its own; return the answer."""
    with RawConnection(site.service.port) as connection:
        connection.send([message])
        answer = connection.read(without_body=without_body)
    assert answer is not None
    return answer


def settle(site: Deployment) -> None:
    """Wait until the events of all requests so far are written: they are, when that of a further one is."""
    site.service.event_of(ask(site, Case(200, "").message(site.issuer.token())))


def own_headers(answer: Answer) -> dict[str, str]:
    """Return the header fields that the service is responsible for."""
    named = {name.lower(): value for name, value in answer.headers.items()}
    return {name: value for name, value in named.items() if name not in OF_THE_TRANSPORT}


def scopes(*values: object) -> bytes:
    """Return a body that asks for these."""
    return json.dumps({"scopes": values}).encode()


def authorization(*values: bytes) -> tuple[bytes, ...]:
    """Return header fields with these Authorization fields."""
    return (*(b"Authorization: " + value for value in values), b"Content-Type: application/json")


def content_type(*values: bytes) -> tuple[bytes, ...]:
    """Return header fields with a good token and these content types."""
    return (b"Authorization: Bearer TOKEN", *(b"Content-Type: " + value for value in values))


GRANTED = {
    "usual": Case(200, "granted"),
    "without content type": Case(200, "granted", fields=content_type()),
    "content type with charset": Case(200, "granted", fields=content_type(b'Application/JSON; charset="UTF-8"')),
    "chunked": Case(200, "granted", chunked=True),
    "chunked and as large as may be": Case(200, "granted", BODY.ljust(MAX_BODY), chunked=True),
    "as large as may be": Case(200, "granted", BODY.ljust(MAX_BODY)),
    "a scope twice": Case(200, "granted", scopes("dns:read", "dns:read")),
    "a query": Case(200, "granted", target=b"/?a=b"),
    **{
        f"scheme {scheme.decode()}": Case(200, "granted", fields=authorization(scheme + b" TOKEN"))
        for scheme in (b"bearer", b"BEARER", b"bEaReR")
    },
}

BAD_BODIES = {
    "empty": ("bad_json", b""),
    "text": ("bad_json", b"scopes"),
    "broken off": ("bad_json", BODY[:-1]),
    "trailing object": ("bad_json", BODY + b"{}"),
    "trailing bracket": ("bad_json", BODY + b"]"),
    "trailing NUL": ("bad_json", BODY + b"\0"),
    "leading BOM": ("bad_json", b"\xef\xbb\xbf" + BODY),
    "UTF-16": ("bad_json", BODY.decode().encode("utf-16")),
    "not UTF-8": ("bad_json", b'{"scopes": ["\xff"]}'),
    "raw NUL": ("bad_json", b'{"scopes": ["dns\0"]}'),
    "lone surrogate": ("bad_json", rb'{"scopes": ["\ud800"]}'),
    "lone surrogate as a name": ("bad_json", rb'{"scopes": ["dns:read"], "\udfff": 1}'),
    "scopes twice": ("bad_json", b'{"scopes": ["dns:read"], "scopes": ["all"]}'),
    "NaN": ("bad_json", b'{"scopes": [NaN]}'),
    "5000 digits": ("bad_json", b'{"scopes": [%s]}' % (b"1" * 5000)),
    "deep": ("bad_json", b'{"scopes": %s%s}' % (b"[" * 5000, b"]" * 5000)),
    "SCOPES": ("bad_shape", b'{"SCOPES": ["dns:read"]}'),
    "SCOPES beside scopes": ("bad_shape", b'{"scopes": ["dns:read"], "SCOPES": ["all"]}'),
    "another member": ("bad_shape", b'{"scopes": ["dns:read"], "tag": []}'),
    "list": ("bad_shape", b'["dns:read"]'),
    "null": ("bad_shape", b"null"),
    "scopes as text": ("bad_shape", b'{"scopes": "dns:read"}'),
    "scopes as null": ("bad_shape", b'{"scopes": null}'),
    "scopes as object": ("bad_shape", b'{"scopes": {"dns:read": true}}'),
    "no scopes": ("missing_scopes", b"{}"),
    "empty scopes": ("missing_scopes", scopes()),
    "101 scopes": ("too_many_scopes", scopes(*(f"s{number}" for number in range(101)))),
    "an empty scope": ("bad_scope", scopes("")),
    "two scopes in one": ("bad_scope", scopes("dns:read all")),
    "two scopes with a comma": ("bad_scope", scopes("dns:read,all")),
    "a quote": ("bad_scope", scopes('dns"')),
    "escaped NUL": ("bad_scope", scopes("dns\0")),
    "a line feed": ("bad_scope", scopes("dns\n")),
    "beyond ASCII": ("bad_scope", scopes("dnś")),
    "a number": ("bad_scope", scopes(1)),
    "a list": ("bad_scope", scopes(["dns:read"])),
    "an overlong scope": ("bad_scope", scopes("a" * 129)),
}

CHALLENGE = (("www-authenticate", "Bearer"),)
BAD_HEADERS = {
    "no authorization": Case(401, "no_authorization", fields=(), extra=CHALLENGE),
    **{
        name: Case(401, "bad_authorization", fields=authorization(*values), extra=CHALLENGE)
        for name, values in {
            "two": (b"Bearer TOKEN", b"Bearer TOKEN"),
            "two of two kinds": (b"Bearer TOKEN", b"Basic eDp5"),
            "basic": (b"Basic eDp5",),
            "no scheme": (b"TOKEN",),
            "scheme alone": (b"Bearer",),
            "two blanks": (b"Bearer  TOKEN",),
            "a tab": (b"Bearer\tTOKEN",),
            "two tokens": (b"Bearer TOKEN TOKEN",),
            "two in one": (b"Bearer TOKEN, Bearer TOKEN",),
        }.items()
    },
    **{
        name: Case(415, "content_type", fields=content_type(*values))
        for name, values in {
            "form": (b"application/x-www-form-urlencoded",),
            "text": (b"text/plain",),
            "other charset": (b"application/json; charset=utf-16",),
            "almost": (b"application/json5",),
            "empty": (b"",),
            "not ASCII": (b"text/pl\xe4in",),
            "json and then text": (b"application/json", b"text/plain"),
        }.items()
    },
    "body too large": Case(413, "body_too_large", BODY.ljust(MAX_BODY + 1)),
    "chunked body too large": Case(413, "body_too_large", BODY.ljust(MAX_BODY + 1), chunked=True),
    "10,000 scopes": Case(413, "body_too_large", scopes(*(f"s{number}" for number in range(10_000)))),
    "token too long": Case(431, "token_too_long", fields=authorization(b"Bearer " + b"a" * (MAX_TOKEN + 1))),
    "token of dots": Case(431, "token_too_long", fields=authorization(b"Bearer " + b"." * 60_000)),
    **{
        method.decode(): Case(405, "method", method=method, extra=(("allow", "POST"),))
        for method in (b"GET", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"BREW")
    },
}
REFUSED = {
    **{name: Case(400, reason, body) for name, (reason, body) in BAD_BODIES.items()},
    **BAD_HEADERS,
}


@pytest.mark.parametrize("name", GRANTED)
def test_granted(site: Deployment, name: str) -> None:
    """A proper request is answered with Tailscale's token and nothing else, and with one audit event."""
    answer = ask(site, GRANTED[name].message(site.issuer.token()))
    assert answer.status == 200
    assert own_headers(answer) == {**TEXT, "x-decision-id": answer.headers["X-Decision-Id"]}
    assert answer.text.startswith("tskey-api-k")
    assert answer.text.endswith("CNTRL-dns:read")
    event = site.service.event_of(answer)
    assert (event["outcome"], event["reason"], event["granted_scopes"]) == ("granted", "granted", ["dns:read"])


@pytest.mark.parametrize("name", REFUSED)
def test_h02_h03_h04_not_an_exchange(site: Deployment, name: str) -> None:
    """H-02, H-03, H-04: what is no proper request is a 4xx with its fields, one audit event, and no call upstream."""
    case = REFUSED[name]
    asked = len(site.tailscale.requests)
    answer = ask(site, case.message(site.issuer.token()))
    decision = answer.headers["X-Decision-Id"]
    assert answer.status == case.status
    assert own_headers(answer) == {**TEXT, "x-decision-id": decision, **dict(case.extra)}
    assert answer.text.endswith(f" (decision {decision})\n")
    assert answer.text.count("\n") == 1
    event = site.service.event_of(answer)
    assert (event["outcome"], event["reason"]) == ("malformed", case.reason)
    assert len(site.tailscale.requests) == asked


def test_missing_scopes_are_named(site: Deployment) -> None:
    """A request without scopes is told so in these words."""
    answer = ask(site, Case(400, "", b"{}").message(site.issuer.token()))
    assert answer.text == f"missing scopes (decision {answer.headers['X-Decision-Id']})\n"


def test_head_has_no_body(site: Deployment) -> None:
    """H-04: HEAD is answered like GET, without the text, and changes nothing."""
    with RawConnection(site.service.port) as connection:
        connection.send([Case(405, "", b"", method=b"HEAD").message(site.issuer.token())])
        answer = connection.read(without_body=True)
        assert answer is not None
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        connection.send([Case(200, "").message(site.issuer.token())])
        after = connection.read()
    assert after is not None
    assert after.status == 200


@pytest.mark.parametrize("name", ["access_token", "token", "Authorization", "bearer"])
def test_h02_a_token_in_the_query(site: Deployment, name: str) -> None:
    """H-02: a token in the URL is never read, and never written down."""
    token = site.issuer.token()
    target = f"/?{name}={token}".encode()
    answer = ask(site, Case(401, "", target=target, fields=()).message(token))
    assert answer.status == 401
    assert site.service.event_of(answer)["reason"] == "no_authorization"
    assert token.split(".")[2] not in site.service.audit_log.read_text() + site.service.log.read_text()


@pytest.mark.parametrize("target", [b"/x", b"//", b"/token", b"/..", b"/metrics", b"/readyz", b"*"])
def test_there_is_one_door(site: Deployment, target: bytes) -> None:
    """Nothing but POST / is an exchange: other paths are not found, whatever they bring."""
    settle(site)
    asked, events = len(site.tailscale.requests), len(site.service.events())
    answer = ask(site, Case(404, "", target=target).message(site.issuer.token()))
    assert (answer.status, answer.text, own_headers(answer)) == (404, "not found\n", TEXT)
    settle(site)
    assert len(site.service.events()) == events + 1
    assert len(site.tailscale.requests) == asked + 1


def test_keep_alive_and_pipelining(site: Deployment) -> None:
    """Requests on one connection, sent at once, are answered in their order, each with its own scopes."""
    wanted = ["dns:read", "devices:core:read", "policy_file", "users", "dns:read"] * 10
    token = site.issuer.token()
    with RawConnection(site.service.port) as connection:
        connection.send([b"".join(Case(200, "", scopes(scope)).message(token) for scope in wanted)])
        answers = [connection.read() for _ in wanted]
    shown = [answer.text.rpartition("-")[2] if answer and answer.status == 200 else "denied" for answer in answers]
    assert shown == [scope if scope != "users" else "denied" for scope in wanted]


def test_each_answer_has_one_event(site: Deployment) -> None:
    """Every request of a mixed lot leaves exactly one event, under the decision id of its answer."""
    settle(site)
    before = len(site.service.events())
    cases = [*GRANTED.values(), *REFUSED.values()]
    answers = [ask(site, case.message(site.issuer.token())) for case in cases]
    settle(site)
    events = site.service.events()[before:-1]
    assert [event["decision"] for event in events] == [answer.headers["X-Decision-Id"] for answer in answers]
    assert len({event["decision"] for event in events}) == len(cases)


def test_no_header_of_a_caller_goes_upstream(site: Deployment) -> None:
    """CVE-2026-4525: nothing of the caller's header fields is sent to Tailscale."""
    fields = (b"Authorization: Bearer TOKEN", b"Cookie: a=b", b"X-Forwarded-For: 10.0.0.1", b"User-Agent: mine")
    answer = ask(site, Case(200, "", fields=fields).message(site.issuer.token()))
    assert answer.status == 200
    sent = site.tailscale.requests[-1].headers
    assert sent == {
        "accept": "application/json",
        "authorization": sent["authorization"],
        "content-length": str(len(site.tailscale.requests[-1].body)),
        "content-type": "application/x-www-form-urlencoded",
        "host": f"localhost:{site.tailscale.port}",
        "user-agent": "tailsts",
    }
    assert sent["authorization"].startswith("Basic ")
    assert site.service.event_of(answer)["user_agent"] == "mine"


def test_the_audit_log_is_of_lines(site: Deployment) -> None:
    """L-02: whatever was sent until here, each event is one line of ASCII."""
    settle(site)
    raw = site.service.audit_log.read_bytes()
    assert raw.isascii()
    assert all(json.loads(line)["event"] == "exchange" for line in raw.splitlines())
