package kube

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/kubernetes/scheme"

	"kekd.example/tests/kube/daemon"
)

var (
	secretsResource    = schema.GroupResource{Resource: "secrets"}
	configMapsResource = schema.GroupResource{Resource: "configmaps"}
)

// apiserver is the part of a kube-apiserver that stores objects: the encryption configuration as it
// loads it, and the storage it puts behind it.  Secrets go through KMS v2, ConfigMaps through v1beta1,
// on one socket.
type apiserver struct {
	t          *testing.T
	cancel     context.CancelFunc
	file       string // its EncryptionConfiguration
	told       *told
	config     *encryptionconfig.EncryptionConfiguration
	secrets    storage.Interface
	configMaps storage.Interface
	destroy    []factory.DestroyFunc
}

func newAPIServer(t *testing.T, socket, prefix string) *apiserver {
	t.Helper()
	return newAPIServerNamed(t, socket, prefix, "apiserver-test")
}

// newAPIServerNamed makes one whose metrics are told from the others' by id.
func newAPIServerNamed(t *testing.T, socket, prefix, id string) *apiserver {
	t.Helper()
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	text := fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - kms: {apiVersion: v2, name: kekd-v2, endpoint: "unix://%[1]s", timeout: 3s}
      - identity: {}
  - resources: [configmaps]
    providers:
      - kms: {apiVersion: v1, name: kekd-v1, endpoint: "unix://%[1]s", timeout: 3s, cachesize: 50}
      - identity: {}
`, socket)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &apiserver{t: t, file: file, told: &told{}}
	var err error
	a.config, a.cancel, err = load(file, id, a.told)
	t.Cleanup(a.stop)
	if err != nil {
		t.Fatalf("LoadEncryptionConfig: %v", err)
	}
	a.secrets = a.store(prefix, secretsResource,
		func() runtime.Object { return &corev1.Secret{} },
		func() runtime.Object { return &corev1.SecretList{} })
	a.configMaps = a.store(prefix, configMapsResource,
		func() runtime.Object { return &corev1.ConfigMap{} },
		func() runtime.Object { return &corev1.ConfigMapList{} })
	return a
}

// load is how an API server starts: it has asked for a Status, and for a seed, when this returns. Its end is cancel.
func load(file, id string, heard *told) (*encryptionconfig.EncryptionConfiguration, context.CancelFunc, error) {
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), toldKey{}, heard))
	config, err := encryptionconfig.LoadEncryptionConfig(ctx, file, false, id)
	return config, cancel, err
}

func (a *apiserver) store(prefix string, resource schema.GroupResource, newFunc, newList func() runtime.Object) storage.Interface {
	a.t.Helper()
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	if !ok {
		a.t.Fatal("no protobuf serializer")
	}
	codec := scheme.Codecs.CodecForVersions(info.Serializer, scheme.Codecs.UniversalDeserializer(),
		corev1.SchemeGroupVersion, corev1.SchemeGroupVersion)
	config := storagebackend.NewDefaultConfig(prefix, codec)
	config.Transport.ServerList = []string{server.endpoint}
	config.Transformer = a.config.Transformers[resource]
	config.CompactionInterval, config.DBMetricPollInterval = 0, 0
	made, destroy, err := factory.Create(*config.ForResource(resource), newFunc, newList, "/"+resource.Resource)
	if err != nil {
		a.t.Fatalf("storage for %s: %v", resource.Resource, err)
	}
	a.destroy = append(a.destroy, destroy)
	return made
}

// stop is an API server's end: its connection to kekd is closed, its caches are gone.
func (a *apiserver) stop() {
	for _, destroy := range a.destroy {
		destroy()
	}
	a.destroy = nil
	a.cancel()
}

// health is what /healthz and /readyz say of the KMS plugins, by the checks' names.
func (a *apiserver) health() map[string]error {
	said := map[string]error{}
	for _, check := range a.config.HealthChecks {
		request, _ := http.NewRequest(http.MethodGet, "/readyz", nil)
		said[check.Name()] = check.Check(request)
	}
	return said
}

func (a *apiserver) healthy() bool {
	for _, err := range a.health() {
		if err != nil {
			return false
		}
	}
	return true
}

func (a *apiserver) waitHealthy() {
	a.t.Helper()
	for end := time.Now().Add(daemon.Patience); !a.healthy(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Fatalf("not healthy: %v", a.health())
		}
	}
}

func content(n int) []byte {
	return []byte(fmt.Sprintf("plaintext-of-object-%06d", n))
}

func name(n int) string {
	return fmt.Sprintf("object-%06d", n)
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), daemon.Patience)
	t.Cleanup(cancel)
	return ctx
}

func (a *apiserver) createSecret(n int) error {
	object := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name(n), Namespace: "default"},
		Data:       map[string][]byte{"password": content(n)},
	}
	return a.secrets.Create(testContext(a.t), "/secrets/default/"+name(n), object, &corev1.Secret{}, 0)
}

func (a *apiserver) createConfigMap(n int) error {
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name(n), Namespace: "default"},
		Data:       map[string]string{"password": string(content(n))},
	}
	return a.configMaps.Create(testContext(a.t), "/configmaps/default/"+name(n), object, &corev1.ConfigMap{}, 0)
}

// write creates Secrets and ConfigMaps number from to below to.
func (a *apiserver) write(from, to int) {
	a.t.Helper()
	for n := from; n < to; n++ {
		if err := a.createSecret(n); err != nil {
			a.t.Fatalf("write Secret %d: %v", n, err)
		}
		if err := a.createConfigMap(n); err != nil {
			a.t.Fatalf("write ConfigMap %d: %v", n, err)
		}
	}
}

// readAll lists everything as a starting controller does, and each must be what was written.
func (a *apiserver) readAll(count int) {
	a.t.Helper()
	options := storage.ListOptions{Recursive: true, Predicate: storage.SelectionPredicate{
		Label: labels.Everything(), Field: fields.Everything(), GetAttrs: storage.DefaultNamespaceScopedAttr,
	}}
	secrets := &corev1.SecretList{}
	if err := a.secrets.GetList(testContext(a.t), "/secrets/", options, secrets); err != nil {
		a.t.Fatalf("list Secrets: %v", err)
	}
	configMaps := &corev1.ConfigMapList{}
	if err := a.configMaps.GetList(testContext(a.t), "/configmaps/", options, configMaps); err != nil {
		a.t.Fatalf("list ConfigMaps: %v", err)
	}
	if len(secrets.Items) != count || len(configMaps.Items) != count {
		a.t.Fatalf("%d Secrets and %d ConfigMaps, not %d", len(secrets.Items), len(configMaps.Items), count)
	}
	for n := 0; n < count; n++ {
		if got := string(secrets.Items[n].Data["password"]); got != string(content(n)) {
			a.t.Fatalf("Secret %d holds %q", n, got)
		}
		if got := configMaps.Items[n].Data["password"]; got != string(content(n)) {
			a.t.Fatalf("ConfigMap %d holds %q", n, got)
		}
	}
}
