"""What a second root of trust costs: two roots under `mode: any` beside one of them alone, in turns."""
import os

from node import Kekd, Token

SETTINGS = """mode: any
roots:
  - {name: site, providers: [softhsm]}
  - {name: spare, providers: [spare]}
"""


def measure_calls(report, one, two, plan):
    """With the data key at hand, in default mode."""
    figures = {(method, kekd): [] for method in ("encrypt", "decrypt") for kekd in (one, two)}
    for _ in range(plan["rounds"]):
        for (method, kekd), found in figures.items():
            found.append(kekd.load(method, plan["serial"], warmup=plan["serial"] // 5)["p50_ns"] / 1e3)
    for method in ("encrypt", "decrypt"):
        report.add(f"{method.capitalize()}, two roots, one at a time, p50", figures[method, two], "us", 1.1,
                   figures[method, one], "one root")


def measure_cold_start(report, one, two, folder, plan):
    unwraps = {}
    for kekd in (one, two):
        place = f"{folder}/{'one' if kekd is one else 'two'}-lots"
        os.makedirs(place)
        unwraps[kekd] = kekd.open_cold(kekd.seal_lots(place, plan["items"]), plan["items"], 64)[1]
    report.add(f"  HSM unwraps for {plan['items']:,} cold v1 ciphertexts, two roots", [unwraps[two]], "unwraps", 1,
               [unwraps[one]], "one root")


def measure(report, build, source, folder, plan):
    report.say(f"two roots of trust: {plan['rounds']} rounds")
    tokens = []
    for name in ("site", "spare"):
        place = f"{folder}/root-{name}"
        os.makedirs(place)
        tokens.append(Token(source, place))
    both = tokens[0].provider("softhsm") + tokens[1].provider("spare")
    with Kekd(build, tokens[0], f"{folder}/one-root") as one, Kekd(build, both, f"{folder}/two-roots", SETTINGS) as two:
        for name in ("site", "spare"):
            two.generate("--root", name)
        one.start()
        two.start()
        one.settled_workers(2)
        two.settled_workers(4)
        measure_calls(report, one, two, plan)
        one.stop()
        two.stop()
        measure_cold_start(report, one, two, folder, plan)
