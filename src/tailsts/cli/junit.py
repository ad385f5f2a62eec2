"""Outcomes of policy tests as JUnit XML, which CI systems show."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET  # written here, never read

from tailsts.cli import explaining
from tailsts.policy.trial import Outcome

# What XML 1.0 has no way to write, 2.2.
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(outcomes: Sequence[Outcome]) -> bytes:
    """Return the XML document in UTF-8: one suite for each file, one case for each test."""
    root = ET.Element("testsuites", name="tailsts")
    for file in dict.fromkeys(outcome.trial.file for outcome in outcomes):
        cases = [outcome for outcome in outcomes if outcome.trial.file == file]
        failures = str(sum(bool(outcome.fault) for outcome in cases))
        suite = ET.SubElement(root, "testsuite", name=_xml(file), tests=str(len(cases)), failures=failures)
        for outcome in cases:
            _case(suite, outcome)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _case(suite: ET.Element, outcome: Outcome) -> None:
    trial = outcome.trial
    attributes = {"name": _xml(trial.name), "classname": _xml(trial.file), "file": _xml(trial.file)}
    if trial.line is not None:
        attributes["line"] = str(trial.line)
    case = ET.SubElement(suite, "testcase", attributes)
    if outcome.fault:
        failure = ET.SubElement(case, "failure", message=_xml(outcome.fault))
        failure.text = _xml(explaining.text(outcome.explanation))


def _xml(text: str) -> str:
    return _NOT_XML.sub("?", text)
