// Package oldgrpc lets the API server code of Kubernetes 1.28 use kekd: its grpc-go 1.54 sends the
// socket's raw path as :authority, which HTTP libraries refuse.
package oldgrpc

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/klog/v2"

	"kekd.example/tests/kube/daemon"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if !testing.Verbose() {
		quiet := flag.NewFlagSet("klog", flag.PanicOnError)
		klog.InitFlags(quiet)
		_ = quiet.Parse([]string{"-logtostderr=false", "-stderrthreshold=FATAL"})
		klog.SetOutput(io.Discard)
	}
	os.Exit(m.Run())
}

type apiserver struct {
	t      *testing.T
	cancel context.CancelFunc
	config *encryptionconfig.EncryptionConfiguration
	v2, v1 value.Transformer
}

func newAPIServer(t *testing.T, socket string) *apiserver {
	t.Helper()
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	text := fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - kms: {apiVersion: v2, name: kekd-v2, endpoint: "unix://%[1]s", timeout: 3s}
  - resources: [configmaps]
    providers:
      - kms: {apiVersion: v1, name: kekd-v1, endpoint: "unix://%[1]s", timeout: 3s, cachesize: 50}
`, socket)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	config, err := encryptionconfig.LoadEncryptionConfig(ctx, file, false)
	if err != nil {
		t.Fatalf("LoadEncryptionConfig: %v", err)
	}
	return &apiserver{t: t, cancel: cancel, config: config,
		v2: config.Transformers[schema.GroupResource{Resource: "secrets"}],
		v1: config.Transformers[schema.GroupResource{Resource: "configmaps"}]}
}

// waitHealthy waits for all that this release can like: it knows KMS v2 as "v2beta1" alone, so that
// its v2 check complains of the version, of nothing else, and still works; v1 is as good as today's.
func (a *apiserver) waitHealthy() {
	a.t.Helper()
	for end := time.Now().Add(daemon.Patience); ; time.Sleep(200 * time.Millisecond) {
		failed := []string{}
		for _, check := range a.config.HealthChecks {
			request, _ := http.NewRequest(http.MethodGet, "/readyz", nil)
			if err := check.Check(request); err != nil {
				failed = append(failed, check.Name()+": "+err.Error())
			}
		}
		if len(failed) == 1 && failed[0] == "kms-provider-0: kmsv2 Provider kekd-v2 is not healthy, "+
			"error: expected KMSv2 API version v2beta1, got v2" {
			return
		}
		if time.Now().After(end) {
			a.t.Fatalf("health: %q", failed)
		}
	}
}

func content(n int) []byte {
	return []byte(fmt.Sprintf("plaintext-of-object-%06d", n))
}

func where(n int) value.Context {
	return value.DefaultContext(fmt.Sprintf("/registry/secrets/default/object-%06d", n))
}

func (a *apiserver) write(through value.Transformer, prefix string, count int) [][]byte {
	a.t.Helper()
	var stored [][]byte
	for n := 0; n < count; n++ {
		out, err := through.TransformToStorage(context.Background(), content(n), where(n))
		if err != nil {
			a.t.Fatalf("write %s %d: %v", prefix, n, err)
		}
		if !bytes.HasPrefix(out, []byte(prefix)) || bytes.Contains(out, []byte("plaintext")) {
			a.t.Fatalf("stored as %.60q", out)
		}
		stored = append(stored, out)
	}
	return stored
}

func (a *apiserver) read(through value.Transformer, stored [][]byte) {
	a.t.Helper()
	for n, in := range stored {
		out, stale, err := through.TransformFromStorage(context.Background(), in, where(n))
		if err != nil || stale || !bytes.Equal(out, content(n)) {
			a.t.Fatalf("read %d: %.60q, stale %v, %v", n, out, stale, err)
		}
	}
}

func TestKubernetes128ReadsAndWritesOverRestarts(t *testing.T) {
	if grpc.Version != "1.54.0" {
		t.Fatalf("grpc-go %s does not send what this test is for", grpc.Version)
	}
	kekd := daemon.New(t, "")
	kekd.Start()
	first := newAPIServer(t, kekd.Socket)
	first.waitHealthy()
	v2 := first.write(first.v2, "k8s:enc:kms:v2:kekd-v2:", 100)
	v1 := first.write(first.v1, "k8s:enc:kms:v1:kekd-v1:", 100)
	first.read(first.v2, v2)
	first.read(first.v1, v1)
	first.cancel()
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		kekd.Stop(end)
		kekd.Start()
		fresh := newAPIServer(t, kekd.Socket)
		fresh.waitHealthy()
		fresh.read(fresh.v2, v2)
		fresh.read(fresh.v1, v1)
		fresh.cancel()
	}
	kekd.Stop(syscall.SIGTERM)
}

// The authority is what this module is here for: it must be on the wire as it was then.
func TestThisClientSendsARawPathAsAuthority(t *testing.T) {
	folder, err := os.MkdirTemp("", "kekd-kube-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	socket := folder + "/kms.sock"
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var seen bytes.Buffer
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		defer group.Done()
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		defer connection.Close()
		_, _ = connection.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0})
		_ = connection.SetReadDeadline(time.Now().Add(2 * time.Second))
		buffer := make([]byte, 4096)
		for {
			n, err := connection.Read(buffer)
			seen.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	newAPIServer(t, socket).cancel()
	group.Wait()
	// grpc-go sends header values in HPACK's Huffman code.
	if !bytes.Contains(seen.Bytes(), hpack.AppendHuffmanString(nil, socket)) {
		t.Fatalf("no raw path in %q", seen.Bytes())
	}
}
