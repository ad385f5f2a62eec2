"""Issuers, asked what they say of themselves and compared with the policies: for `tailsts check --online`.

Asked are the issuers that policies name, and the key sets that these name, within the limits of the service's own
fetching. Nothing else is sent, and nothing of an answer leads anywhere but to the `jwks_uri` that the service would
follow as well.
"""

import asyncio
from collections.abc import Mapping

import msgspec

from tailsts.errors import FileError, KeySetError, OutboundError, StrictJsonError
from tailsts.files import read_bounded
from tailsts.oidc.jwks import LIMITS, refuse_jwks_uri
from tailsts.oidc.keys import KeySet, normalise
from tailsts.oidc.source import Discovery, JwksFile, JwksText, JwksUrl, KeySource, discovery_url, refuse_url
from tailsts.outbound import HTTP_OK, Limits, Outbound
from tailsts.policy.finding import Page, Severity
from tailsts.policy.model import Generation, Policy, Trust
from tailsts.strictjson import decode as decode_json

# So many issuers are asked at once.
CONCURRENT = 8
# An issuer may call itself anything, and what is quoted of it is one line.
_MAX_QUOTED = 300

Document = Mapping[str, object]
_TROUBLE = (OutboundError, KeySetError, FileError)


class Answer(msgspec.Struct, frozen=True):
    """What came of asking: the discovery document and the keys, or else why they could not be had.

    `held` are the keys of a file, where the policies name one: then the others are those of the issuer now.
    """

    document: Document | None = None
    no_document: str = ""
    keys: KeySet | None = None
    no_keys: str = ""
    held: KeySet | None = None


async def judge_online(
    generation: Generation, pages: Mapping[str, Page], limits: Limits = LIMITS, *, extra_roots: tuple[bytes, ...] = ()
) -> None:
    """Ask each issuer that is named, and note on the `pages`, by name of the policy, what does not agree.

    `extra_roots` are certificates (PEM) to trust for each of them.
    """
    trusts = [trust for trust in generation.all_trusts() if trust.issuer.pattern is None]
    turns = asyncio.Semaphore(CONCURRENT)
    for trust in generation.families:
        for policy in trust.policies:
            message = "is a pattern, and which issuers match it is not known before a token comes: none was asked"
            pages[policy.name].note(Severity.ADVICE, "online-pattern", "issuer_pattern", message)

    async def asked(trust: Trust) -> Answer:
        async with turns:
            return await ask(trust.issuer.name, trust.source, limits, extra_roots)

    for trust, answer in zip(trusts, await asyncio.gather(*map(asked, trusts)), strict=True):
        judge_answer(trust, answer, pages)


async def ask(issuer: str, source: KeySource, limits: Limits = LIMITS, extra_roots: tuple[bytes, ...] = ()) -> Answer:
    """Return what the issuer says of itself, and its keys from where `source` says."""
    held = await _held(source)
    ca_pem, allow_http = (
        (source.ca_pem, source.allow_http) if isinstance(source, Discovery | JwksUrl) else (None, False)
    )
    roots = extra_roots if ca_pem is None else (*extra_roots, ca_pem)
    outbound = Outbound(limits, extra_roots=roots, compressed=True)
    document, no_document = None, ""
    try:
        document = await _discover(outbound, issuer, allow_http=allow_http)
    except _TROUBLE as error:
        no_document = str(error)
    try:
        url = source.url if isinstance(source, JwksUrl) else _jwks_uri(document, issuer, allow_http=allow_http)
        keys = None if url is None else normalise(await _get(outbound, url))
    except _TROUBLE as error:
        # Whoever keeps a copy of the keys does not need the issuer.
        return Answer(document, no_document, None, "" if held is not None else str(error), held)
    return Answer(document, no_document, keys, "", held)


def judge_answer(trust: Trust, answer: Answer, pages: Mapping[str, Page]) -> None:
    """Note on the pages of the trust's policies where the answer and they do not agree."""
    first = pages[trust.policies[0].name]
    is_told = not isinstance(trust.source, Discovery)
    if answer.document is None and not is_told:
        first.fault("online-unreachable", "issuer", f"cannot be asked for its keys: {answer.no_document}")
        return
    # Where the keys are is told, so whatever else answers there need not be the issuer.
    named = answer.document is not None and (not is_told or isinstance(answer.document.get("issuer"), str))
    if answer.document is not None and named and not _agrees(trust, answer.document, first):
        return
    keys = answer.keys if answer.held is None else answer.held
    if keys is None:
        key = "jwks_url" if isinstance(trust.source, JwksUrl) else "issuer"
        first.fault("online-keys", key, f"gives no keys: {answer.no_keys}")
        return
    _judge_key_ids(keys, answer, first)
    for policy in trust.policies:
        _judge_algorithms(policy, keys, answer.document, pages[policy.name])


