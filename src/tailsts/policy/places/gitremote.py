"""A git repository behind http: what its remote says is current, and the objects of that.

git's protocol is dulwich's; every request goes through `outbound`, with its size, its deadline and no redirect. So
nothing of git's own settings, its credential helpers, proxies or the environment has a part in it, and a token goes
to the address that was configured and to no other.
"""

import asyncio
import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from dulwich.client import AbstractHttpGitClient
from dulwich.errors import GitProtocolError
from dulwich.object_store import ObjectStoreGraphWalker
from dulwich.refs import Ref, check_ref_format

from tailsts.credentials import Secret
from tailsts.errors import OutboundError, RepositoryError
from tailsts.outbound import HTTP_OK, Limits, Outbound, Response
from tailsts.policy.places.gitobject import MAX_OBJECT_BYTES, GitError
from tailsts.policy.places.gitpack import Find, unpack

# The newest commit of a repository of policies is a megabyte or two; beyond this it is another kind of repository.
MAX_FETCHED_BYTES = 64 * 1024 * 1024
# All requests of one fetch together.
FETCH_SECONDS = 30.0
CONNECT_SECONDS = 5.0
LIMITS = Limits(connect=CONNECT_SECONDS, total=FETCH_SECONDS, body=MAX_FETCHED_BYTES)

_HEX = frozenset("0123456789abcdef")
_NAME_LENGTH = 40
_MAX_SAID = 200
_SERVICE = "git-upload-pack"


class Fetched(msgspec.Struct, frozen=True):
    """What the remote says is current, and how to find its objects, which it need not give if that is known."""

    tip: bytes
    find: Find


def names_of(ref: str) -> list[bytes]:
    """Return the full names that `ref` may stand for, the first of them that is there wins: branches before tags.

    Raises:
        RepositoryError: it can be no name.
    """
    names = [ref] if ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
    encoded = [name.encode() for name in names]
    if not all(check_ref_format(Ref(name)) for name in encoded):
        raise RepositoryError(f"{ref!a} can be no branch, tag or commit")
    return encoded


def is_commit_id(ref: str) -> bool:
    """Return whether `ref` is the full name of a commit, which never means anything else."""
    return len(ref) == _NAME_LENGTH and set(ref) <= _HEX


def choose(refs: Mapping[bytes, bytes], ref: str) -> bytes:
    """Return the object that `ref` stands for, among those that the repository has.

    Raises:
        RepositoryError: it has none of that name, or it is none of git's usual names.
    """
    if is_commit_id(ref):
        return ref.encode()
    for name in names_of(ref):
        if name in refs:
            if not is_commit_id(refs[name].decode("latin-1")):
                raise RepositoryError("the repository names its objects by SHA-256, which is not supported")
            return refs[name]
    raise RepositoryError(f"the repository has no branch or tag {ref!a}")


def fetch(
    url: str,
    ref: str,
    known: bytes | None,
    *,
    credential: Secret | None,
    extra_roots: tuple[bytes, ...],
    monotonic: Callable[[], float],
    limits: Limits = LIMITS,
) -> Fetched:
    """Ask the remote what is current at `ref`, and fetch that alone, without its history, unless it is `known`.

    `credential` is `user:token`; the total of `limits` is for all requests together. Blocks; not to be called where an
    event loop runs.

    Raises:
        RepositoryError: it cannot be had. Never quotes the credential, and what the remote says only if it is short.
    """
    client = _Client(url, credential, extra_roots, monotonic, limits)
    try:
        return client.newest(ref, known)
    except RepositoryError:
        raise
    except GitError as error:
        raise RepositoryError(f"the repository cannot be used: {error}") from None
    except Exception as error:  # noqa: BLE001 - what dulwich raises on answers that are not git's is not written down
        said = str(error) if isinstance(error, GitProtocolError) else type(error).__name__
        raise RepositoryError(f"the remote does not answer as git does: {_shown(said, credential)}") from None


def _shown(said: str, credential: Secret | None) -> str:
    text = said[:_MAX_SAID]
    if credential is not None:
        for secret in (credential.reveal(), credential.reveal().partition(":")[2], _basic(credential)):
            # A remote may quote what it did not like.
            if secret in said:
                return "it quotes the credential"
    return text if text.isprintable() else ascii(text)


def _basic(credential: Secret) -> str:
    return base64.b64encode(credential.reveal().encode()).decode()


