package kube

import (
	"bufio"
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
	pluginv1 "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/testing/v1beta1"
	pluginv2 "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/testing/v2"
	"k8s.io/client-go/kubernetes/scheme"
	kmsv1 "k8s.io/kms/apis/v1beta1"
	kmsv2 "k8s.io/kms/apis/v2"
)

// kept is one object as it lies in etcd, and what whoever wrote it knows of it.
type kept struct {
	label    string
	kind     string // as tests/interop/stored says it
	provider string
	keyID    string
	seed     bool
	dek      []byte // nil: not under KMS
	prefix   string
	key      string
	value    []byte
}

// parsed is what tests/interop/stored says of a value.
type parsed struct {
	rc, kind, provider, keyID, sourceType string
	ambiguous                             bool
	source, data                          []byte
	kekID                                 string
	placed                                bool
	resource, namespace, name             string
	opened, why                           string
}

// parser is one run of tests/interop/stored: kekctl's own parser of what lies in etcd.
type parser struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func newParser(t *testing.T) *parser {
	t.Helper()
	command := exec.Command(filepath.Join(os.Getenv("abs_top_builddir"), "tests/interop/stored"))
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("tests/interop/stored: %v", err)
		}
	})
	return &parser{t: t, in: in, out: bufio.NewReader(out)}
}

func inHex(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	return hex.EncodeToString(b)
}

func fromHex(t *testing.T, text string) []byte {
	t.Helper()
	if text == "-" {
		return nil
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (p *parser) ask(prefix, key string, value, dek []byte) parsed {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, "%s %s %s %s\n", inHex([]byte(prefix)), inHex([]byte(key)), inHex(value), inHex(dek)); err != nil {
		p.t.Fatal(err)
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("tests/interop/stored ended over %x: %v", value, err)
	}
	f := strings.Fields(line)
	if len(f) != 15 {
		p.t.Fatalf("tests/interop/stored says %q", line)
	}
	text := func(i int) string { return string(fromHex(p.t, f[i])) }
	return parsed{rc: f[0], kind: f[1], provider: text(2), ambiguous: f[3] == "1", keyID: text(4), sourceType: f[5],
		source: fromHex(p.t, f[6]), data: fromHex(p.t, f[7]), kekID: f[8], placed: f[9] == "1", resource: text(10),
		namespace: text(11), name: text(12), opened: f[13], why: text(14)}
}

// Keys of the local kinds: of these tests alone.
var localKey = bytes.Repeat([]byte("kekd test key 32"), 2)

const localProviders = `
  - resources: [plain.example.com]
    providers: [{identity: {}}]
  - resources: [cbc.example.com]
    providers: [{aescbc: {keys: [{name: key1, secret: %[1]s}]}}]
  - resources: [cbc-colon.example.com]
    providers: [{aescbc: {keys: [{name: "team:a", secret: %[1]s}]}}]
  - resources: [gcm.example.com]
    providers: [{aesgcm: {keys: [{name: key1, secret: %[1]s}]}}]
  - resources: [box.example.com]
    providers: [{secretbox: {keys: [{name: key1, secret: %[1]s}]}}]
`

const kmsProviders = `
  - resources: [one.example.com]
    providers: [{kms: {apiVersion: v1, name: kekd-v1, endpoint: "unix://%[1]s", timeout: 3s}}]
  - resources: [two.example.com]
    providers: [{kms: {apiVersion: v2, name: kekd-v2, endpoint: "unix://%[1]s", timeout: 3s}}]
  - resources: [other-one.example.com]
    providers: [{kms: {apiVersion: v1, name: "other:plug:in", endpoint: "unix://%[2]s", timeout: 3s}}]
  - resources: [other-two.example.com]
    providers: [{kms: {apiVersion: v2, name: other-v2, endpoint: "unix://%[3]s", timeout: 3s}}]
  - resources: [other-key.example.com]
    providers: [{kms: {apiVersion: v2, name: other-key, endpoint: "unix://%[3]s", timeout: 3s}}]
`

func loadProviders(t *testing.T, providers string) map[schema.GroupResource]value.Transformer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:" + providers
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, cancel, err := load(file, "apiserver-stored", &told{})
	t.Cleanup(cancel)
	if err != nil {
		t.Fatalf("LoadEncryptionConfig: %v", err)
	}
	return config.Transformers
}

func localTransformers(t *testing.T) map[schema.GroupResource]value.Transformer {
	return loadProviders(t, fmt.Sprintf(localProviders, base64.StdEncoding.EncodeToString(localKey)))
}

// legacyCBC is how an API server up to 1.24 wrote under KMS v1.
func legacyCBC(t *testing.T, service envelope.Service) value.Transformer {
	made := envelope.NewEnvelopeTransformer(service, 10, func(block cipher.Block) (value.Transformer, error) {
		return aestransformer.NewCBCTransformer(block), nil
	})
	return value.NewPrefixTransformers(nil, value.PrefixTransformer{Prefix: []byte("k8s:enc:kms:v1:kekd-v1:"), Transformer: made})
}

