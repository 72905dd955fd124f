#!/usr/bin/env python3
"""Each alert of deploy/prometheus-rules.yaml, by promtool: it fires for what it is for, with the labels that its texts name,
not before its time, and not for what looks like it and is none.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

RULES = os.path.join(os.environ["abs_top_srcdir"], "deploy", "prometheus-rules.yaml")
PROMTOOL = shutil.which("promtool")
NODE = 'job="kekd", instance="cp1"'


def on(name, values, **labels):
    """A series of one node, a value a minute in promtool's words."""
    text = "".join(f', {label}="{value}"' for label, value in labels.items())
    return {"series": f"{name}{{{NODE}{text}}}", "values": values}


def steady(name, value, **labels):
    return on(name, f"{value}x120", **labels)


def degraded(reason, **labels):
    return steady("kekd_degraded", 1, reason=reason, **labels)


def calls(status, values, method="v2.Encrypt"):
    return on("kekd_kms_calls_total", values, method=method, status=status)


def calls_in_all(values, method="v2.Encrypt"):
    return on("kekd_kms_call_duration_seconds_count", values, method=method)


def started(minute):
    """When kekd started; promtool's clock begins at 0."""
    return steady("process_start_time_seconds", 60 * minute)


def announces(instance, key):
    return {"series": f'kekd_kek_primary_info{{job="kekd", instance="{instance}", version="1", key_id="{key}"}}', "values": "1x120"}


HSM = {"provider": "hsm-a"}
V2 = {"version": "2"}
SPARE = {"root": "spare"}

