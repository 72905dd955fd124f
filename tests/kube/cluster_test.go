package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"kekd.example/tests/kube/daemon"
)

const clusterPrefix = "/cluster"

// backoff is more than grpc-go leaves between two tries to reach a kekd that has been away for long: 120 s and a fifth.
const backoff = 2*time.Minute + daemon.Patience

// node is a kekd, the API server beside it, and what became of that one's calls.
type node struct {
	t        *testing.T
	cluster  *cluster
	name     string
	address  string // of the status listener
	kekd     *daemon.Kekd
	api      *apiserver
	polls    time.Duration // how often it polls Status
	recovery sync.WaitGroup

	lock    sync.Mutex
	down    bool
	up      time.Time // since when it is not, and its API server has found that out
	refused int       // polls in a row that got no seed

	served, retried, polled atomic.Int64
	v1Begun                 atomic.Int64 // when the last v1 write that went well began, in ns
}

// cluster is several of them on one token and one etcd, and what they have written.
type cluster struct {
	t     *testing.T
	nodes []*node
	stop  chan struct{}
	load  sync.WaitGroup
	// The test has ended: what its clients still want no longer counts.
	abandoned atomic.Bool
	endOnce   sync.Once

	next             atomic.Int64 // number of the next object
	lock             sync.Mutex
	written          []int
	starts, startsNo int // API servers that started under load, and those without a seed at first
}

// ---- nodes and certificates ----