const secretText = "what-these-tests-keep"

// keep has Kubernetes' own storage write one object, and takes what lies in etcd then.
func keep(t *testing.T, transformer value.Transformer, prefix, folder, name string) (key string, stored []byte) {
	t.Helper()
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	codec := scheme.Codecs.CodecForVersions(info.Serializer, scheme.Codecs.UniversalDeserializer(),
		corev1.SchemeGroupVersion, corev1.SchemeGroupVersion)
	config := storagebackend.NewDefaultConfig(prefix, codec)
	config.Transport.ServerList = []string{server.endpoint}
	config.Transformer = transformer
	config.CompactionInterval, config.DBMetricPollInterval = 0, 0
	made, destroy, err := factory.Create(*config.ForResource(schema.GroupResource{Resource: "secrets"}),
		func() runtime.Object { return &corev1.Secret{} }, func() runtime.Object { return &corev1.SecretList{} }, folder)
	if err != nil {
		t.Fatal(err)
	}
	defer destroy()
	object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Data: map[string][]byte{"password": []byte(secretText)}}
	if err := made.Create(testContext(t), folder+"/default/"+name, object, &corev1.Secret{}, 0); err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	lies := server.values(t, prefix+folder+"/default/"+name)
	if len(lies) != 1 {
		t.Fatalf("%d objects called %s in etcd", len(lies), name)
	}
	for key, stored = range lies {
	}
	return key, stored
}

