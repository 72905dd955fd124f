package kube

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apiserver/pkg/server/healthz"
	envelopekmsv2 "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	envelopemetrics "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	kmsservice "k8s.io/kms/pkg/service"

	"kekd.example/tests/kube/daemon"
)

// line is one of those that key rotate prints; the last one has the key_id.
type line struct {
	Step, State, Text string
	Version           int
	KeyID             string `json:"key_id"`
	KeyIDHash         string `json:"key_id_hash"`
}

// round is one rotation and what the nodes go through meanwhile.
type round struct {
	number  int // from 0
	runs    *node
	away    *node // from before its begin until after its end; nil: none
	present []*node
	options []string
	done    map[string]bool
	// No node is restarted that has announced the new key_id: the rotation waits until none may seal under the
	// old one any more, which takes 100 s.
	patient bool
	moments map[string]int // which restarts there were
}

const (
	beforePromotion = "between create and promote"
	afterPromotion  = "right after promote"
	afterAnnounced  = "right after announced"
	atRetirement    = "before retire"
)

func rounds(t *testing.T) int {
	t.Helper()
	text, given := os.LookupEnv("KEK_ROTATIONS")
	if !given {
		return 3
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 {
		t.Fatalf("KEK_ROTATIONS: expected a number from 1 on, found %q", text)
	}
	return count
}

// newRound spreads deeds over nodes and signals so that each meets each. Two of ten take their time.
func (c *cluster) newRound(number int, moments map[string]int) *round {
	first := number + number/3
	r := &round{number: number, runs: c.nodes[first%3], present: c.nodes, moments: moments, patient: number == 6,
		options: []string{"--i-have-a-backup", "--again"}, done: map[string]bool{}}
	if number%3 != 1 {
		return r
	}
	r.away, r.present = c.nodes[(first+1)%3], []*node{c.nodes[first%3], c.nodes[(first+2)%3]}
	if number == 4 {
		r.options, r.patient = append(r.options, "--without", r.away.address), true
		return r
	}
	for _, n := range r.present {
		r.options = append(r.options, "--node", n.address)
	}
	return r
}

func (r *round) signal(at int) syscall.Signal {
	return []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[(r.number+at)%2]
}

// meets restarts nodes at the moment that a line tells of, once per rotation.
func (r *round) meets(told line) {
	moment := map[string]string{"seen": beforePromotion, "announced": afterPromotion, "retire": afterAnnounced}[told.Step]
	if told.Step == "retire" && told.State == "acts" {
		moment = atRetirement
	}
	if moment == "" || r.done[moment] {
		return
	}
	r.done[moment] = true
	switch moment {
	case beforePromotion:
		r.present[r.number%len(r.present)].restart(r.signal(0))
	case afterPromotion:
		r.present[(r.number+1)%len(r.present)].restart(r.signal(1))
	case atRetirement:
		r.present[r.number%len(r.present)].restart(r.signal(1))
	case afterAnnounced:
		if r.patient {
			return
		}
		for at, n := range r.present {
			n.restart(r.signal(at))
			n.recovery.Wait()
		}
	}
	r.moments[moment]++
}

// rotate runs kekctl key rotate to its end; each of its lines goes to meets.
func (n *node) rotate(meets func(line), options ...string) (last line) {
	n.t.Helper()
	command := n.kekd.Kekctl(append([]string{"--output", "json", "key", "rotate"}, options...)...)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	n.t.Cleanup(cancel)
	context.AfterFunc(ctx, func() { _ = command.Process.Kill() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			n.t.Fatalf("kekctl said %q: %v", lines.Text(), err)
		}
		n.t.Logf("%s rotates: %s %s: %s", n.name, last.Step, last.State, last.Text)
		meets(last)
	}
	if err := command.Wait(); err != nil {
		n.t.Fatalf("kekctl key rotate: %v\n%s", err, complaints.String())
	}
	return last
}

// rotated is what must be so once it has ended and everybody is back.
func (c *cluster) rotated(ended line, version int) {
	c.t.Helper()
	hash := envelopekmsv2.GetHashIfNotEmpty(ended.KeyID)
	if ended.State != "ended" || ended.Version != version || ended.KeyIDHash != hash {
		c.t.Fatalf("kekctl ends with %+v, expected version %d", ended, version)
	}
	out, err := c.nodes[0].kekd.Kekctl("--output", "json", "key", "list").Output()
	if err != nil {
		c.t.Fatalf("kekctl key list: %v", err)
	}
	var list struct {
		Versions []struct {
			Version int
			State   string
		}
	}
	if err := json.Unmarshal(out, &list); err != nil || len(list.Versions) != version {
		c.t.Fatalf("the token has %d versions, not %d: %v", len(list.Versions), version, err)
	}
	for _, v := range list.Versions {
		if (v.State == "active") != (v.Version == version) || (v.State == "deactivated") != (v.Version != version) {
			c.t.Errorf("after the rotation to version %d, version %d is %s", version, v.Version, v.State)
		}
	}
	for _, n := range c.nodes {
		if left, _ := filepath.Glob(n.kekd.State() + "/*rotation*"); len(left) > 0 {
			c.t.Errorf("%s: still there: %v", n.name, left)
		}
		c.writesUnder(n, ended)
	}
}

// writesUnder: its API server polls once, and writes under the new key_id, in etcd and by its own metric.
func (c *cluster) writesUnder(n *node, ended line) {
	c.t.Helper()
	n.poll()
	before := used(c.t, n.name, ended.KeyIDHash)
	number := c.write(n)
	if used(c.t, n.name, ended.KeyIDHash) <= before {
		c.t.Errorf("%s writes, and its metric does not count it under %s", n.name, ended.KeyIDHash)
	}
	key := clusterPrefix + "/secrets/default/" + name(number)
	object := &kmstypes.EncryptedObject{}
	body, found := bytes.CutPrefix(server.values(c.t, key)[key], []byte("k8s:enc:kms:v2:kekd-v2:"))
	if err := proto.Unmarshal(body, object); err != nil || !found || object.KeyID != ended.KeyID {
		c.t.Errorf("%s writes under %q after the rotation to %q (%v)", n.name, object.KeyID, ended.KeyID, err)
	}
}

// used is apiserver_envelope_encryption_key_id_hash_total of the writes of an API server.
func used(t *testing.T, id, hash string) float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]string{"transformation_type": envelopemetrics.ToStorageLabel, "provider_name": "kekd-v2",
		"key_id_hash": hash, "apiserver_id_hash": envelopekmsv2.GetHashIfNotEmpty(id)}
	for _, family := range families {
		if family.GetName() != "apiserver_envelope_encryption_key_id_hash_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			matches := 0
			for _, label := range metric.GetLabel() {
				if wanted[label.GetName()] == label.GetValue() {
					matches++
				}
			}
			if matches == len(wanted) {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// onlyForward: no API server was told an older key_id after a newer one, or one of no version.
func (c *cluster) onlyForward(versions map[string]int) {
	for _, n := range c.nodes {
		last := 0
		for _, keyID := range n.api.told.keyIDs() {
			version := versions[keyID]
			if version <= last {
				c.t.Errorf("%s was told version %d (%s) after version %d", n.name, version, keyID, last)
			}
			last = version
		}
		if last != len(versions) {
			c.t.Errorf("%s was told version %d at last, not %d", n.name, last, len(versions))
		}
	}
}

// report is the run in figures.
func (c *cluster) report(count int, moments map[string]int) {
	c.t.Logf("%d rotations, restarts: %v", count, moments)
	for _, n := range c.nodes {
		encrypts, refused := n.api.told.counts()
		c.t.Logf("%s: %d reads and writes, %d tries in its own restarts; %d polls, %d seeds, %d refused", n.name,
			n.served.Load(), n.retried.Load(), n.polled.Load(), encrypts, refused)
	}
	c.t.Logf("%d objects of each kind; %d API servers started under it, %d seeds refused", c.next.Load(), c.starts,
		c.startsNo)
}

func TestRotationsOfAClusterCostItsAPIServersNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "cp1", "cp2", "cp3")
	versions := map[string]int{c.nodes[0].api.told.keyIDs()[0]: 1}
	moments := map[string]int{}
	count := rounds(t)
	c.begin()
	for number := 0; number < count; number++ {
		r := c.newRound(number, moments)
		if r.away != nil {
			r.away.goes(r.signal(1))
		}
		ended := r.runs.rotate(r.meets, r.options...)
		if r.away != nil {
			r.away.comes()
		}
		for _, n := range c.nodes {
			n.recovery.Wait()
		}
		versions[ended.KeyID] = number + 2
		c.rotated(ended, number+2)
	}
	c.end()
	c.report(count, moments)
	c.onlyForward(versions)
	for _, moment := range []string{beforePromotion, afterPromotion, afterAnnounced, atRetirement} {
		if moments[moment] == 0 {
			t.Errorf("no node was restarted %s", moment)
		}
	}
	for _, n := range c.nodes {
		n.api.readAll(int(c.next.Load()))
		// And one with empty caches, for which kekd opens the seeds of all versions.
		fresh := newAPIServer(t, n.kekd.Socket, clusterPrefix)
		fresh.waitHealthy()
		fresh.readAll(int(c.next.Load()))
		fresh.stop()
		n.kekd.Stop(syscall.SIGTERM)
	}
}

