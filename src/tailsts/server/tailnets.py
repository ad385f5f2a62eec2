"""The token endpoints of all tailnets, each with its own credential, and secrets that are followed as they change."""

from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial

import structlog

from tailsts.server.settings import Settings
from tailsts.tailscale.secret_file import Kept, News, Renewed, SecretFile, follow
from tailsts.tailscale.token_endpoint import Credential, TokenEndpoint


class Tailnets:
    """One endpoint for each tailnet that the settings name. `monotonic` gives seconds."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._log = structlog.get_logger()
        self.endpoints: Mapping[str, TokenEndpoint] = {
            name: TokenEndpoint(
                Credential(tailnet.client_id, tailnet.client_secret, tailnet.token_url),
                extra_roots=settings.extra_roots,
                monotonic=monotonic,
            )
            for name, tailnet in settings.tailnets.items()
        }

    def follow(self) -> Iterator[Coroutine[None, None, None]]:
        """Yield what follows each secret that is in a file, for as long as it is let run."""
        for name, tailnet in self._settings.tailnets.items():
            if tailnet.client_secret_file is not None:
                endpoint = self.endpoints[name]
                file = SecretFile(tailnet.client_secret_file, tailnet.client_secret)
                yield follow(file, endpoint.adopt, partial(self._say, name), doubted=endpoint.doubted)

    def _say(self, tailnet: str, news: News) -> None:
        match news:
            case Renewed():
                self._log.info("the client secret was renewed", tailnet=tailnet)
            case Kept(reason=reason):
                self._log.error(f"the file of the client secret {reason}: the old one is kept", tailnet=tailnet)
            case _:
                self._log.info("the file of the client secret can be read again", tailnet=tailnet)
