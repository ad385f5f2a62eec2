"""What an alert is about, as stories in numbers: some in which it fires, and some that only look like it."""

# What is measured each minute, in Prometheus' notation; when it is looked at; which alerts there are then.
Story = tuple[dict[str, str], str, dict[str, list[dict[str, str]]]]
STORIES: dict[str, Story] = {
    "the first fault of its kind": (
        {'tailsts_decisions_total{outcome="fault",reason="tailscale_answer"}': "_x30 1x10"},
        "35m",
        {"TailstsFault": [{"severity": "page", "outcome": "fault", "reason": "tailscale_answer"}]},
    ),
    "a fault of long ago": (
        {'tailsts_decisions_total{outcome="fault",reason="tailscale_answer"}': "1x120"},
        "2h",
        {"TailstsFault": []},
    ),
    "refusals as always": (
        {'tailsts_decisions_total{outcome="refused",reason="scope_not_allowed"}': "0+5x1500"},
        "24h",
        {"TailstsRefusalsRise": []},
    ),
    "refusals that rise": (
        {'tailsts_decisions_total{outcome="refused",reason="scope_not_allowed"}': "0+1x1400 1400+20x40"},
        "1430m",
        {"TailstsRefusalsRise": [{"severity": "ticket", "reason": "scope_not_allowed"}]},
    ),
    "refusals for a new reason": (
        {'tailsts_decisions_total{outcome="refused",reason="subject_not_allowed"}': "_x60 1+2x40"},
        "80m",
        {"TailstsRefusalsRise": [{"severity": "ticket", "reason": "subject_not_allowed"}]},
    ),
    "keys that are fetched": (
        {'tailsts_key_age_seconds{issuer="https://i",source="discovery"}': "0+60x4 0+60x4 0+60x4"},
        "14m",
        {"TailstsKeysOld": []},
    ),
    "keys that are not": (
        {'tailsts_key_age_seconds{issuer="https://i",source="discovery"}': "0+60x30"},
        "25m",
        {"TailstsKeysOld": [{"severity": "ticket", "issuer": "https://i", "source": "discovery"}]},
    ),
    "keys of a pattern that are not": (
        {'tailsts_key_age_seconds{issuer="https://[a-z]+",source="discovery"}': "0+60x30"},
        "25m",
        {"TailstsKeysOld": [{"severity": "ticket", "issuer": "https://[a-z]+", "source": "discovery"}]},
    ),
    "a reload that failed, and nothing after it": (
        {"tailsts_policy_faults": "0x10 2x60", 'tailsts_policy_reloads_total{result="failed"}': "0x10 1x60"},
        "60m",
        {"TailstsReloadFailed": [{"severity": "ticket"}]},
    ),
    "one audit event lost": (
        {'tailsts_audit_lines_lost_total{instance="a"}': "0x10 1x30"},
        "12m",
        {"TailstsAuditLoss": [{"severity": "page", "instance": "a"}]},
    ),
    "a webhook that takes nothing": (
        {"tailsts_audit_webhook_pending": "0x5 5x30", "tailsts_audit_webhook_delivered_total": "100x40"},
        "30m",
        {"TailstsWebhookDoesNotTake": [{"severity": "ticket"}]},
    ),
    "a webhook that always has something to take": (
        {"tailsts_audit_webhook_pending": "5x40", "tailsts_audit_webhook_delivered_total": "0+10x40"},
        "30m",
        {"TailstsWebhookDoesNotTake": []},
    ),
    "Tailscale fails now and then": (
        {
            'tailsts_tailscale_requests_total{tailnet="a",result="ok"}': "0+100x30",
            'tailsts_tailscale_requests_total{tailnet="a",result="tailscale_unavailable"}': "0+2x30",
        },
        "20m",
        {"TailstsTailscaleErrors": []},
    ),
    "Tailscale is down": (
        {
            'tailsts_tailscale_requests_total{tailnet="a",result="ok"}': "0+100x10 1000x20",
            'tailsts_tailscale_requests_total{tailnet="a",result="tailscale_unavailable"}': "0x10 0+90x20",
        },
        "25m",
        {"TailstsTailscaleErrors": [{"severity": "page", "tailnet": "a"}]},
    ),
    "Tailscale is down for a small tailnet, and hardly asked": (
        {
            'tailsts_tailscale_requests_total{tailnet="a",result="ok"}': "0+1000x30",
            'tailsts_tailscale_requests_total{tailnet="b",result="ok"}': "0+30x10 300x20",
            'tailsts_tailscale_requests_total{tailnet="b",result="tailscale_unavailable"}': "0x10 0+1x20",
            'tailsts_tailscale_requests_total{tailnet="b",result="not_asked"}': "0x10 0+29x20",
        },
        "25m",
        {"TailstsTailscaleErrors": [{"severity": "page", "tailnet": "b"}]},
    ),
    "Tailscale is hardly asked": (
        {
            'tailsts_tailscale_failing_fast{instance="i",tailnet="a"}': "0x30",
            'tailsts_tailscale_failing_fast{instance="i",tailnet="b"}': "0x10 1x20",
        },
        "15m",
        {"TailstsTailscaleFailingFast": [{"severity": "page", "instance": "i", "tailnet": "b"}]},
    ),
    "Tailscale was hardly asked for some seconds": (
        {'tailsts_tailscale_failing_fast{instance="i",tailnet="b"}': "0x10 1 0x20"},
        "11m",
        {"TailstsTailscaleFailingFast": []},
    ),
    "a state that takes up to a second": (
        {
            'tailsts_stage_seconds_bucket{stage="claim",le="0.5"}': "0x40",
            'tailsts_stage_seconds_bucket{stage="claim",le="1.0"}': "0+10x40",
            'tailsts_stage_seconds_bucket{stage="claim",le="+Inf"}': "0+10x40",
        },
        "30m",
        {"TailstsStateSlow": [{"severity": "ticket"}]},
    ),
    "a state that takes up to ten milliseconds": (
        {
            'tailsts_stage_seconds_bucket{stage="claim",le="0.01"}': "0+10x40",
            'tailsts_stage_seconds_bucket{stage="claim",le="+Inf"}': "0+10x40",
        },
        "30m",
        {"TailstsStateSlow": []},
    ),
    "a disk that takes up to five seconds": (
        {
            'tailsts_stage_seconds_bucket{stage="record",le="2.5"}': "0x40",
            'tailsts_stage_seconds_bucket{stage="record",le="5.0"}': "0+10x40",
            'tailsts_stage_seconds_bucket{stage="record",le="+Inf"}': "0+10x40",
        },
        "30m",
        {"TailstsAuditSlow": [{"severity": "ticket"}]},
    ),
    "a disk that takes up to ten milliseconds": (
        {
            'tailsts_stage_seconds_bucket{stage="record",le="0.01"}': "0+10x40",
            'tailsts_stage_seconds_bucket{stage="record",le="+Inf"}': "0+10x40",
        },
        "30m",
        {"TailstsAuditSlow": []},
    ),
    "nothing is there": ({"up": "1x30"}, "10m", {"TailstsAbsent": [{"severity": "page"}]}),
    "one of three is gone": (
        {
            'up{job="sts",instance="a"}': "1x30",
            'up{job="sts",instance="b"}': "1x30",
            'up{job="sts",instance="c"}': "1x10 0x20",
            'up{job="other",instance="d"}': "0x30",
            'tailsts_info{job="sts",instance="a",generation="g"}': "1x30",
            'tailsts_info{job="sts",instance="b",generation="g"}': "1x30",
            'tailsts_info{job="sts",instance="c",generation="g"}': "1x10 _x20",
        },
        "20m",
        {
            "TailstsInstanceGone": [{"severity": "ticket", "job": "sts", "instance": "c"}],
            "TailstsAbsent": [],
        },
    ),
    "one of three is replaced": (
        {
            'up{job="sts",instance="a"}': "1x30",
            'up{job="sts",instance="b"}': "1x10 _x20",
            'up{job="sts",instance="c"}': "_x10 1x20",
            'tailsts_info{job="sts",instance="a",generation="g"}': "1x30",
            'tailsts_info{job="sts",instance="b",generation="g"}': "1x10 _x20",
            'tailsts_info{job="sts",instance="c",generation="g"}': "_x10 1x20",
        },
        "20m",
        {"TailstsInstanceGone": []},
    ),
    "no worker at all": (
        {'tailsts_workers{instance="a"}': "2x10 0x20", 'tailsts_workers_wanted{instance="a"}': "2x30"},
        "15m",
        {"TailstsNoWorker": [{"severity": "page", "instance": "a"}]},
    ),
    "a state that cannot be asked": (
        {'tailsts_state_reachable{instance="a"}': "1x10 0x20"},
        "15m",
        {"TailstsStateAway": [{"severity": "page", "instance": "a"}]},
    ),
    "a state that was restarted": (
        {'tailsts_state_reachable{instance="a"}': "1x10 0 1x20"},
        "15m",
        {"TailstsStateAway": []},
    ),
    "a worker that does not come back": (
        {'tailsts_workers{instance="a"}': "2x10 1x20", 'tailsts_workers_wanted{instance="a"}': "2x30"},
        "15m",
        {"TailstsWorkersMissing": [{"severity": "ticket", "instance": "a"}]},
    ),
    "a worker that comes back": (
        {'tailsts_workers{instance="a"}': "2x10 1 2x20", 'tailsts_workers_wanted{instance="a"}': "2x31"},
        "15m",
        {"TailstsWorkersMissing": []},
    ),
    "workers that end again and again": (
        {'tailsts_worker_restarts_total{instance="a"}': "0x30 1+1x5 6x30"},
        "50m",
        {"TailstsWorkersRestart": [{"severity": "ticket", "instance": "a"}]},
    ),
    "a worker that ended once": (
        {'tailsts_worker_restarts_total{instance="a"}': "0x30 1x30"},
        "50m",
        {"TailstsWorkersRestart": []},
    ),
    "two requests a second that are turned away": (
        {'tailsts_turned_away_total{reason="in_flight"}': "0+120x40"},
        "30m",
        {"TailstsTurnsAway": [{"severity": "ticket", "reason": "in_flight"}]},
    ),
    "a burst that is turned away": (
        {'tailsts_turned_away_total{reason="in_flight"}': "0x10 900x30"},
        "14m",
        {"TailstsTurnsAway": []},
    ),
    "rejections as always": (
        {'tailsts_decisions_total{outcome="rejected",reason="expired"}': "0+10x1500"},
        "24h",
        {"TailstsRejectionsRise": []},
    ),
    "rejections that rise": (
        {'tailsts_decisions_total{outcome="rejected",reason="expired"}': "0+1x1400 1400+20x40"},
        "1430m",
        {"TailstsRejectionsRise": [{"severity": "ticket", "outcome": "rejected", "reason": "expired"}]},
    ),
    "one exchange in ten cannot be served": (
        {
            'tailsts_decisions_total{outcome="granted",reason="granted"}': "0+90x30",
            'tailsts_decisions_total{outcome="unavailable",reason="keys_unavailable"}': "0+10x30",
        },
        "20m",
        {"TailstsUnavailable": [{"severity": "page"}]},
    ),
    "one exchange in a hundred cannot be served": (
        {
            'tailsts_decisions_total{outcome="granted",reason="granted"}': "0+99x30",
            'tailsts_decisions_total{outcome="unavailable",reason="keys_unavailable"}': "0+1x30",
        },
        "20m",
        {"TailstsUnavailable": []},
    ),
    "an Open Policy Agent that few policies need is down": (
        {
            'tailsts_decisions_total{outcome="granted",reason="granted"}': "0+1000x30",
            'tailsts_decisions_total{outcome="unavailable",reason="opa_unavailable"}': "0+5x30",
            'tailsts_stage_seconds_count{stage="opa"}': "0+10x30",
        },
        "20m",
        {"TailstsOpaErrors": [{"severity": "page"}], "TailstsUnavailable": []},
    ),
    "an Open Policy Agent that fails now and then": (
        {
            'tailsts_decisions_total{outcome="unavailable",reason="opa_unavailable"}': "0+1x30",
            'tailsts_stage_seconds_count{stage="opa"}': "0+100x30",
        },
        "20m",
        {"TailstsOpaErrors": []},
    ),
    "a token takes up to five seconds": (
        {
            'tailsts_stage_seconds_bucket{stage="mint",le="2.5"}': "0x40",
            'tailsts_stage_seconds_bucket{stage="mint",le="5.0"}': "0+10x40",
            'tailsts_stage_seconds_bucket{stage="mint",le="+Inf"}': "0+10x40",
        },
        "30m",
        {"TailstsTailscaleSlow": [{"severity": "ticket"}]},
    ),
    "a token takes up to half a second": (
        {
            'tailsts_stage_seconds_bucket{stage="mint",le="0.5"}': "0+10x40",
            'tailsts_stage_seconds_bucket{stage="mint",le="+Inf"}': "0+10x40",
        },
        "30m",
        {"TailstsTailscaleSlow": []},
    ),
    "an issuer whose keys never came": (
        {'tailsts_keys{issuer="https://i",source="discovery"}': "0x10"},
        "5m",
        {"TailstsKeysMissing": [{"severity": "page", "issuer": "https://i", "source": "discovery"}]},
    ),
    "keys that come after a minute": (
        {'tailsts_keys{issuer="https://i",source="discovery"}': "0 2x10"},
        "5m",
        {"TailstsKeysMissing": []},
    ),
    "no attempt to fetch keys succeeds": (
        {
            'tailsts_key_fetches_total{issuer="https://i",source="discovery",result="ok"}': "5x60",
            'tailsts_key_fetches_total{issuer="https://i",source="discovery",result="failed"}': "0+1x60",
        },
        "45m",
        {"TailstsKeyFetchesFail": [{"severity": "ticket", "issuer": "https://i", "source": "discovery"}]},
    ),
    "an attempt now and then fails": (
        {
            'tailsts_key_fetches_total{issuer="https://i",source="discovery",result="ok"}': "0+1x60",
            'tailsts_key_fetches_total{issuer="https://i",source="discovery",result="failed"}': "0x20 1x20 2x20",
        },
        "45m",
        {"TailstsKeyFetchesFail": []},
    ),
    "the last policy is removed": (
        {'tailsts_policies{instance="a"}': "3x10 0x10"},
        "15m",
        {"TailstsNoPolicies": [{"severity": "page", "instance": "a"}]},
    ),
    "an instance that stays behind": (
        {
            'tailsts_info{instance="a",generation="old"}': "1x40",
            'tailsts_info{instance="b",generation="old"}': "1x5 _x35",
            'tailsts_info{instance="b",generation="new"}': "_x5 1x35",
        },
        "30m",
        {"TailstsGenerationsDiffer": [{"severity": "ticket"}]},
    ),
    "an audit log that cannot be written": (
        {'tailsts_audit_writable{instance="a"}': "1x5 0x10"},
        "10m",
        {"TailstsAuditNotWritable": [{"severity": "page", "instance": "a"}]},
    ),
    "a spool that fills": (
        {'tailsts_audit_webhook_spool_used_ratio{instance="a"}': "0.1x5 0.6x10"},
        "10m",
        {"TailstsWebhookSpoolFills": [{"severity": "page", "instance": "a"}]},
    ),
    "a spool that has room": (
        {'tailsts_audit_webhook_spool_used_ratio{instance="a"}': "0.1x5 0.4x10"},
        "10m",
        {"TailstsWebhookSpoolFills": []},
    ),
    "an event that the webhook refused": (
        {'tailsts_audit_webhook_lost_total{instance="a",reason="refused"}': "0x10 1x30"},
        "12m",
        {"TailstsWebhookLoss": [{"severity": "ticket", "instance": "a", "reason": "refused"}]},
    ),
}
