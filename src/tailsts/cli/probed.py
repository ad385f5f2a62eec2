"""What came of probes, as lines for people, as JSON, and as JUnit XML."""

from collections.abc import Iterator
from xml.etree import ElementTree as ET  # written here, never read

from tailsts.audit import timestamp
from tailsts.cli.explaining import printable
from tailsts.probing.judge import Result, Round, Said


def lines(done: Round) -> list[str]:
    """Return a line for each probe, one for each fault, and one for all."""
    width = max(len(printable(result.probe.name)) for result in done.results)
    said = [line for result in done.results for line in _lines(result, width)]
    return [*said, f"{timestamp(done.ended)} probes: {len(done.results)}, not as expected: {done.failed}"]


def value(done: Round) -> dict[str, object]:
    """Return the same for JSON."""
    return {
        "time": timestamp(done.ended),
        "as_expected": not done.failed,
        "probes": [_value(result) for result in done.results],
    }


def junit(done: Round, file: str) -> bytes:
    """Return the same as an XML document in UTF-8: one suite, one case for each probe."""
    root = ET.Element("testsuites", name="tailsts")
    tests, failures = str(len(done.results)), str(done.failed)
    suite = ET.SubElement(root, "testsuite", name=printable(file), tests=tests, failures=failures)
    for result in done.results:
        # What can be printed can be written as XML, too.
        name, where = printable(result.probe.name), printable(file)
        case = ET.SubElement(suite, "testcase", name=name, classname=where, time=f"{result.seconds:.3f}")
        if result.fault:
            failure = ET.SubElement(case, "failure", message=printable(result.fault))
            failure.text = f"decision {_decision(result)}"
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _lines(result: Result, width: int) -> Iterator[str]:
    mark = "FAIL" if result.fault else "ok  "
    said = f"{result.came.status} {result.came.message}" if isinstance(result.came, Said) else "no answer"
    yield printable(
        f"{mark} {printable(result.probe.name):{width}}  {said} (decision {_decision(result)}, {result.seconds:.3f} s)"
    )
    if result.fault:
        yield printable(f"     {result.fault}")


def _decision(result: Result) -> str:
    return (isinstance(result.came, Said) and result.came.decision) or "unknown"


def _value(result: Result) -> dict[str, object]:
    said = result.came if isinstance(result.came, Said) else None
    return {
        "probe": result.probe.name,
        "as_expected": not result.fault,
        "fault": result.fault,
        "status": said.status if said else None,
        "message": said.message if said else "",
        "decision": (said and said.decision) or None,
        "seconds": round(result.seconds, 6),
    }
