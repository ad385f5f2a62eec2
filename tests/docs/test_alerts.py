"""The alert rules and the dashboard: against the metrics of a running service, and by Prometheus' own tool.

The tool is `promtool`, on the PATH or named by TAILSTS_PROMTOOL. Where that is set, as in CI, nothing is skipped.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from docs.alert_stories import STORIES
from fakes.collector import FakeCollector
from fakes.deployment import deployed
from fakes.pages import ROOT

ALERTS = ROOT / "deploy/alerts.yaml"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana.json").read_text())
# What Grafana fills in.
FILLED_IN = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*"}
SELECTOR = re.compile(r"(tailsts_\w+)(?:\{([^}]*)\})?")
# Those that Prometheus adds when it scrapes, and that of a histogram's bounds.
OUTSIDE = {"job", "instance", "le"}


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    """One alert."""

    alert: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]
    after: str = msgspec.field(name="for", default="")


class Group(msgspec.Struct, forbid_unknown_fields=True):
    """Rules that belong together."""

    name: str
    rules: list[Rule]


class Groups(msgspec.Struct, forbid_unknown_fields=True):
    """The file."""

    groups: list[Group]


RULES = [rule for group in msgspec.yaml.decode(ALERTS.read_bytes(), type=Groups).groups for rule in group.rules]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUERIES += [each["expr"] for each in DASHBOARD["annotations"]["list"]]


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """Return the metrics of a service that has seen something of everything, each with the names of its labels."""
    folder = tmp_path_factory.mktemp("service")
    with FakeCollector() as collector:
        options = ["--workers", "2", "--audit-webhook", collector.url, "--audit-spool", str(folder / "spool")]
        options += ["--state", f"sqlite:{folder / 'state.db'}"]
        with deployed(folder, options) as deployment:
            token = deployment.issuer.token()
            for scopes in (["devices:core:read"], ["all"], []):
                deployment.service.exchange(token, scopes)
            deployment.service.exchange("nonsense")
            deployment.service.reload()
            found: dict[str, set[str]] = {}
            for family in text_string_to_metric_families(deployment.service.metrics()):
                found.setdefault(f"{family.name}_total" if family.type == "counter" else family.name, set())
                for sample in family.samples:
                    found.setdefault(sample.name, set()).update(sample.labels)
            yield found


@pytest.mark.parametrize("expression", [*(rule.expr for rule in RULES), *QUERIES])
def test_every_metric_is_one_of_the_service(expression: str, exposed: dict[str, set[str]]) -> None:
    """A rule or a panel asks for metrics that a real service shows, by labels that they have."""
    used = SELECTOR.findall(expression)
    assert used
    for name, matchers in used:
        assert name in exposed
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) - OUTSIDE
        # Of a metric without samples the labels cannot be seen.
        assert not exposed[name] or labels <= exposed[name]


def test_alerts_say_what_is_to_be_known() -> None:
    """Each alert says what happened, what it means, and where its threshold comes from."""
    assert len({rule.alert for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.alert.startswith("Tailsts")
        assert set(rule.annotations) == {"summary", "description", "why"}
        assert rule.labels in ({"severity": "page"}, {"severity": "ticket"})


def test_the_dashboard_is_whole() -> None:
    """Panels have their own numbers and places, say what they show, and ask the data source that was chosen."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        taken |= cells
    assert max(x for x, _ in taken) == 23
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert 'job=~"$job",instance=~"$instance"' in target["expr"]
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "job", "instance"]


@pytest.fixture(scope="module")
def promtool() -> str:
    """Return Prometheus' tool."""
    named = os.environ.get("TAILSTS_PROMTOOL")
    if named is not None:
        return named
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not on the PATH; TAILSTS_PROMTOOL names one that must be there")
    return found


def ask(promtool: str, *arguments: object) -> None:
    """Run the tool; fail with what it says if it finds a fault."""
    done = subprocess.run([promtool, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules(promtool: str) -> None:
    """The rules are rules, and their templates templates."""
    ask(promtool, "check", "rules", ALERTS)


def test_prometheus_takes_the_queries_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    """Each query of the dashboard is PromQL, once Grafana has filled in what it fills in."""
    rules = []
    for number, query in enumerate(QUERIES):
        text = query
        for name, value in FILLED_IN.items():
            text = text.replace(name, value)
        assert "$" not in text
        rules.append({"record": f"panel:{number}", "expr": text})
    file = tmp_path / "panels.yaml"
    file.write_bytes(msgspec.yaml.encode({"groups": [{"name": "panels", "rules": rules}]}))
    ask(promtool, "check", "rules", file)


def test_every_alert_fires_in_a_story() -> None:
    """There is no alert of which no story shows that it fires, and no story of an alert that there is not."""
    told = {name for _, _, expected in STORIES.values() for name in expected}
    fired = {name for _, _, expected in STORIES.values() for name, alerts in expected.items() if alerts}
    assert told == fired == {rule.alert for rule in RULES}


@pytest.mark.parametrize("story", STORIES)
def test_alerts_fire_when_they_should(promtool: str, tmp_path: Path, story: str) -> None:
    """What is told in numbers has these alerts, with these labels, and no others of the same name."""
    series, moment, expected = STORIES[story]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": moment, "alertname": name, "exp_alerts": [{"exp_labels": each} for each in alerts]}
            for name, alerts in expected.items()
        ],
    }
    # Annotations are compared as well, and hold values: rules without them are enough here.
    rules = [{"alert": rule.alert, "expr": rule.expr, "labels": rule.labels} for rule in RULES]
    for told, rule in zip(rules, RULES, strict=True):
        told.update({"for": rule.after} if rule.after else {})
    (tmp_path / "rules.yaml").write_bytes(msgspec.yaml.encode({"groups": [{"name": "rules", "rules": rules}]}))
    file = tmp_path / "test.yaml"
    file.write_bytes(msgspec.yaml.encode({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    ask(promtool, "test", "rules", file)
