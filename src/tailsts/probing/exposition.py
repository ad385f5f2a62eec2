"""The last round of probes as Prometheus reads it (text format). Pure."""

from collections.abc import Callable, Iterable, Iterator

from tailsts.probing.judge import Result, Round


def exposition(done: Round) -> str:
    """Return the metrics."""
    results = done.results
    return "".join(
        [
            *_family("tailsts_probe_success", "1 if it came out as expected.", _each(results, _success)),
            *_family("tailsts_probe_status", "The HTTP status, 0 if there was none.", _each(results, _status)),
            *_family("tailsts_probe_duration_seconds", "How long the exchange took.", _each(results, _seconds)),
            *_family("tailsts_probe_last_run_timestamp_seconds", "When the last round ended.", [("", done.ended)]),
        ]
    )


def _success(result: Result) -> float:
    return 0.0 if result.fault else 1.0


def _status(result: Result) -> float:
    return float(result.status)


def _seconds(result: Result) -> float:
    return round(result.seconds, 6)


def _each(results: Iterable[Result], value: Callable[[Result], float]) -> Iterator[tuple[str, float]]:
    for result in results:
        yield f'{{probe="{_label(result.probe.name)}"}}', value(result)


def _family(name: str, about: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP {name} {about}\n# TYPE {name} gauge\n"
    for labels, value in samples:
        yield f"{name}{labels} {value}\n"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
