// Package kube lets Kubernetes' own code use kekd: the API server's encryption configuration loader,
// transformers, health checks and etcd storage, on a real etcd.
package kube

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	envelopekmsv2 "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"
	kmsv2 "k8s.io/kms/apis/v2"

	"kekd.example/tests/kube/daemon"
)

const objects = 300

var server *etcd

func TestMain(m *testing.M) {
	os.Exit(func() int {
		flag.Parse()
		if !testing.Verbose() {
			// Kubernetes' and grpc-go's own words, of connections that these tests break on purpose.
			quiet := flag.NewFlagSet("klog", flag.PanicOnError)
			klog.InitFlags(quiet)
			_ = quiet.Parse([]string{"-logtostderr=false", "-stderrthreshold=FATAL"})
			klog.SetOutput(io.Discard)
		}
		// Set once, before anything reads it; a test moves the offset.
		envelopekmsv2.NowFunc = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		encryptionconfig.EnvelopeKMSv2ServiceFactory = newToldService
		if err := utilfeature.DefaultMutableFeatureGate.Set("KMSv1=true"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		var err error
		if server, err = startEtcd(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer server.stop()
		return m.Run()
	}())
}

func start(t *testing.T) *daemon.Kekd {
	t.Helper()
	kekd := daemon.New(t, "")
	kekd.Start()
	return kekd
}

// statusOf asks kekd itself, with a current grpc-go and Kubernetes' stubs.
func statusOf(t *testing.T, socket string) *kmsv2.StatusResponse {
	t.Helper()
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	for end := time.Now().Add(daemon.Patience); ; time.Sleep(50 * time.Millisecond) {
		answer, err := kmsv2.NewKeyManagementServiceClient(connection).Status(testContext(t),
			&kmsv2.StatusRequest{}, grpc.WaitForReady(true))
		if err == nil {
			return answer
		}
		if status.Code(err) != codes.Unavailable || time.Now().After(end) {
			t.Fatalf("Status: %v", err)
		}
	}
}

// lies insists on what is in etcd: the prefixes, no plaintext, and the key_id that Status announces.
func lies(t *testing.T, prefix, keyID string) (sources map[string]bool) {
	t.Helper()
	sources = map[string]bool{}
	secrets := server.values(t, prefix+"/secrets/")
	if len(secrets) != objects {
		t.Fatalf("%d Secrets in etcd", len(secrets))
	}
	for key, value := range secrets {
		body, found := bytes.CutPrefix(value, []byte("k8s:enc:kms:v2:kekd-v2:"))
		if !found {
			t.Fatalf("%s begins with %.40q", key, value)
		}
		object := &kmstypes.EncryptedObject{}
		if err := proto.Unmarshal(body, object); err != nil {
			t.Fatal(err)
		}
		if object.KeyID != keyID {
			t.Fatalf("%s is under %q, Status says %q", key, object.KeyID, keyID)
		}
		if object.EncryptedDEKSourceType != kmstypes.EncryptedDEKSourceType_HKDF_SHA256_XNONCE_AES_GCM_SEED {
			t.Fatalf("%s: seed of type %v", key, object.EncryptedDEKSourceType)
		}
		sources[string(object.EncryptedDEKSource)] = true
	}
	configMaps := server.values(t, prefix+"/configmaps/")
	if len(configMaps) != objects {
		t.Fatalf("%d ConfigMaps in etcd", len(configMaps))
	}
	keks := map[string]bool{}
	for key, value := range configMaps {
		body, found := bytes.CutPrefix(value, []byte("k8s:enc:kms:v1:kekd-v1:"))
		if !found {
			t.Fatalf("%s begins with %.40q", key, value)
		}
		keks[string(body[2:2+24])] = true
	}
	if len(keks) != 1 {
		t.Fatalf("v1 ciphertexts under %d KEKs", len(keks))
	}
	for _, all := range []map[string][]byte{secrets, configMaps} {
		for key, value := range all {
			if bytes.Contains(value, []byte("plaintext")) || bytes.Contains(value, []byte("password")) {
				t.Fatalf("%s lies in etcd in clear", key)
			}
		}
	}
	return sources
}

func TestObjectsSurviveEveryRestartOfEitherSide(t *testing.T) {
	kekd := start(t)
	answer := statusOf(t, kekd.Socket)
	if answer.Version != "v2" || answer.Healthz != "ok" || !regexp.MustCompile(`^kek1-[0-9a-f]{32}$`).MatchString(answer.KeyId) {
		t.Fatalf("Status: %v", answer)
	}
	first := newAPIServer(t, kekd.Socket, "/either")
	first.waitHealthy()
	first.write(0, objects)
	first.readAll(objects)
	if sources := lies(t, "/either", answer.KeyId); len(sources) != 1 {
		t.Fatalf("%d seeds from one API server", len(sources))
	}
	first.stop()

	// A new API server, with empty caches, while kekd stays.
	second := newAPIServer(t, kekd.Socket, "/either")
	second.waitHealthy()
	second.readAll(objects)
	second.stop()

	// A new kekd, with empty caches, too.
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		kekd.Stop(end)
		kekd.Start()
		if again := statusOf(t, kekd.Socket); again.KeyId != answer.KeyId {
			t.Fatalf("key_id %q after %v, %q before", again.KeyId, end, answer.KeyId)
		}
		fresh := newAPIServer(t, kekd.Socket, "/either")
		fresh.waitHealthy()
		fresh.readAll(objects)
		fresh.stop()
	}
	kekd.Stop(syscall.SIGTERM)
}

func TestARunningAPIServerSurvivesARestartOfKekd(t *testing.T) {
	t.Parallel()
	kekd := start(t)
	a := newAPIServer(t, kekd.Socket, "/running")
	a.waitHealthy()
	a.write(0, 50)
	for n, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		kekd.Stop(end)
		// v2 goes on from memory; kekd is not asked.
		if err := a.createSecret(1000 + n); err != nil {
			t.Fatalf("a v2 write without kekd: %v", err)
		}
		kekd.Start()
		// v1 asks for each write: the first may have to wait for the client's next try to connect.
		for deadline := time.Now().Add(daemon.Patience); ; {
			err := a.createConfigMap(1000 + n)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("v1 does not come back: %v", err)
			}
		}
		a.write(50+n*50, 100+n*50)
	}
	a.waitHealthy()
	kekd.Stop(syscall.SIGTERM)
}

