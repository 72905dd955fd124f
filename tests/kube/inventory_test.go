package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	pluginv2 "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/testing/v2"

	"kekd.example/tests/kube/daemon"
)

// inventoried is what this test looks at of kekctl inventory --output json.
type inventoried struct {
	State   string
	Primary struct{ Version int }
	Etcds   []struct {
		Objects    int
		Unreadable int
		Recorded   bool
		Contexts   []struct {
			Context string
			Objects int
		}
		Resources []struct {
			Resource string
			State    *string
			Objects  int
			Under    []struct {
				Kind, Provider string
				Kekd           bool
				Keks           []struct {
					Version *int
					Primary bool
				}
				Objects int
			}
		}
		Named  []struct{ Trouble, Resource, Namespace, Name, Why string }
		Verify *struct {
			DataKeys int `json:"data_keys"`
			Objects  map[string]int
		}
	}
}

func inventory(t *testing.T, kekd *daemon.Kekd, code int, options ...string) (found inventoried) {
	t.Helper()
	command := kekd.Kekctl(append([]string{"--output", "json", "inventory"}, options...)...)
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	var exit *exec.ExitError
	if got := command.ProcessState.ExitCode(); got != code || (err != nil && !errors.As(err, &exit)) {
		t.Fatalf("kekctl inventory: exit %d, not %d: %v\n%s%s", got, code, err, out, said.String())
	}
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("kekctl inventory said %q: %v", out, err)
	}
	if len(found.Etcds) != 1 {
		t.Fatalf("%d etcds", len(found.Etcds))
	}
	return found
}

// under says in a word for each resource, provider and version how many objects there are.
func (i inventoried) under() map[string]int {
	counts := map[string]int{}
	for _, resource := range i.Etcds[0].Resources {
		for _, u := range resource.Under {
			word := fmt.Sprintf("%s %s %s", resource.Resource, u.Kind, u.Provider)
			for _, kek := range u.Keks {
				if kek.Version == nil {
					word += " foreign"
				} else {
					word += fmt.Sprintf(" %d %t", *kek.Version, kek.Primary)
				}
			}
			counts[word] += u.Objects
		}
	}
	return counts
}

func (i inventoried) insist(t *testing.T, state string, want map[string]int) {
	t.Helper()
	got := i.under()
	for word, count := range want {
		if got[word] != count {
			t.Errorf("%d objects are %q, not %d", got[word], word, count)
		}
		delete(got, word)
	}
	if len(got) > 0 || i.State != state {
		t.Errorf("%s, not %s; more: %v", i.State, state, got)
	}
}

func waitKeyID(t *testing.T, socket, other string) {
	t.Helper()
	for end := time.Now().Add(daemon.Patience); statusOf(t, socket).KeyId == other; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("kekd announces no other version")
		}
	}
}

