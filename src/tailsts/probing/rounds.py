"""One round of probes: all of them, one after the other, in the order of their file."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from tailsts.probing.asking import Server
from tailsts.probing.judge import Came, NotAsked, Result, fault_of
from tailsts.probing.plan import Probe
from tailsts.probing.tokens import TokenError, Tokens, tampered

Clock = Callable[[], float]


class Prober:
    """Asks servers, each made by `connect`. `monotonic` measures how long that takes, `clock` says when it is."""

    def __init__(
        self,
        probes: Sequence[Probe],
        connect: Callable[[], Server],
        environment: Mapping[str, str],
        monotonic: Clock,
        clock: Clock,
    ) -> None:
        self._probes = probes
        self._connect = connect
        self._environment = environment
        self._monotonic = monotonic
        self._clock = clock

    def results(self) -> Iterator[Result]:
        """Run all probes, and yield what came of each."""
        # Anew each time: name, address and certificate may be others than they were, and that is to be seen.
        server, tokens = self._connect(), Tokens(self._environment)
        for probe in self._probes:
            yield self._result(probe, server, tokens)

    def _result(self, probe: Probe, server: Server, tokens: Tokens) -> Result:
        begun = self._monotonic()
        try:
            token = tokens.of(probe.token)
        except TokenError as error:
            return Result(probe, NotAsked(str(error)), 0.0, str(error))
        came: Came = server.ask(tampered(token) if probe.tampered else token, probe.wanted)
        seconds = self._monotonic() - begun
        return Result(probe, came, seconds, fault_of(probe, came, token.reveal(), self._clock()))