func TestActivationLosesNoCallOverARestart(t *testing.T) {
	t.Parallel()
	kekd := daemon.New(t, "")
	kekd.Activate()
	kekd.Start()
	a := newAPIServer(t, kekd.Socket, "/activated")
	a.waitHealthy()
	var group sync.WaitGroup
	stop := make(chan struct{})
	for worker := 0; worker < 4; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for n := worker * 100000; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := a.createConfigMap(n); err != nil {
					t.Errorf("v1 write %d: %v", n, err)
					return
				}
			}
		}()
	}
	for restart := 0; restart < 3; restart++ {
		time.Sleep(500 * time.Millisecond)
		kekd.Stop(syscall.SIGTERM)
		kekd.Start()
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	group.Wait()
	kekd.Stop(syscall.SIGTERM)
}

func TestHealthFollowsKekd(t *testing.T) {
	t.Parallel()
	kekd := daemon.New(t, "")
	// Loaded while kekd is down: the API server starts, and is not ready.
	a := newAPIServer(t, kekd.Socket, "/health")
	said := a.health()
	if len(said) != 2 {
		t.Fatalf("health checks: %v", said)
	}
	for check, err := range said {
		if !strings.HasPrefix(check, "kms-provider-") {
			t.Errorf("a health check called %s", check)
		}
		if err == nil {
			t.Errorf("%s is healthy without a kekd", check)
		}
	}
	kekd.Start()
	a.waitHealthy()
	a.write(0, 3)
	a.readAll(3)
	kekd.Stop(syscall.SIGTERM)
	fresh := newAPIServer(t, kekd.Socket, "/health")
	for check, err := range fresh.health() {
		if err == nil {
			t.Errorf("%s is healthy after kekd's end", check)
		}
	}
}

func TestSeveralAPIServersShareOneKekd(t *testing.T) {
	kekd := start(t)
	statusOf(t, kekd.Socket)
	const servers, each = 5, 40
	var all []*apiserver
	for n := 0; n < servers; n++ {
		all = append(all, newAPIServer(t, kekd.Socket, "/several"))
	}
	var group sync.WaitGroup
	for n, a := range all {
		a.waitHealthy()
		group.Add(1)
		go func() {
			defer group.Done()
			for i := n * each; i < (n+1)*each; i++ {
				if err := a.createSecret(i); err != nil {
					t.Errorf("Secret %d: %v", i, err)
				}
				if err := a.createConfigMap(i); err != nil {
					t.Errorf("ConfigMap %d: %v", i, err)
				}
			}
		}()
	}
	group.Wait()
	for _, a := range all {
		a.readAll(servers * each)
	}
	kekd.Stop(syscall.SIGTERM)
}

func TestStrictModeServesTheAPIServerToo(t *testing.T) {
	t.Parallel()
	kekd := daemon.New(t, "data_key: {max_uses: 1}\n")
	kekd.Start()
	a := newAPIServer(t, kekd.Socket, "/strict")
	a.waitHealthy()
	a.write(0, 60)
	a.readAll(60)
	a.stop()
	fresh := newAPIServer(t, kekd.Socket, "/strict")
	fresh.waitHealthy()
	fresh.readAll(60)
	kekd.Stop(syscall.SIGTERM)
}

func TestAPlainCurrentClientIsServed(t *testing.T) {
	kekd := start(t)
	statusOf(t, kekd.Socket)
	// Each a form of :authority that some release of the API server sends.
	for _, options := range [][]grpc.DialOption{
		nil,
		{grpc.WithAuthority("localhost")},
		{grpc.WithAuthority(kekd.Socket)},
		{grpc.WithAuthority("@kms.sock")},
	} {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
		connection, err := grpc.NewClient("unix://"+kekd.Socket, options...)
		if err != nil {
			t.Fatal(err)
		}
		client := kmsv2.NewKeyManagementServiceClient(connection)
		plaintext := bytes.Repeat([]byte("k"), 32)
		sealed, err := client.Encrypt(testContext(t), &kmsv2.EncryptRequest{Plaintext: plaintext, Uid: "uid-1"})
		if err != nil {
			t.Fatal(err)
		}
		opened, err := client.Decrypt(testContext(t), &kmsv2.DecryptRequest{Ciphertext: sealed.Ciphertext,
			KeyId: sealed.KeyId, Annotations: sealed.Annotations, Uid: "uid-2"})
		if err != nil || !bytes.Equal(opened.Plaintext, plaintext) {
			t.Fatalf("Decrypt: %v, %v", opened, err)
		}
		ctx, cancel := context.WithCancel(testContext(t))
		cancel()
		if _, err := client.Status(ctx, &kmsv2.StatusRequest{}); status.Code(err) != codes.Canceled {
			t.Fatalf("a cancelled call: %v", err)
		}
		connection.Close()
	}
	kekd.Stop(syscall.SIGTERM)
}