# name: (severity, minutes from the fault to the alert, the fault, labels besides job and instance, what is none)
ALERTS = {
    "KekdKeyLost": ("critical", 0, [steady("kekd_health", 1, state="loss")], {"state": "loss"},
                    [steady("kekd_health", 0, state="loss"), steady("kekd_health", 1, state="outage")]),
    "KekdDown": ("critical", 1, [steady("up", 0)], {}, [steady("up", 1)]),
    "KekdNotReady": ("critical", 1, [steady("kekd_ready", 0)], {}, [on("kekd_ready", "1 0 1 1 1 1")]),
    "KekdPinRefused": ("critical", 0, [steady("kekd_hsm_health", 1, state="pin_refused", **HSM)],
                       {"state": "pin_refused", **HSM}, [steady("kekd_hsm_health", 1, state="down", **HSM),
                                                         steady("kekd_hsm_health", 0, state="pin_refused", **HSM)]),
    "KekdPinCountLow": ("warning", 0, [steady("kekd_hsm_pin_count_low", 1, **HSM)], HSM,
                        [steady("kekd_hsm_pin_count_low", 0, **HSM)]),
    "KekdProviderDown": ("warning", 5, [steady("kekd_hsm_workers_ready", 0, **HSM)], HSM,
                         [on("kekd_hsm_workers_ready", "2 0 0 0 1 2x100", **HSM)]),
    "KekdRootOut": ("warning", 5, [degraded("root_out", **SPARE)], {"reason": "root_out", **SPARE}, [degraded("version_waits")]),
    "KekdRootNotNeeded": ("warning", 1440, [on("kekd_degraded", "1x1500", reason="root_not_needed", **SPARE)],
                          {"reason": "root_not_needed", **SPARE},
                          [on("kekd_degraded", "1x1400 _x100", reason="root_not_needed", **SPARE)]),
    "KekdUnderProtected": ("warning", 0, [degraded("under_protected", **SPARE)], {"reason": "under_protected", **SPARE},
                           [degraded("root_out", **SPARE)]),
    "KekdSocketGone": ("critical", 0, [degraded("socket_gone")], {"reason": "socket_gone"}, [degraded("version_waits", **V2)]),
    "KekdWorkersDie": ("warning", 2, [on("kekd_hsm_workers_killed_total", "0 0 2x120", **HSM),
                                      on("kekd_hsm_workers_crashed_total", "0 0 2x120", **HSM)], HSM,
                       [on("kekd_hsm_workers_killed_total", "0 1 2 2x100", **HSM),
                        on("kekd_hsm_workers_crashed_total", "0x120", **HSM)]),
    "KekdStatusCertificateEnds": ("warning", 0, [steady("kekd_status_certificate_expiry_timestamp_seconds", 29 * 86400)], {},
                                  [steady("kekd_status_certificate_expiry_timestamp_seconds", 31 * 86400)]),
    "KekdWrongKey": ("critical", 1, [on("kekd_hsm_workers_ended_total", "0 1x120", **HSM)], HSM,
                     [on("kekd_hsm_workers_ended_total", "5x120", **HSM)]),
    "KekdVersionNotAnnounced": ("warning", 0, [degraded("version_waits", **V2, **HSM)],
                                {"reason": "version_waits", **V2, **HSM}, [degraded("wrong_key", **V2, **HSM)]),
    "KekdKeysDiffer": ("warning", 0, [degraded("two_keys", **V2)], {"reason": "two_keys", **V2}, [degraded("version_waits", **V2)]),
    "KekdVersionBack": ("warning", 0, [degraded("version_back", **V2, **HSM)], {"reason": "version_back", **V2, **HSM},
                        [degraded("version_lost", **V2, **HSM)]),
    "KekdVersionLost": ("critical", 0, [degraded("version_lost", **V2)], {"reason": "version_lost", **V2},
                        [degraded("version_back", **V2)]),
    "KekdStateDirReplaced": ("critical", 0, [degraded("state_dir_replaced")], {"reason": "state_dir_replaced"},
                             [degraded("version_waits", **V2)]),
    "KekdCanaryFails": ("warning", 0, [degraded("canary_failed", **V2, **HSM)], {"reason": "canary_failed", **V2, **HSM},
                        [degraded("provider_down", **HSM)]),
    "KekdKeyToBeDestroyed": ("critical", 0, [degraded("destruction_scheduled", **V2, **HSM)],
                             {"reason": "destruction_scheduled", **V2, **HSM}, [degraded("suspended", **V2)]),
    "KekdKeyUnattested": ("warning", 60, [degraded("unattested", **V2, **HSM)], {"reason": "unattested", **V2, **HSM},
                          [on("kekd_degraded", "1x50 _x100", reason="unattested", **V2, **HSM)]),
    "KekdKeyUnusable": ("warning", 60, [degraded("compromised", **V2)], {"reason": "compromised", **V2},
                        [on("kekd_degraded", "1x50 _x100", reason="compromised", **V2)]),
    "KekdKeyAskedFor": ("critical", 1, [on("kekd_kek_version_asked_for_total", "0 1x120", **V2)], V2,
                        [steady("kekd_kek_version_asked_for_total", 0, **V2)]),
    "KekdNodesDisagree": ("warning", 10, [announces("cp1", "kek1-a"), announces("cp2", "kek1-b")], None,
                          [announces("cp1", "kek1-a"), announces("cp2", "kek1-a")]),
    "KekdTokenUnproven": ("warning", 15, [steady("kekd_kek_version_providers", 2, **V2),
                                          steady("kekd_kek_version_providers_proven", 1, **V2)], V2,
                          # Pre-active, and deactivated before the node came: nobody can prove it here.
                          [steady("kekd_kek_version_providers", 2, **V2), steady("kekd_kek_version_providers_proven", 0, **V2),
                           steady("kekd_kek_version_state", 1, state="pre-active", **V2)]),
    "KekdPeerRefused": ("warning", 1, [on("kekd_grpc_rejected_total", "0 1x120", status="PERMISSION_DENIED")],
                        {"status": "PERMISSION_DENIED"}, [on("kekd_grpc_rejected_total", "0 1x120", status="UNIMPLEMENTED")]),
    "KekdCallsFail": ("warning", 6, [calls("OK", "0+9x120"), calls("UNAVAILABLE", "0+1x120"), calls_in_all("0+10x120")], {"method": "v2.Encrypt"},
                      [calls("OK", "0+99x120"), calls("UNAVAILABLE", "0+1x120"), calls("CANCELLED", "0+90x120"),
                       calls_in_all("0+190x120")]),
    "KekdAuditLoses": ("warning", 1, [on("kekd_audit_dropped_total", "0 1x120")], {}, [on("kekd_audit_dropped_total", "7x120")]),
}
# What an alert is for besides, in other words.
MORE = {
    "KekdKeysDiffer": ([degraded("version_lacking", **V2)], {"reason": "version_lacking", **V2}),
    "KekdKeyUnusable": ([degraded("suspended", **V2)], {"reason": "suspended", **V2}),
    "KekdTokenUnproven": ([steady("kekd_kek_version_providers", 1, **V2), steady("kekd_kek_version_providers_proven", 0, **V2),
                           steady("kekd_kek_version_state", 1, state="active", **V2)], V2),
}
# What a counter has at its first sample: (the series, besides when kekd started, the first and the last minute at which it fires).
BORN = {
    "KekdWorkersDie": ([on("kekd_hsm_workers_killed_total", "_x30 2x120", **HSM), on("kekd_hsm_workers_crashed_total", "_x30 2x120", **HSM),
                        started(30)], HSM, 30, 44),
    "KekdWrongKey": ([on("kekd_hsm_workers_ended_total", "1x30 1x120", **HSM), on("process_start_time_seconds", "0x30 1800x120")],
                     HSM, 31, 44),
    "KekdKeyAskedFor": ([on("kekd_kek_version_asked_for_total", "_x30 2x120", **V2), started(0)], V2, 30, 44),
    "KekdPeerRefused": ([on("kekd_grpc_rejected_total", "_x30 5x120", status="PERMISSION_DENIED"), started(30)],
                        {"status": "PERMISSION_DENIED"}, 30, 39),
    "KekdAuditLoses": ([on("kekd_audit_dropped_total", "_x30 5x120"), started(30)], {}, 30, 39),
    # Every tenth call of ten minutes fails, each with another status.
    "KekdCallsFail": ([calls("OK", "0+9x120"), calls_in_all("0+10x10 109+9x100")] +
                      [calls(f"STATUS_{minute}", f"_x{minute} 1x100") for minute in range(10)], {"method": "v2.Encrypt"}, 6, 12),
}
# What else is none, though something beside it is as in the fault.
NONE_BESIDES = {
    # A version that is pre-active in one root of trust, and one of the same number in another; and a surplus key.
    "KekdTokenUnproven": [steady("kekd_kek_version_providers", 2, **V2, **SPARE),
                          steady("kekd_kek_version_providers_proven", 0, **V2, **SPARE),
                          steady("kekd_kek_version_state", 1, state="pre-active", **V2, **SPARE),
                          steady("kekd_kek_version_providers", 1, **V2, surplus="aa"),
                          steady("kekd_kek_version_providers_proven", 0, **V2, surplus="aa"),
                          steady("kekd_kek_version_providers", 2, **V2),
                          steady("kekd_kek_version_providers_proven", 2, **V2),
                          steady("kekd_kek_version_state", 1, state="active", **V2)],
    # The count is kept over a restart, which cost a scrape a quarter of an hour ago; asked for it was long before.
    "KekdKeyAskedFor": [on("kekd_kek_version_asked_for_total", "0x4 3x49 stale _x1 3x60", **V2)],
}