def _agrees(trust: Trust, document: Document, page: Page) -> bool:
    issuer = document.get("issuer")
    if issuer == trust.issuer.name:
        return True
    if isinstance(issuer, str) and issuer.rstrip("/") == trust.issuer.name.rstrip("/"):
        message = "differs by a slash at the end from what the issuer calls itself, so no token matches"
    else:
        message = "is not what the issuer calls itself, so no token matches"
    said = str(issuer)[:_MAX_QUOTED]
    page.fault("online-issuer", "issuer", message, f'its discovery document says "{said}"')
    return False


def _judge_key_ids(keys: KeySet, answer: Answer, page: Page) -> None:
    if not len(keys):
        message = f"has no usable key: {len(keys.dropped)} were dropped"
        page.fault("online-no-key", "issuer", message, "; ".join(sorted({key.reason for key in keys.dropped})[:3]))
    if len(keys.without_id) > 1 or (keys.without_id and keys.by_id):
        message = f"has {len(keys.without_id)} keys without kid beside others: tokens by them cannot be told apart"
        page.note(Severity.ADVICE, "online-key-id", "issuer", message, "have the issuer give each key a kid")
    if answer.held is not None and answer.keys is not None and answer.keys.by_id.keys() - answer.held.by_id.keys():
        message = "lacks keys that the issuer has now, so tokens by them are rejected"
        page.note(Severity.ADVICE, "online-old-file", "jwks_file", message, "copy the key set anew")


def _judge_algorithms(policy: Policy, keys: KeySet, document: Document | None, page: Page) -> None:
    offered = None if document is None else document.get("id_token_signing_alg_values_supported")
    listed = set(offered) if isinstance(offered, list) and all(isinstance(name, str) for name in offered) else None
    fitting = {name for name in policy.algorithms if keys.fitting(name)}
    if len(keys) and not (fitting if listed is None else fitting & listed):
        possible = {name for key in (*keys.by_id.values(), *keys.without_id) for name in key.algorithms}
        signs = sorted(possible if listed is None else possible & listed)
        message = f"has none that the issuer signs with: {', '.join(sorted(policy.algorithms))}"
        page.fault(
            "online-algorithm", "algorithm", message, f"it signs with {', '.join(signs) or 'none that is accepted'}"
        )


async def _discover(outbound: Outbound, issuer: str, *, allow_http: bool) -> Document:
    if reason := refuse_url(issuer, allow_http=allow_http):
        raise KeySetError(reason)
    try:
        document = decode_json(await _get(outbound, discovery_url(issuer)))
    except StrictJsonError as error:
        raise KeySetError(f"the discovery document is {error}") from None
    if not isinstance(document, dict):
        raise KeySetError("the discovery document is no JSON object")
    return document


def _jwks_uri(document: Document | None, issuer: str, *, allow_http: bool) -> str | None:
    """Return where the issuer's keys are. None: there is no document, or it is not this issuer's."""
    if document is None or document.get("issuer") != issuer:
        return None
    url = document.get("jwks_uri")
    if not isinstance(url, str):
        raise KeySetError("the discovery document names no jwks_uri")
    if reason := refuse_jwks_uri(issuer, url, allow_http=allow_http):
        raise KeySetError(f"the discovery document names a jwks_uri that is refused: {reason}")
    return url


async def _held(source: KeySource) -> KeySet | None:
    match source:
        case JwksFile(path=path):
            return normalise(await asyncio.to_thread(read_bounded, path, LIMITS.body, refuse_world_writable=True))
        case JwksText(text=text):
            return normalise(text)
        case _:
            return None


async def _get(outbound: Outbound, url: str) -> bytes:
    response = await outbound.get(url)
    if response.status != HTTP_OK:
        raise KeySetError(f"the answer to {url} has the status {response.status}")
    return response.body
