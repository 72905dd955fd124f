#!/bin/sh
# What deploy/ says must agree with the rest: alerts with the metrics that exist, socket paths with each
# other, units with systemd. Reads only; works from any folder.
set -eu

deploy=${abs_top_srcdir:?}/deploy
manual=$abs_top_srcdir/docs/kekd-metrics.7
units=$(mktemp -d)
trap 'rm -rf "$units"' EXIT
failed=0

fail()
{
    echo "FAIL: $1"
    failed=1
}

# A folder that is configured anew for another prefix compiles anew what has the workers' folder in it.
object=src/pool/libkek_pool_a-program.o
code=0
env -u MAKEFLAGS -u MAKELEVEL make -C "${abs_top_builddir:?}" -q -W Makefile "$object" >/dev/null 2>&1 || code=$?
test "$code" = 1 || fail "$object stays as it is when configure is run anew ($code)"

# Every metric that an alert asks for is in the manual (the histogram's suffixes and up{} aside).
for name in $(grep -oE '\b(kekd|process)_[a-z_]+' "$deploy/prometheus-rules.yaml" | sed 's/_\(bucket\|count\|sum\)$//' | sort -u); do
    grep -q "^\.It Ic $name Pq" "$manual" || fail "prometheus-rules.yaml asks for $name, which is no metric"
done

# So is every reason that it asks for, and each has an alert (of the others the pool's metrics have one).
reasons=$(sed -n 's/.*kekd_degraded{reason=~*"\([^"]*\)".*/\1/p' "$deploy/prometheus-rules.yaml" | tr '|' '\n' | sort)
listed=$(sed -n '/^\.It Ic kekd_degraded /,/^\.It Ic kekd_kek/s/^\.It Cm \([a-z_]*\)$/\1/p' "$manual" |
    grep -vxE 'provider_down|wrong_key' | sort)
test -n "$reasons" && test "$reasons" = "$listed" || fail "reasons of kekd_degraded differ: $reasons / $listed"

# What to do about each alert, and about no other, is in the page that the rules point to.
alerts=$(sed -n 's/^ *- alert: //p' "$deploy/prometheus-rules.yaml" | sort)
rows=$(grep '^|' "$abs_top_srcdir/docs/operations.md" | grep -oE '\bKekd[A-Za-z]+' | sort -u)
test -n "$alerts" || fail "prometheus-rules.yaml has no alert"
test "$alerts" = "$rows" || fail "alerts and the rows of operations.md differ: $alerts / $rows"

# Each alert points at its own row of that page.
for alert in $alerts; do
    anchor=$(echo "$alert" | tr '[:upper:]' '[:lower:]')
    grep -A14 -x " *- alert: $alert" "$deploy/prometheus-rules.yaml" |
        grep -q "runbook_url: file:///usr/share/doc/kekd/operations.md#$anchor\$" || fail "$alert has no runbook_url"
    grep -q "^| .*<a id=\"$anchor\"></a>.*$alert" "$abs_top_srcdir/docs/operations.md" ||
        fail "operations.md has no row #$anchor"
done

# The probes ask where the documentation lets metrics listen.
grep -q '^metrics: 127.0.0.1:9478 ' "$abs_top_srcdir/README.md" &&
    grep -q 'host: 127.0.0.1, port: 9478' "$deploy/static-pod.yaml" ||
    fail "static-pod.yaml probes another address than README.md's configuration serves"

# One socket, in all the files that name it.
socket=$(sed -n 's/^ListenStream=//p' "$deploy/kekd.socket")
test -n "$socket" || fail "kekd.socket listens on nothing"
grep -q "endpoint: unix://$socket\$" "$deploy/encryption-configuration.yaml" ||
    fail "encryption-configuration.yaml does not point at $socket"
grep -q "mountPath: ${socket%/*}}" "$deploy/static-pod.yaml" ||
    fail "static-pod.yaml does not mount ${socket%/*}"

# The unit as it is installed: every name filled in, and systemd reads it without a word.
unit=${abs_top_builddir:?}/deploy/kekd.service
grep -qE '@[a-z]+@' "$unit" && fail "kekd.service has a name that is not filled in"
grep -q '^Type=notify$' "$unit" && grep -q '^WatchdogSec=[1-9]' "$unit" ||
    fail "kekd.service has no watchdog: nobody would see that kekd hangs"