// dekOf asks whoever wrapped it, as the API server does.
func dekOf(t *testing.T, socket string, v2 bool, keyID string, source []byte) []byte {
	t.Helper()
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if v2 {
		answer, err := kmsv2.NewKeyManagementServiceClient(connection).Decrypt(testContext(t),
			&kmsv2.DecryptRequest{Ciphertext: source, KeyId: keyID, Uid: "stored"}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		return answer.Plaintext
	}
	answer, err := kmsv1.NewKeyManagementServiceClient(connection).Decrypt(testContext(t),
		&kmsv1.DecryptRequest{Version: "v1beta1", Cipher: source}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	return answer.Plain
}

// sourceOf takes a value under KMS apart with what the API server has for it.
func sourceOf(t *testing.T, k *kept) (source []byte) {
	t.Helper()
	if k.kind == "kms-v1" {
		body := k.value[len("k8s:enc:kms:v1:")+len(k.provider)+1:]
		return body[2 : 2+int(body[0])<<8+int(body[1])]
	}
	object := &kmstypes.EncryptedObject{}
	if err := proto.Unmarshal(k.value[len("k8s:enc:kms:v2:")+len(k.provider)+1:], object); err != nil {
		t.Fatal(err)
	}
	k.keyID, k.seed = object.KeyID, object.EncryptedDEKSourceType == kmstypes.EncryptedDEKSourceType_HKDF_SHA256_XNONCE_AES_GCM_SEED
	return object.EncryptedDEKSource
}

type v1Service struct {
	client kmsv1.KeyManagementServiceClient
}

func (s v1Service) Encrypt(data []byte) ([]byte, error) {
	answer, err := s.client.Encrypt(context.Background(), &kmsv1.EncryptRequest{Version: "v1beta1", Plain: data})
	return answer.GetCipher(), err
}

func (s v1Service) Decrypt(data []byte) ([]byte, error) {
	answer, err := s.client.Decrypt(context.Background(), &kmsv1.DecryptRequest{Version: "v1beta1", Cipher: data})
	return answer.GetPlain(), err
}

// writeAll has Kubernetes' own code write an object of every kind, through kekd and through its own mock plugins.
func writeAll(t *testing.T) []*kept {
	t.Helper()
	kekd := start(t)
	statusOf(t, kekd.Socket)
	folder := t.TempDir()
	otherV1, otherV2 := folder+"/v1.sock", folder+"/v2.sock"
	pluginv1.NewBase64Plugin(t, otherV1)
	pluginv2.NewBase64Plugin(t, otherV2)
	t.Cleanup(encryptionconfig.SetKDFForTests("other-key", false))
	all := localTransformers(t)
	for resource, transformer := range loadProviders(t, fmt.Sprintf(kmsProviders, kekd.Socket, otherV1, otherV2)) {
		all[resource] = transformer
	}
	connection, err := grpc.NewClient("unix://"+kekd.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	all[schema.GroupResource{Group: "example.com", Resource: "one-cbc"}] = legacyCBC(t,
		v1Service{kmsv1.NewKeyManagementServiceClient(connection)})
	var written []*kept
	for _, row := range []struct{ label, kind, provider, socket string }{
		{"plain", "plain", "", ""},
		{"cbc", "aescbc", "key1", ""},
		{"cbc-colon", "aescbc", "team:a", ""},
		{"gcm", "aesgcm", "key1", ""},
		{"box", "secretbox", "key1", ""},
		{"one", "kms-v1", "kekd-v1", kekd.Socket},
		{"one-cbc", "kms-v1", "kekd-v1", kekd.Socket},
		{"two", "kms-v2", "kekd-v2", kekd.Socket},
		{"other-one", "kms-v1", "other:plug:in", otherV1},
		{"other-two", "kms-v2", "other-v2", otherV2},
		{"other-key", "kms-v2", "other-key", otherV2},
	} {
		transformer := all[schema.GroupResource{Group: "example.com", Resource: row.label}]
		if transformer == nil {
			t.Fatalf("no transformer for %s", row.label)
		}
		for prefix, folder := range map[string]string{"/registry": "/secrets", "/prod/eu-1": "/example.com/things"} {
			k := &kept{label: row.label, kind: row.kind, provider: row.provider, prefix: prefix}
			k.key, k.value = keep(t, transformer, prefix, folder, row.label)
			if row.socket != "" {
				source := sourceOf(t, k)
				k.dek = dekOf(t, row.socket, row.kind == "kms-v2", k.keyID, source)
			}
			written = append(written, k)
		}
	}
	kekd.Stop(15)
	return written
}

// check insists that kekctl's parser sees what is there, and opens it at its place alone.
func (k *kept) check(t *testing.T, p *parser) {
	t.Helper()
	got := p.ask(k.prefix, k.key, k.value, k.dek)
	if got.rc != "ok" || got.kind != k.kind || got.provider != k.provider || got.keyID != k.keyID {
		t.Fatalf("%s: %+v", k.key, got)
	}
	resource := "secrets"
	if strings.Contains(k.key, "example.com") {
		resource = "things.example.com"
	}
	if !got.placed || got.resource != resource || got.namespace != "default" || got.name != k.label {
		t.Fatalf("%s: %+v", k.key, got)
	}
	if k.kind == "plain" && !bytes.Equal(got.data, k.value) {
		t.Fatalf("%s: %+v", k.key, got)
	}
	if k.dek == nil {
		return
	}
	if want := sourceOf(t, &kept{kind: k.kind, provider: k.provider, value: k.value}); !bytes.Equal(got.source, want) {
		t.Fatalf("%s: source %x, not %x", k.key, got.source, want)
	}
	if (got.sourceType == "1") != k.seed || (got.kekID != "-") != strings.HasPrefix(k.provider, "kekd") {
		t.Fatalf("%s: %+v", k.key, got)
	}
	if got.opened != "ok" {
		t.Fatalf("%s does not open: %s", k.key, got.opened)
	}
	other := bytes.Clone(k.dek)
	other[0] ^= 1
	if again := p.ask(k.prefix, k.key, k.value, other); again.opened != "damaged" {
		t.Fatalf("%s opens under another key: %s", k.key, again.opened)
	}
	// What nothing authenticates opens anywhere.
	if again := p.ask(k.prefix, k.key+"x", k.value, k.dek); (again.opened == "ok") != (k.label == "one-cbc") {
		t.Fatalf("%s at another place: %s", k.key, again.opened)
	}
}

func TestWhatKubernetesStoresIsTakenApartAndOpened(t *testing.T) {
	written, p := writeAll(t), newParser(t)
	for _, k := range written {
		k.check(t, p)
		if k.kind != "plain" && bytes.Contains(k.value, []byte(secretText)) {
			t.Fatalf("%s lies in etcd in clear", k.key)
		}
	}
	if file := os.Getenv("KEKD_WRITE_GOLDEN"); file != "" {
		writeGolden(t, file, written)
	}
}

// folders are those that are not called as their resource is: SpecialDefaultResourcePrefixes of
// k8s.io/kubernetes 1.37, pkg/kubeapiserver/default_storage_factory_builder.go.
var folders = map[string]string{"replicationcontrollers": "controllers", "endpoints": "services/endpoints",
	"nodes": "minions", "services": "services/specs", "ingresses": "ingress"}

func TestEveryResourceOfKubernetesIsTold(t *testing.T) {
	p, asked := newParser(t), 0
	for kind := range scheme.Scheme.AllKnownTypes() {
		if !scheme.Scheme.Recognizes(kind.GroupVersion().WithKind(kind.Kind + "List")) {
			continue
		}
		resource, _ := meta.UnsafeGuessKindToResource(kind)
		want := resource.GroupResource().String()
		switch kind.Group {
		case "extensions": // served up to 1.21, and stored where its successors are
			continue
		case "events.k8s.io": // stored with the core's
			want = "events"
		}
		folder, special := folders[resource.Resource]
		if !special {
			folder = resource.Resource
		}
		got := p.ask("/registry", "/registry/"+folder+"/ns/one", nil, nil)
		if !got.placed || got.resource != want || got.namespace != "ns" || got.name != "one" {
			t.Errorf("%v in %s: %+v", kind, folder, got)
		}
		asked++
	}
	if asked < 80 {
		t.Fatalf("only %d resources", asked)
	}
}