func TestInventoryTellsWhatKubernetesWroteUnderWhichKey(t *testing.T) {
	const prefix = "/inven/tory"
	kekd := daemon.New(t, fmt.Sprintf("settle: 0ms\netcd: [{name: main, endpoints: [%q], prefix: %s}]\n",
		server.endpoint, prefix))
	kekd.Start()
	first := statusOf(t, kekd.Socket).KeyId
	older := newAPIServer(t, kekd.Socket, prefix)
	older.waitHealthy()
	older.write(0, 20)
	folder := t.TempDir()
	pluginv2.NewBase64Plugin(t, folder+"/v2.sock")
	providers := loadProviders(t, fmt.Sprintf(kmsProviders, kekd.Socket, folder+"/v1.sock", folder+"/v2.sock"))
	thing := func(label, name string) {
		keep(t, providers[schema.GroupResource{Group: "example.com", Resource: label}], prefix, "/example.com/things", name)
	}
	thing("two", "ours")
	thing("other-two", "theirs")
	keep(t, localTransformers(t)[schema.GroupResource{Group: "example.com", Resource: "cbc"}], prefix, "/secrets", "old")

	found := inventory(t, kekd, 3)
	want := map[string]int{"secrets kms v2 kekd-v2 1 true": 20, "secrets aescbc key1": 1,
		"configmaps kms v1 kekd-v1 1 true": 20, "things.example.com kms v2 kekd-v2 1 true": 1,
		"things.example.com kms v2 other-v2": 1}
	found.insist(t, "ENCRYPTION_PENDING", want)

	for _, words := range [][]string{{"key", "generate"}, {"key", "promote", "2", "--i-have-a-backup"}} {
		if out, err := kekd.Kekctl(words...).CombinedOutput(); err != nil {
			t.Fatalf("kekctl %v: %v\n%s", words, err, out)
		}
	}
	waitKeyID(t, kekd.Socket, first)
	newer := newAPIServerNamed(t, kekd.Socket, prefix, "apiserver-newer")
	newer.waitHealthy()
	newer.write(20, 30)
	found = inventory(t, kekd, 3, "--verify")
	want = map[string]int{"secrets kms v2 kekd-v2 1 false": 20, "secrets kms v2 kekd-v2 2 true": 10,
		"secrets aescbc key1": 1, "configmaps kms v1 kekd-v1 1 false": 20, "configmaps kms v1 kekd-v1 2 true": 10,
		"things.example.com kms v2 kekd-v2 1 false": 1, "things.example.com kms v2 other-v2": 1}
	found.insist(t, "ENCRYPTION_PENDING", want)
	main := found.Etcds[0]
	if main.Objects != 63 || main.Unreadable != 0 || len(main.Named) != 0 || !main.Recorded || found.Primary.Version != 2 {
		t.Errorf("%+v", found)
	}
	if main.Verify == nil || main.Verify.Objects["opens"] != 61 || main.Verify.Objects["damaged"] != 0 ||
		main.Verify.DataKeys < 2 || main.Verify.DataKeys > 6 {
		t.Errorf("%+v", main.Verify)
	}
	if len(main.Contexts) != 1 || main.Contexts[0].Context != "kube" || main.Contexts[0].Objects != 31 {
		t.Errorf("%+v", main.Contexts)
	}

	// Rewritten, everything is as the API server's own configuration wants it.
	older.stop()
	ctx := testContext(t)
	for _, kind := range []string{"/secrets/", "/configmaps/", "/example.com/"} {
		for key := range server.values(t, prefix+kind) {
			if _, err := server.client.Delete(ctx, key); err != nil {
				t.Fatal(err)
			}
		}
	}
	newer.write(0, 5)
	found = inventory(t, kekd, 0, "--encryption-config", newer.file, "--verify")
	found.insist(t, "ENCRYPTED", map[string]int{"secrets kms v2 kekd-v2 2 true": 5, "configmaps kms v1 kekd-v1 2 true": 5})

	// An object is damaged in etcd: it is named, with its namespace.
	for key, value := range server.values(t, prefix+"/secrets/default/"+name(3)) {
		value[len(value)-1] ^= 1
		if _, err := server.client.Put(ctx, key, string(value)); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(newer.file)
	if err != nil {
		t.Fatal(err)
	}
	plain := t.TempDir() + "/plain.yaml"
	if err := os.WriteFile(plain, bytes.ReplaceAll(text, []byte("      - identity: {}\n"), nil), 0o600); err != nil {
		t.Fatal(err)
	}
	found = inventory(t, kekd, 3, "--encryption-config", plain, "--verify")
	named := found.Etcds[0].Named
	if found.State != "ENCRYPTION_ERROR" || len(named) == 0 || named[0].Trouble == "" {
		t.Fatalf("%+v", found)
	}
	last := named[len(named)-1]
	if last.Trouble != "damaged" || last.Resource != "secrets" || last.Namespace != "default" || last.Name != name(3) {
		t.Errorf("%+v", named)
	}
	kekd.Stop(15)
}