# The rotation's unit is sandboxed as kekd's: the same lines, but for what only a server has.
rotate=$abs_top_builddir/deploy/kekd-rotate.service
grep -qE '@[a-z]+@' "$rotate" && fail "kekd-rotate.service has a name that is not filled in"
server='^(Type|ExecStart|ExecReload|Restart|RestartSec|RestartPreventExitStatus|WatchdogSec|TimeoutStopSec|Environment=ROTATE_OPTIONS|RuntimeDirectory.*)='
of_service()
{
    sed -n '/^\[Service\]/,/^\[Install\]/p' "$1" | grep -E '^[A-Z][A-Za-z]+=' | grep -vE "$server" | sort
}
test "$(of_service "$unit")" = "$(of_service "$rotate")" ||
    fail "kekd-rotate.service and kekd.service differ: $(of_service "$unit" >"$units/a"; of_service "$rotate" | diff "$units/a" -)"
grep -q '^\[Install\]' "$rotate" && fail "kekd-rotate.service would be enabled by itself: its timer is for that"
if command -v systemd-analyze >/dev/null; then
    sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$unit" >"$units/kekd.service"
    cp "$deploy/kekd.socket" "$units/kekd.socket"
    sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$rotate" >"$units/kekd-rotate.service"
    cp "$deploy/kekd-rotate.timer" "$units/kekd-rotate.timer"
    said=$(cd "$units" && systemd-analyze verify --man=no ./kekd.service ./kekd.socket ./kekd-rotate.service \
        ./kekd-rotate.timer 2>&1 |
        grep -E 'kekd[.-]' || true)
    test -z "$said" || fail "systemd-analyze: $said"
fi

# logrotate goes on where no kekd runs, and says so where one runs that did not open its file anew.
sed -n '/postrotate$/,/endscript$/{//!p}' "$deploy/kekd.logrotate" >"$units/postrotate"
test -s "$units/postrotate" || fail "kekd.logrotate tells kekd nothing"
mkdir "$units/bin"
printf '#!/bin/sh\nexit 1\n' >"$units/bin/systemctl"
chmod +x "$units/bin/systemctl"
cp "$(command -v sleep)" "$units/kekd"
if unshare -Urpf --mount-proc true 2>/dev/null; then
    alone() { env PATH="$units/bin:$PATH" unshare -Urpf --mount-proc sh -c "$1" -- "$units"; }
    alone 'sh "$1/postrotate"' || fail "kekd.logrotate fails where no kekd runs"
    alone '"$1/kekd" 60 & until grep -qx kekd /proc/$!/comm; do :; done; sh "$1/postrotate"' && fail "kekd.logrotate is silent where kekd is not told"
else
    echo "SKIP: no namespaces: kekd.logrotate was not tried"
fi

# A package's upgrade restarts kekd where that costs nothing; where it does not, it says what is so, by kekctl's exit codes.
for name in systemctl runuser kekctl; do
    rm -f "$units/bin/$name"
done
printf '#!/bin/sh\nexit 0\n' >"$units/bin/systemctl"
printf '#!/bin/sh\nshift 3\nexec "$@"\n' >"$units/bin/runuser"
cat >"$units/bin/kekctl" <<'END'
#!/bin/sh
case "$*" in
*'config check') echo "words of check"; exit "$CHECK" ;;
*) echo "words of status"; exit "$STATUS" ;;
esac
END
chmod +x "$units/bin/systemctl" "$units/bin/runuser" "$units/bin/kekctl"
sed -e "s|@bindir@|$units/bin|; s|@sysconfdir@|/etc|; s|/run/systemd/system|$units|" "$deploy/restart-if-well.in" >"$units/restart"
while read -r check status restarts words; do
    said=$(CHECK=$check STATUS=$status PATH="$units/bin:$PATH" sh "$units/restart" echo RESTARTED 2>&1) ||
        fail "restart-if-well spoils an upgrade ($check, $status)"
    did=no
    case "$said" in RESTARTED | *"
RESTARTED") did=yes ;; esac
    test "$did" = "$restarts" || fail "restart-if-well: restarts: $did, at $check, $status: $said"
    test "$words" = - || echo "$said" | grep -q "$words" || fail "restart-if-well does not say '$words' at $check, $status: $said"
    test "$did" = yes || echo "$said" | grep -q '^words of ' || fail "restart-if-well hides what kekctl says at $check, $status: $said"
done <<'END'
0 0 yes -
3 0 yes words of check
2 0 no the configuration would not be taken
1 0 no whether the configuration would be taken is not known
127 0 no whether the configuration would be taken is not known
0 3 no this node is not well
3 3 no this node is not well
0 1 no whether this node is well is not known
0 2 no whether this node is well is not known
END

exit $failed