class _Answer:
    """What dulwich asks of an answer beside its bytes. Its kind is the one that was asked for, or reading it fails."""

    redirect_location = ""

    def __init__(self, content_type: str) -> None:
        self.content_type = content_type

    def close(self) -> None:
        """Do nothing: it was read whole."""


class _Client(AbstractHttpGitClient):
    """dulwich's client, with our way to send requests."""

    def __init__(
        self,
        url: str,
        credential: Secret | None,
        extra_roots: tuple[bytes, ...],
        monotonic: Callable[[], float],
        limits: Limits,
    ) -> None:
        super().__init__(url, thin_packs=False)
        self._credential = credential
        self._extra_roots = extra_roots
        self._monotonic = monotonic
        self._limits = limits
        self._deadline = monotonic() + limits.total
        self._allowed = (f"{self._base_url}info/refs?service={_SERVICE}", f"{self._base_url}{_SERVICE}")

    def newest(self, ref: str, known: bytes | None) -> Fetched:
        """Return what is current at `ref`, with its objects unless it is `known`."""
        tips: list[bytes] = []

        def wants(refs: Mapping[bytes, bytes], depth: int | None = None) -> list[Any]:
            del depth
            tips.append(choose(refs, ref))
            return [] if tips[-1] == known else [tips[-1]]

        prefixes = [b"HEAD"] if is_commit_id(ref) else names_of(ref)
        pack = bytearray()
        self._fetch_objects(wants, pack, prefixes)
        objects = {} if tips[-1] == known else unpack(bytes(pack))
        return Fetched(tips[-1], objects.__getitem__)

    def _fetch_objects(self, wants: Any, pack: bytearray, prefixes: Sequence[bytes]) -> None:  # noqa: ANN401 - dulwich's
        def take(data: bytes) -> int:
            pack.extend(data)
            return len(data)

        def fetch_pack(depth: int | None) -> None:
            walker = ObjectStoreGraphWalker([], lambda _: [])
            left_out = b"blob:limit=%d" % (MAX_OBJECT_BYTES + 1)
            self.fetch_pack("", wants, walker, take, depth=depth, ref_prefix=prefixes, filter_spec=left_out)

        try:
            fetch_pack(depth=1)
        except GitProtocolError as error:
            # Raised before anything is fetched.
            if "shallow" not in str(error) or pack:
                raise
            fetch_pack(depth=None)

    @staticmethod
    def _warn_filter_objects() -> None:
        """Say nothing: a remote that leaves out no large files is as good."""

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,  # noqa: ARG002, FBT001, FBT002 - dulwich's
    ) -> tuple[Any, Callable[[int], bytes]]:
        if url not in self._allowed:
            # A remote may say that a pack is to be had elsewhere.
            raise RepositoryError("the remote leads to another address, which is not followed")
        sent = dict(headers or {})
        # Set by the client itself.
        sent.pop("Content-Length", None)
        if self._credential is not None:
            sent["Authorization"] = f"Basic {_basic(self._credential)}"
        body = data if data is None or isinstance(data, bytes) else b"".join(data)
        response = asyncio.run(self._send(url, sent, body))
        _refuse(response.status)
        kind = f"application/x-{_SERVICE}-{'advertisement' if body is None else 'result'}"
        return _Answer(kind), io.BytesIO(response.body).read

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        left = self._deadline - self._monotonic()
        outbound = Outbound(self._limits, extra_roots=self._extra_roots, headers=headers)
        try:
            async with asyncio.timeout(left):
                return await (outbound.get(url) if body is None else outbound.post(url, body))
        except TimeoutError:
            raise RepositoryError("the remote does not answer in time") from None
        except OutboundError as error:
            said = "does not answer in time" if error.kind == "timeout" else f"cannot be reached: {error}"
            raise RepositoryError(f"the remote {said}") from None


def _refuse(status: int) -> None:
    """Raise what a status means that is not 200."""
    if status == HTTP_OK:
        return
    reasons = {
        301: "it has moved: give its new address",
        302: "it leads to another address, which is not followed",
        307: "it leads to another address, which is not followed",
        308: "it has moved: give its new address",
        401: "it wants a token, or another one",
        403: "the token may not read it",
        404: "there is no repository at this address, or the token may not see it",
    }
    reason = reasons.get(status, "it cannot be read now")
    raise RepositoryError(f"the remote answers {status}: {reason}")