// TestASeedIsTakenOnlyUnderTheKeyIDOfStatus has a rotation come between the API server's Status and the Encrypt that
// follows it.  kekd seals under what it said on that connection; over a restart it cannot, and the API server, which
// then refuses the seed, gets one by its next poll.
func TestASeedIsTakenOnlyUnderTheKeyIDOfStatus(t *testing.T) {
	t.Parallel()
	n := newCluster(t, "cp1").nodes[0]
	nothing := func(line) {}
	for round, restart := range []bool{false, true} {
		var changed line
		heard := &told{meanwhile: func(service kmsservice.Service) {
			changed = n.rotate(nothing, "--i-have-a-backup", "--again", "--until", "announced")
			if restart {
				n.kekd.Stop(syscall.SIGKILL)
				n.kekd.Start()
				waitStatus(t, service)
			}
		}}
		config, cancel, err := load(n.api.file, "starts", heard)
		if err != nil {
			t.Fatal(err)
		}
		defer cancel()
		if encrypts, refused := heard.counts(); changed.Version != round+2 || encrypts != 1 || (refused == 1) != restart {
			t.Fatalf("version %d: %d of %d seeds refused", changed.Version, refused, encrypts)
		}
		expected := heard.keyIDs()[0]
		if restart {
			expected = ""
		}
		writesAs(t, config.HealthChecks[0], "at first", expected)
		if err := poll(config.HealthChecks[0]); err != nil {
			t.Errorf("the next poll: %v", err)
		}
		writesAs(t, config.HealthChecks[0], "after the next poll", changed.KeyID)
		// What it told before it forgets, so that the rotation need not wait for those who were told.
		n.kekd.Stop(syscall.SIGTERM)
		n.kekd.Start()
		n.rotate(nothing, "--i-have-a-backup")
	}
	n.kekd.Stop(syscall.SIGTERM)
}

// writesAs: the API server of that check writes under this key_id, or not at all.
func writesAs(t *testing.T, check healthz.HealthChecker, when, keyID string) {
	t.Helper()
	if is := probeOf(check).state.Load().EncryptedObjectKeyID; is != keyID {
		t.Errorf("%s it writes under %q, and not %q", when, is, keyID)
	}
}

// waitStatus waits until this client has reached kekd again.
func waitStatus(t *testing.T, service kmsservice.Service) {
	t.Helper()
	for end := time.Now().Add(daemon.Patience); ; {
		_, err := service.Status(testContext(t))
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("Status: %v", err)
		}
	}
}
