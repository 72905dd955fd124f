package kube

import (
	"bytes"
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope"
	envelopekmsv2 "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmsservice "k8s.io/kms/pkg/service"
)

const goldenHead = `# What Kubernetes' own code (k8s.io/apiserver 0.34.9, its storage on an etcd) wrote, an object a line:
# LABEL KIND PROVIDER KEY-ID SOURCE-TYPE DEK PREFIX ETCD-KEY VALUE; "-" is none, DEK and VALUE are in hex.
# DEK is what the KMS plugin gave (kekd, or Kubernetes' mock); the key of the local kinds is in stored_test.go.
# Written by KEKD_WRITE_GOLDEN=FILE in the environment of run.sh, whose golden_test.go also has Kubernetes read it.
`

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func writeGolden(t *testing.T, file string, written []*kept) {
	text := goldenHead
	for _, k := range written {
		seed := 0
		if k.seed {
			seed = 1
		}
		text += fmt.Sprintf("%s %s %s %s %d %s %s %s %x\n", k.label, k.kind, orDash(k.provider), orDash(k.keyID), seed,
			inHex(k.dek), k.prefix, k.key, k.value)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readGolden(t *testing.T) (all []*kept) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(os.Getenv("abs_top_srcdir"), "tests/kube/stored.golden"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 9 {
			t.Fatalf("stored.golden: %q", line)
		}
		all = append(all, &kept{label: f[0], kind: f[1], provider: strings.TrimPrefix(f[2], "-"), keyID: strings.TrimPrefix(f[3], "-"),
			seed: f[4] == "1", dek: fromHex(t, f[5]), prefix: f[6], key: f[7], value: fromHex(t, f[8])})
	}
	return all
}

// known is a KMS plugin that opens one wrapped key.
type known struct{ source, dek []byte }

func (p known) open(source []byte) ([]byte, error) {
	if !bytes.Equal(source, p.source) {
		return nil, errors.New("another source")
	}
	return p.dek, nil
}

type knownV1 struct{ known }

func (p knownV1) Encrypt([]byte) ([]byte, error)        { return nil, errors.New("it only opens") }
func (p knownV1) Decrypt(source []byte) ([]byte, error) { return p.open(source) }

type knownV2 struct{ known }

func (p knownV2) Encrypt(context.Context, string, []byte) (*kmsservice.EncryptResponse, error) {
	return nil, errors.New("it only opens")
}

func (p knownV2) Status(context.Context) (*kmsservice.StatusResponse, error) {
	return nil, errors.New("it only opens")
}

func (p knownV2) Decrypt(_ context.Context, _ string, request *kmsservice.DecryptRequest) ([]byte, error) {
	return p.open(request.Ciphertext)
}

// readBy is what Kubernetes' own code reads a golden value with.
func (k *kept) readBy(t *testing.T, local map[schema.GroupResource]value.Transformer) (value.Transformer, []byte) {
	switch k.kind {
	case "kms-v1":
		base := func(block cipher.Block) (value.Transformer, error) {
			if k.label == "one-cbc" {
				return aestransformer.NewCBCTransformer(block), nil
			}
			return aestransformer.NewGCMTransformer(block)
		}
		service := knownV1{known{sourceOf(t, k), k.dek}}
		return envelope.NewEnvelopeTransformer(service, 10, base), k.value[len("k8s:enc:kms:v1:")+len(k.provider)+1:]
	case "kms-v2":
		service := knownV2{known{sourceOf(t, k), k.dek}}
		state := func() (envelopekmsv2.State, error) { return envelopekmsv2.State{}, nil }
		return envelopekmsv2.NewEnvelopeTransformer(service, k.provider, state, "apiserver-golden"),
			k.value[len("k8s:enc:kms:v2:")+len(k.provider)+1:]
	default:
		return local[schema.GroupResource{Group: "example.com", Resource: k.label}], k.value
	}
}

func TestKubernetesReadsTheGoldenValues(t *testing.T) {
	golden, local, p := readGolden(t), localTransformers(t), newParser(t)
	if len(golden) != 22 {
		t.Fatalf("%d golden values", len(golden))
	}
	for _, k := range golden {
		transformer, stored := k.readBy(t, local)
		plain, _, err := transformer.TransformFromStorage(context.Background(), stored, value.DefaultContext(k.key))
		if err != nil || !bytes.Contains(plain, []byte(secretText)) {
			t.Fatalf("%s: %q, %v", k.key, plain, err)
		}
		k.check(t, p)
	}
}
