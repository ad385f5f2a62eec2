"""What `tailsts explain` says of a request: read as the service reads it, judged as the service judges it."""

from collections.abc import Mapping, Sequence

import msgspec

from tailsts.cli.explaining import NOT_VERIFIED, Told
from tailsts.cli.judging import Policies
from tailsts.cli.signed import verified_under
from tailsts.credentials import Secret
from tailsts.oidc.rejected import Rejected
from tailsts.oidc.token import UnverifiedToken, decode
from tailsts.outcome import Malformed
from tailsts.policy.asked import Unfit, read_wanted
from tailsts.policy.decide import Wanted
from tailsts.policy.explain import Case, Explanation, explain, usual_algorithm
from tailsts.policy.model import Generation
from tailsts.policy.unsigned import unsigned
from tailsts.server.wire import MAX_BODY_LENGTH, bearer_token, too_large

DEFAULT_LIFETIME = 300

_ENCODER = msgspec.json.Encoder()


class Claimed(msgspec.Struct, frozen=True):
    """Claims that no token has, in the form of one."""

    token: UnverifiedToken


Asked = UnverifiedToken | Claimed | Rejected | Unfit


def of_token(text: str) -> Asked:
    """Return what the text of a token is read as."""
    bearer = bearer_token([f"Bearer {text}"], None, None)
    return decode(bearer.reveal()) if isinstance(bearer, Secret) else _unfit(bearer)


def of_claims(claims: Mapping[str, object], algorithm: str | None, generation: Generation, now: float) -> Asked:
    """Return what a token with these claims would be read as. iat and exp are added, and the usual algorithm."""
    claims = {"iat": int(now), "exp": int(now) + DEFAULT_LIFETIME, **claims}
    issuer = claims.get("iss")
    trusts = generation.trusts_of(issuer) if isinstance(issuer, str) else ()
    asked = of_token(unsigned(claims, algorithm or usual_algorithm(trusts)))
    return Claimed(asked) if isinstance(asked, UnverifiedToken) else asked


def of_request(scopes: Sequence[str], tags: Sequence[str], policy: str | None) -> Wanted | Unfit:
    """Return what a request for these is read as."""
    asked: dict[str, object] = {"scopes": list(scopes), "tags": list(tags)}
    if policy is not None:
        asked["policy"] = policy
    return _unfit(too_large()) if len(_ENCODER.encode(asked)) > MAX_BODY_LENGTH else read_wanted(asked)


def tell(
    policies: Policies, asked: Asked, wanted: Wanted | Unfit, now: float, roots: tuple[bytes, ...] | None = None
) -> Told:
    """Say what the service would. With `roots`, certificates to trust, keys are fetched and agents asked as it does."""
    match asked, wanted:
        case (Unfit() as unfit, _) | (_, Unfit() as unfit):
            # The header is read before the body, and both before the token.
            return Told(explain(policies.generation, Case({}, "", unfit, now)))
        case (Rejected() as rejected, _):
            return Told(Explanation(rejected, "", ()))
        case (Claimed(token=token), _):
            # Claims alone have no signature that could be missed.
            return Told(explain(policies.generation, _case(token, wanted, now), {}, policies.trusted))
        case (UnverifiedToken() as token, _):
            case = _case(token, wanted, now)
            if roots is not None:
                return verified_under(policies, token, case, roots)
            return Told(explain(policies.generation, case, {}, policies.trusted), NOT_VERIFIED)


def _case(token: UnverifiedToken, wanted: Wanted | Unfit, now: float) -> Case:
    return Case(token.unverified_claims, token.algorithm, wanted, now)


def _unfit(malformed: Malformed) -> Unfit:
    return Unfit(malformed.reason, malformed.message)