def labels_of(alert, besides):
    """What a firing alert is called. Without an instance where it is about several."""
    severity = ALERTS[alert][0]
    node = {} if besides is None else {"instance": "cp1", **({} if alert == "KekdCallsFail" else {"job": "kekd"})}
    return {"alertname": alert, "alertstate": "firing", "severity": severity, **node, **(besides or {})}


def expected(minute, alert, labels):
    """One promql_expr_test: the alert fires at this minute with these labels; None: it does not."""
    samples = []
    if labels is not None:
        text = ", ".join(f'{name}="{value}"' for name, value in labels.items())
        samples = [{"labels": f"ALERTS{{{text}}}", "value": 1}]
    return {"expr": f'ALERTS{{alertname="{alert}", alertstate="firing"}}', "eval_time": f"{minute}m", "exp_samples": samples}


def cases():
    for alert, (_, delay, fault, besides, none) in ALERTS.items():
        fires = [expected(delay, alert, labels_of(alert, besides))]
        if delay > 0:
            fires.append(expected(delay - 1, alert, None))
        yield fault, fires
        yield none, [expected(minute, alert, None) for minute in (0, delay, delay + 1, 70)]
    for alert, none in NONE_BESIDES.items():
        yield none, [expected(minute, alert, None) for minute in (ALERTS[alert][1], 70)]
    for alert, (fault, besides) in MORE.items():
        yield fault, [expected(ALERTS[alert][1], alert, labels_of(alert, besides))]
    for alert, (fault, besides, first, last) in BORN.items():
        labels = labels_of(alert, besides)
        yield fault, [expected(minute, alert, labels if first <= minute <= last else None)
                      for minute in (first - 1, first, last, last + 1)]


def promtool(*arguments):
    done = subprocess.run([PROMTOOL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


class Alerts(unittest.TestCase):
    def judged(self, tests):
        with tempfile.TemporaryDirectory(prefix="kek-alerts-") as folder:
            path = os.path.join(folder, "tests.yaml")   # JSON is YAML
            with open(path, "w", encoding="ascii") as file:
                json.dump({"rule_files": [RULES], "evaluation_interval": "1m", "tests": [
                    {"interval": "1m", "input_series": series, "promql_expr_test": asked} for series, asked in tests]}, file)
            return promtool("test", "rules", path)

    def test_the_rules_are_rules(self):
        self.assertEqual(promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)[0], 0)

    def test_every_alert_has_its_case(self):
        with open(RULES, encoding="utf-8") as file:
            self.assertEqual(re.findall(r"- alert: (\w+)", file.read()), list(ALERTS))

    def test_each_fires_for_its_fault_and_for_nothing_else(self):
        code, said = self.judged(cases())
        self.assertEqual(code, 0, said)

    def test_one_that_does_not_fire_would_be_seen(self):
        nothing = [{"series": "other", "values": "1x120"}]
        code, said = self.judged([(nothing, [expected(70, alert, labels_of(alert, ALERTS[alert][3]))]) for alert in ALERTS])
        self.assertEqual((code, set(re.findall(r'exp:.*alertname="(\w+)"', said))), (1, set(ALERTS)), said)

    def test_the_texts_name_labels_that_the_alert_has(self):
        with open(RULES, encoding="utf-8") as file:
            rules = re.split(r"- alert: ", file.read())[1:]
        for rule in rules:
            alert = rule.split()[0]
            named = set(re.findall(r"\$labels\.(\w+)", rule))
            self.assertLessEqual(named, set(labels_of(alert, ALERTS[alert][3])), alert)


if __name__ == "__main__":
    if PROMTOOL is None:
        print("SKIP: promtool (package prometheus) is missing: the alerts were NOT tried")
        sys.exit(77)
    unittest.main(verbosity=2)
