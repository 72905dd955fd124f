package kube

import (
	"bytes"
	"crypto/aes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	"k8s.io/client-go/kubernetes/scheme"
)

// recoverObject runs the blocks of docs/recovery.md, as they stand there, on one value from etcd.
func recoverObject(t *testing.T, folder, script, conf, pin, key string, value []byte) ([]byte, string) {
	t.Helper()
	os.Remove(folder + "/object")
	if err := os.WriteFile(folder+"/value", value, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("sh")
	command.Stdin = strings.NewReader(script)
	command.Env = append(os.Environ(), "MODULE=/usr/lib/softhsm/libsofthsm2.so", "TOKEN=kek-test",
		"CONTEXT=kube", "SOFTHSM2_CONF="+conf, "KEK_PIN="+pin, "SCRATCH="+folder, "ETCD_KEY="+key,
		"ENVELOPE="+folder+"/value", "PLAINTEXT="+folder+"/plaintext", "OBJECT="+folder+"/object")
	said, err := command.CombinedOutput()
	object, missing := os.ReadFile(folder + "/object")
	if (err == nil) != (missing == nil) {
		t.Errorf("the page ends with %v, and the object with %v", err, missing)
	}
	return object, string(said)
}

// underKey is a v2 value as API servers before 1.29 wrote it: the data-encryption key is the object's own.
func underKey(t *testing.T, folder, key string, sealed, object []byte) []byte {
	t.Helper()
	seed, err := os.ReadFile(folder + "/plaintext")
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(seed)
	if err != nil {
		t.Fatal(err)
	}
	transformer, err := aestransformer.NewGCMTransformer(block)
	if err != nil {
		t.Fatal(err)
	}
	const prefix = "k8s:enc:kms:v2:kekd-v2:"
	message := &kmstypes.EncryptedObject{}
	if err := proto.Unmarshal(sealed[len(prefix):], message); err != nil {
		t.Fatal(err)
	}
	message.EncryptedData, err = transformer.TransformToStorage(testContext(t), object, value.DefaultContext(key))
	if err != nil {
		t.Fatal(err)
	}
	message.EncryptedDEKSourceType = kmstypes.EncryptedDEKSourceType_AES_GCM_KEY
	body, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(prefix), body...)
}

// What an API server wrote is read from etcd without it and without kekd.
func TestTheRecoveryPageEndsAtTheObject(t *testing.T) {
	for _, program := range []string{"pkcs11-tool", "openssl", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIP: %v", err)
		}
	}
	page, err := os.ReadFile(filepath.Join(os.Getenv("abs_top_srcdir"), "docs/recovery.md"))
	if err != nil {
		t.Fatal(err)
	}
	script := ""
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllSubmatch(page, -1) {
		script += string(block[1])
	}
	kekd := start(t)
	a := newAPIServer(t, kekd.Socket, "/recovery")
	a.waitHealthy()
	a.write(0, 2)
	conf, pin := kekd.Token()
	folder := t.TempDir()
	kekd.Stop(syscall.SIGTERM)

	check := func(key string, value []byte, data func(runtime.Object) []byte) []byte {
		t.Helper()
		found, said := recoverObject(t, folder, script, conf, pin, key, value)
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(found, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v\n%s", key, err, said)
		}
		if got := data(object); !bytes.Equal(got, content(0)) {
			t.Errorf("%s holds %q", key, got)
		}
		// One bit of the object, and a value that was copied to another key.
		damaged := bytes.Clone(value)
		at := len(damaged) - 1
		if strings.Contains(key, "secrets") {
			at = len("k8s:enc:kms:v2:kekd-v2:") + 60
		}
		damaged[at] ^= 1
		for _, other := range []struct {
			key   string
			value []byte
		}{{key, damaged}, {key + "x", value}} {
			found, said := recoverObject(t, folder, script, conf, pin, other.key, other.value)
			if found != nil || !strings.Contains(said, "the object's tag does not match") {
				t.Errorf("%s: %s", other.key, said)
			}
		}
		return found
	}
	secret, configMap := "/recovery/secrets/default/"+name(0), "/recovery/configmaps/default/"+name(0)
	ofSecret := func(object runtime.Object) []byte { return object.(*corev1.Secret).Data["password"] }
	sealed := server.values(t, secret)[secret]
	object := check(secret, sealed, ofSecret)
	check(secret, underKey(t, folder, secret, sealed, object), ofSecret)
	check(configMap, server.values(t, configMap)[configMap], func(object runtime.Object) []byte {
		return []byte(object.(*corev1.ConfigMap).Data["password"])
	})
}