// authority signs the certificates of the status listeners.
type authority struct {
	t      *testing.T
	folder string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, folder: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{Subject: pkix.Name{CommonName: "kekd status CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign})
	return a
}

func (a *authority) path(name, suffix string) string {
	return filepath.Join(a.folder, name+suffix)
}

func (a *authority) issue(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	a.serial++
	template.SerialNumber = big.NewInt(a.serial)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	issuer, signer := a.cert, a.key
	if issuer == nil {
		issuer, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name, ".pem", "CERTIFICATE", der)
	a.write(name, ".key", "PRIVATE KEY", private)
	return cert, key
}

func (a *authority) write(name, suffix, kind string, der []byte) {
	a.t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(a.path(name, suffix), text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// ownHost is a loopback address that no other process of these tests takes; each listener has a port of its own.
func ownHost() net.IP {
	pid := os.Getpid()
	return net.IPv4(127, byte(64|pid>>16&63), byte(pid>>8), byte(pid))
}

var ports atomic.Int64

func newCluster(t *testing.T, names ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, stop: make(chan struct{})}
	ca := newAuthority(t)
	var addresses []string
	for range names {
		addresses = append(addresses, fmt.Sprintf("%s:%d", ownHost(), 9440+ports.Add(1)))
	}
	for i, name := range names {
		ca.issue(name, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{ownHost()},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
		extra := fmt.Sprintf(`settle: 300ms
status: {listen: %q, cert: %q, key: %q, ca: %q, allow: [%s], nodes: ["%s"], name: %s}
`, addresses[i], ca.path(name, ".pem"), ca.path(name, ".key"), ca.path("ca", ".pem"), strings.Join(names, ", "),
			strings.Join(addresses, `", "`), name)
		n := &node{t: t, cluster: c, name: name, address: addresses[i]}
		// One hears of a change at once, one a little later, one long after the others.
		n.polls = []time.Duration{300 * time.Millisecond, time.Second, 6 * time.Second}[i%3]
		if i == 0 {
			n.kekd = daemon.New(t, extra)
		} else {
			n.kekd = c.nodes[0].kekd.Join(extra)
		}
		c.nodes = append(c.nodes, n)
	}
	t.Cleanup(func() {
		c.abandoned.Store(true)
		c.end()
		for _, n := range c.nodes {
			n.recovery.Wait()
		}
	})
	for _, n := range c.nodes {
		n.kekd.Start()
		n.api = newAPIServerNamed(t, n.kekd.Socket, clusterPrefix, n.name)
		n.api.waitHealthy()
	}
	return c
}

// ---- restarts ----

// goes ends its kekd.
func (n *node) goes(end syscall.Signal) {
	n.t.Helper()
	n.recovery.Wait()
	n.lock.Lock()
	n.down = true
	n.lock.Unlock()
	n.kekd.Stop(end)
}

// comes starts it again; what fails until its API server has reached it, by v1 and v2, is the restart's.
func (n *node) comes() {
	n.t.Helper()
	started := time.Now()
	n.kekd.Start()
	n.recovery.Add(1)
	go func() {
		defer n.recovery.Done()
		for end := time.Now().Add(backoff); ; time.Sleep(50 * time.Millisecond) {
			err := poll(n.api.config.HealthChecks[0])
			if err == nil && n.v1Begun.Load() > started.UnixNano() {
				break
			}
			if n.cluster.abandoned.Load() {
				break
			}
			if time.Now().After(end) {
				n.t.Errorf("%s does not come back: v2 %v", n.name, err)
				break
			}
		}
		n.lock.Lock()
		defer n.lock.Unlock()
		n.down, n.up = false, time.Now()
	}()
}

func (n *node) restart(end syscall.Signal) {
	n.t.Helper()
	n.goes(end)
	n.comes()
}

// restarting: a call that began then may have met a restart.
func (n *node) restarting(begun time.Time) bool {
	n.lock.Lock()
	defer n.lock.Unlock()
	return n.down || begun.Before(n.up)
}

// ---- load ----

func (c *cluster) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

func (c *cluster) begin() {
	for i, n := range c.nodes {
		for _, work := range []func(*node, int){c.writes, c.reads, c.pollsStatus, c.startsMore} {
			c.load.Add(1)
			go func() {
				defer c.load.Done()
				work(n, i)
			}()
		}
	}
}

func (c *cluster) end() {
	c.endOnce.Do(func() { close(c.stop) })
	c.load.Wait()
}

// call repeats what a restart of the node cut short; anything else may not fail.
func (n *node) call(what string, do func() error) bool {
	for ; ; time.Sleep(50 * time.Millisecond) {
		begun := time.Now()
		err := do()
		if err == nil {
			n.served.Add(1)
			return true
		}
		if n.cluster.abandoned.Load() {
			return false
		}
		if !n.restarting(begun) {
			n.t.Errorf("%s by %s: %v", what, n.name, err)
			return false
		}
		n.retried.Add(1)
	}
}

// write writes one Secret (v2) and one ConfigMap (v1), and tells the readers.
func (c *cluster) write(n *node) (number int) {
	number = int(c.next.Add(1) - 1)
	secret := n.call("a v2 write", func() error { return n.api.createSecret(number) })
	configMap := n.call("a v1 write", func() error {
		begun := time.Now()
		err := n.api.createConfigMap(number)
		if err == nil {
			n.v1Begun.Store(begun.UnixNano())
		}
		return err
	})
	if secret && configMap {
		c.lock.Lock()
		defer c.lock.Unlock()
		c.written = append(c.written, number)
	}
	return number
}

func (c *cluster) writes(n *node, _ int) {
	for ; !c.stopped(); time.Sleep(200 * time.Millisecond) {
		c.write(n)
	}
}

func (n *node) read(number int) {
	secret, configMap := &corev1.Secret{}, &corev1.ConfigMap{}
	if !n.readOne("a v2 read", n.api.secrets, "/secrets/default/"+name(number), secret) ||
		!n.readOne("a v1 read", n.api.configMaps, "/configmaps/default/"+name(number), configMap) {
		return
	}
	for _, got := range []string{string(secret.Data["password"]), configMap.Data["password"]} {
		if got != string(content(number)) {
			n.t.Errorf("%s reads %q in object %d", n.name, got, number)
		}
	}
}

func (n *node) readOne(what string, from storage.Interface, key string, object runtime.Object) bool {
	return n.call(what, func() error {
		return from.Get(testContext(n.t), key, storage.GetOptions{}, object)
	})
}

// reads reads each object, whoever wrote it, soon after it was written, and one of long ago beside it.
func (c *cluster) reads(n *node, _ int) {
	for at := 0; ; {
		c.lock.Lock()
		written := c.written[:len(c.written):len(c.written)]
		c.lock.Unlock()
		if at == len(written) {
			if c.stopped() {
				return
			}
			time.Sleep(20 * time.Millisecond)
			continue
		}
		n.read(written[at])
		n.read(written[at*7919%(at+1)])
		at++
	}
}

func (c *cluster) pollsStatus(n *node, _ int) {
	for ; !c.stopped(); time.Sleep(n.polls) {
		n.poll()
	}
}

// poll must go well, but for a restart; where the seed it gets is refused, the next one must bring another.
func (n *node) poll() {
	begun := time.Now()
	_, before := n.api.told.counts()
	err := poll(n.api.config.HealthChecks[0])
	_, after := n.api.told.counts()
	n.polled.Add(1)
	n.lock.Lock()
	defer n.lock.Unlock()
	switch {
	case err == nil:
		n.refused = 0
	case after > before:
		n.refused++
		if n.refused > 1 {
			n.t.Errorf("%s refuses a seed again, the poll after it did: %v", n.name, err)
		}
	case !n.down && !begun.Before(n.up):
		n.t.Errorf("a poll by %s: %v", n.name, err)
	}
}

// startsMore starts an API server again and again: each asks for a Status and a seed.
func (c *cluster) startsMore(n *node, i int) {
	for ; !c.stopped(); time.Sleep(500 * time.Millisecond) {
		begun := time.Now()
		heard := &told{}
		config, cancel, err := load(n.api.file, n.name, heard)
		if err != nil {
			c.t.Errorf("LoadEncryptionConfig: %v", err)
			return
		}
		err = poll(config.HealthChecks[0])
		_, refused := heard.counts()
		if err != nil && refused == 1 {
			err = poll(config.HealthChecks[0])
		}
		cancel()
		if err != nil && n.restarting(begun) {
			continue
		}
		if err != nil {
			c.t.Errorf("an API server that starts on %s: %v", n.name, err)
		}
		c.lock.Lock()
		c.starts++
		c.startsNo += refused
		c.lock.Unlock()
	}
}
