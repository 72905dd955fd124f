"""What services have in common, and tokens have not, as the suite asks for it."""

SERVICES = {  # checks of tokens alone, and why a service has nothing to try
    "probe": "it wraps in one way, and no key leaves it to be tried",
    "logout elsewhere": "nobody logs in to it",
    "other strategies": "there is one",
    "remembered algorithm": "there is one",
    "crash between two changes": "a change is one request",
    "wrong PIN": "it has no PIN; `credentials end` has what there is",
}

NO_MACS = "cannot: this type of provider makes no MACs: the audit log needs a PKCS#11 token for them"  # the check "audit key"

# What kekctl conformance does not try there, since what was made would stay.
CASES = {
    **{name: "SKIPPED: a service keeps what is made" for name in (
        "leftovers", "generate-taken", "deactivate", "reactivate", "suspend", "resume", "compromise", "states-enforced",
        "states-noticed", "destroy", "destroyed-key")},
    "generate": "SKIPPED: with --existing-key no key is made; to be tried: 2"}
