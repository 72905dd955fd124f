package kube

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	envelopekmsv2 "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
)

// agree compares what Go's protobuf and the API server's rules say of an EncryptedObject with what kekctl says.
func agree(t *testing.T, p *parser, message []byte) (valid bool) {
	t.Helper()
	object := &kmstypes.EncryptedObject{}
	err := proto.Unmarshal(message, object)
	if err == nil {
		err = envelopekmsv2.ValidateEncryptedObject(object)
	}
	got := p.ask("/registry", "/registry/secrets/ns/a", append([]byte("k8s:enc:kms:v2:kekd-v2:"), message...), nil)
	// Two rules more: what can be no AES-GCM at all, and what begins as kekd's own envelope and is none.
	stricter := strings.Contains(got.why, "never covers") || strings.Contains(got.why, "a damaged kekd envelope")
	if (err == nil) != (got.rc == "ok") && !(err == nil && stricter) {
		t.Fatalf("%x: Kubernetes says %v, kekctl %s (%s)", message, err, got.rc, got.why)
	}
	if err != nil {
		return false
	}
	if got.keyID != object.KeyID || !bytes.Equal(got.source, object.EncryptedDEKSource) ||
		!bytes.Equal(got.data, object.EncryptedData) || got.sourceType != fmt.Sprint(int32(object.EncryptedDEKSourceType)) {
		t.Fatalf("%x: Kubernetes reads %v, kekctl %+v", message, object, got)
	}
	return true
}

// change is what a broken disk, another protobuf library or somebody who can write etcd may make of a message.
func change(random *rand.Rand, message []byte) []byte {
	changed := bytes.Clone(message)
	pieces := [][]byte{{0x08, 0x01}, {0x28, 0x00}, {0x28, 0x01}, {0x12, 0x01, 'k'}, {0x1a, 0x00}, {0x22, 0x00}, {0x2a, 0x01, 'x'},
		{0x33, 0x34}, {0x33, 0x0a, 0x00, 0x34}, {0x33}, {0x34}, {0x31, 1, 2, 3, 4, 5, 6, 7, 8}, {0x35, 1, 2, 3, 4},
		{0x12, 0x02, 0xc3, 0xbc}, {0x12, 0x01, 0xff}, {0x22, 0x06, 0x0a, 0x04, 'a', '.', 'i', 'o'}, {0x22, 0x03, 0x0a, 0x01, 'a'},
		{0xf8, 0x01, 0x80, 0x01}, {0x80, 0x80, 0x80, 0x80, 0x10, 0x00}, {0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}}
	for times := random.Intn(3) + 1; times > 0; times-- {
		at := random.Intn(len(changed) + 1)
		switch random.Intn(5) {
		case 0:
			changed = changed[:at]
		case 1:
			if at < len(changed) {
				changed[at] ^= 1 << random.Intn(8)
			}
		case 2:
			piece := pieces[random.Intn(len(pieces))]
			changed = append(changed[:at:at], append(bytes.Clone(piece), changed[at:]...)...)
		case 3: // at an end, where it is a field of its own
			changed = append(changed, pieces[random.Intn(len(pieces))]...)
		case 4: // of the tags and lengths, which are few among the bytes
			if len(changed) > 0 {
				changed[random.Intn(min(len(changed), 4))] = byte(random.Intn(256))
			}
		}
	}
	return changed
}

func TestWhatGoReadsOfAnEncryptedObjectKekctlReadsToo(t *testing.T) {
	p, random := newParser(t), rand.New(rand.NewSource(1))
	var seeds [][]byte
	for _, k := range readGolden(t) {
		if k.kind == "kms-v2" {
			seeds = append(seeds, k.value[len("k8s:enc:kms:v2:")+len(k.provider)+1:])
		}
	}
	small := &kmstypes.EncryptedObject{KeyID: "k", EncryptedDEKSource: []byte("s"), EncryptedData: bytes.Repeat([]byte{7}, 60),
		EncryptedDEKSourceType: 1, Annotations: map[string][]byte{"a.example.com": []byte("v"), "b.example.com": nil}}
	encoded, err := proto.Marshal(small)
	if err != nil {
		t.Fatal(err)
	}
	seeds = append(seeds, encoded, nil)
	valid, invalid := 0, 0
	for n := 0; n < 20000; n++ {
		if agree(t, p, change(random, seeds[n%len(seeds)])) {
			valid++
		} else {
			invalid++
		}
	}
	if valid < 1000 || invalid < 1000 {
		t.Fatalf("%d valid and %d invalid messages show nothing", valid, invalid)
	}
}
