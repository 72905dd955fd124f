package kube

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	kmsv2 "k8s.io/kms/apis/v2"

	"kekd.example/tests/kube/daemon"
)

// What the API server makes of kekd's two kinds of trouble, which must not look alike to it: an outage,
// through which it serves and, for a while, is ready; and a loss, under which it stops writing.

// ahead is how far the API server's clock for seeds is ahead of the real one, in nanoseconds. Tests that
// move it do not run in parallel with others.
var ahead atomic.Int64

// seedTTL is past what the API server writes under a seed for, since the last Status that went well.
const seedTTL = 3*time.Minute + time.Second

// waitHealth waits until the check of that name fails with that text.
func (a *apiserver) waitHealth(check, text string) {
	a.t.Helper()
	for end := time.Now().Add(daemon.Patience); ; time.Sleep(200 * time.Millisecond) {
		err := a.health()[check]
		if err != nil && strings.Contains(err.Error(), text) {
			return
		}
		if time.Now().After(end) {
			a.t.Fatalf("%s does not say %q: %v", check, text, err)
		}
	}
}

const (
	v2Check = "kms-provider-0"
	v1Check = "kms-provider-1"
)

func TestAnAPIServerIsReadyWithinTheGraceOfAnOutage(t *testing.T) {
	kekd := start(t)
	keyID := statusOf(t, kekd.Socket).KeyId
	before := newAPIServer(t, kekd.Socket, "/grace")
	before.waitHealthy()
	before.write(0, 3)
	kekd.Unplug()
	kekd.WaitLogged("outage: no HSM answers")
	// A fresh one has no answers of before: its checks ask kekd now, and the seed it gets is good.
	fresh := newAPIServer(t, kekd.Socket, "/grace")
	for check, err := range fresh.health() {
		if err != nil {
			t.Errorf("%s in the grace of an outage: %v", check, err)
		}
	}
	fresh.write(3, 6)
	before.write(6, 9)
	fresh.readAll(9)
	if again := statusOf(t, kekd.Socket).KeyId; again != keyID {
		t.Errorf("key_id %q in an outage, %q before", again, keyID)
	}
	kekd.Plug()
	kekd.WaitLogged("a provider answers again")
	kekd.Stop(syscall.SIGTERM)
}

func TestALongOutageTakesReadinessAndNothingElse(t *testing.T) {
	kekd := daemon.New(t, "health: {grace: 1s}\n")
	kekd.Start()
	a := newAPIServer(t, kekd.Socket, "/outage")
	a.waitHealthy()
	a.write(0, 3)
	kekd.Unplug()
	defer ahead.Store(0)
	a.waitHealth(v2Check, "got unexpected healthz status: ")
	if err := a.health()[v1Check]; err != nil {
		t.Errorf("v1, which asks for what kekd can still do, is not healthy: %v", err)
	}
	// Not ready, and yet everything works, for longer than a seed lives without kekd: each Status that
	// comes with a key_id prolongs it.
	ahead.Store(int64(seedTTL))
	for end := time.Now().Add(daemon.Patience); ; time.Sleep(200 * time.Millisecond) {
		_ = a.health()
		err := a.createSecret(3)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("a v2 write in an outage: %v", err)
		}
	}
	if err := a.createConfigMap(3); err != nil {
		t.Fatalf("a v1 write in an outage: %v", err)
	}
	a.readAll(4)
	kekd.Plug()
	a.waitHealthy()
	a.write(4, 6)
	a.readAll(6)
	kekd.Stop(syscall.SIGTERM)
}

func TestWritesStopUnderALostKEK(t *testing.T) {
	kekd := start(t)
	a := newAPIServer(t, kekd.Socket, "/lost")
	a.waitHealthy()
	a.write(0, 3)
	kekd.LoseKeys()
	defer ahead.Store(0)
	for end := time.Now().Add(daemon.Patience); statusCode(t, kekd.Socket) != codes.FailedPrecondition; {
		if time.Now().After(end) {
			t.Fatal("kekd does not notice the loss")
		}
		time.Sleep(100 * time.Millisecond)
	}
	// v1 asks for each write, and v2 has its seed: until it has lived three minutes without a Status.
	if err := a.createConfigMap(3); err == nil || !strings.Contains(err.Error(), codes.FailedPrecondition.String()) {
		t.Errorf("a v1 write under a lost KEK: %v", err)
	}
	ahead.Store(int64(seedTTL))
	if err := a.createSecret(3); err == nil || !strings.Contains(err.Error(), "expired at") {
		t.Errorf("a v2 write under a lost KEK: %v", err)
	}
	// Nothing was written, and what it has in its caches it still reads.
	a.readAll(3)
	// An API server that starts now is not ready, and gets no seed at all.
	fresh := newAPIServer(t, kekd.Socket, "/lost")
	fresh.waitHealth(v2Check, codes.FailedPrecondition.String())
	fresh.waitHealth(v1Check, codes.FailedPrecondition.String())
	if err := fresh.createSecret(3); err == nil {
		t.Error("a fresh API server writes under a lost KEK")
	}
	ahead.Store(0)
	kekd.RestoreKeys()
	fresh.waitHealthy()
	fresh.write(3, 5)
	a.write(5, 7)
	fresh.readAll(7)
	kekd.Stop(syscall.SIGTERM)
}

// statusCode is what one Status call gets from kekd itself.
func statusCode(t *testing.T, socket string) codes.Code {
	t.Helper()
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_, err = kmsv2.NewKeyManagementServiceClient(connection).Status(testContext(t), &kmsv2.StatusRequest{},
		grpc.WaitForReady(true))
	return status.Code(err)
}
