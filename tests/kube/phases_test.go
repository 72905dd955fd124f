package kube

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"

	"kekd.example/tests/kube/daemon"
)

const (
	head      = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
	ofSecrets = head + "- resources: [secrets]\n  providers:\n"
	plain     = "  - identity: {}\n"
	key32     = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	aescbc    = "  - aescbc: {keys: [{name: key2, secret: " + key32 + "}, {name: \"1\", secret: " + key32 + "}]}\n"
	aesgcm    = "  - aesgcm: {keys: [{name: a, secret: " + key32 + "}]}\n"
	secretbox = "  - secretbox: {keys: [{name: a, secret: " + key32 + "}]}\n"
)

func kmsEntry(version, name, socket string) string {
	return fmt.Sprintf("  - kms: {apiVersion: %s, name: %s, endpoint: \"unix://%s\", timeout: 3s}\n", version, name, socket)
}

// server is an API server's part that a phase changes: what it has loaded.
type phaseServer struct {
	name   string
	loaded encryptionconfig.StaticTransformers // nil: it was told of no file, so that everything is plain
}

func loadPhase(t *testing.T, name, file string) *phaseServer {
	t.Helper()
	if file == "" {
		return &phaseServer{name: name}
	}
	config, cancel, err := load(file, t.Name(), &told{})
	t.Cleanup(cancel)
	if err != nil {
		text, _ := os.ReadFile(file)
		t.Fatalf("%s: the API server does not load it: %v\n%s", name, err, text)
	}
	return &phaseServer{name, config.Transformers}
}

func (s *phaseServer) of(resource string) (value.Transformer, value.Context) {
	return s.loaded.TransformerForResource(schema.ParseGroupResource(resource)), value.DefaultContext("/registry/" + resource)
}

// object is what lies in etcd.
type object struct {
	resource, writer string
	stored           []byte
}

func (s *phaseServer) write(t *testing.T, resource string) object {
	t.Helper()
	transformer, key := s.of(resource)
	stored, err := transformer.TransformToStorage(testContext(t), []byte("k8s\x00"+resource), key)
	if err != nil {
		t.Fatalf("%s does not write %s: %v", s.name, resource, err)
	}
	return object{resource, s.name, stored}
}

func (s *phaseServer) read(t *testing.T, o object) error {
	t.Helper()
	transformer, key := s.of(o.resource)
	plaintext, _, err := transformer.TransformFromStorage(testContext(t), o.stored, key)
	if err == nil && !bytes.Equal(plaintext, []byte("k8s\x00"+o.resource)) {
		t.Fatalf("%s reads %q of what %s wrote", s.name, plaintext, o.writer)
	}
	return err
}

func (s *phaseServer) mustRead(t *testing.T, o object) {
	t.Helper()
	if err := s.read(t, o); err != nil {
		t.Fatalf("%s cannot read the %s that %s wrote: %v", s.name, o.resource, o.writer, err)
	}
}

// further runs kekctl kube config and returns the file that it printed.
func further(t *testing.T, kekd *daemon.Kekd, phase, from string, options ...string) string {
	t.Helper()
	arguments := append([]string{"kube", "config", "--phase", phase}, options...)
	if from != "" {
		arguments = append(arguments, "--from", from)
	}
	command := kekd.Kekctl(arguments...)
	var said strings.Builder
	command.Stderr = &said
	text, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command.Args, err, said.String())
	}
	file := filepath.Join(t.TempDir(), phase+".yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

var phaseResources = []string{"secrets", "configmaps", "deployments.apps", "things.example.com"}

// removes says after which phases something can no longer be read, so that all has to be rewritten before.
func removes(phase string, number int) bool {
	return phase == "remove-old" || phase == "disable" && number == 2
}

func TestOfTwoAPIServersOnePhaseApartEachReadsWhatTheOtherWrites(t *testing.T) {
	kekd, other := start(t), start(t)
	statusOf(t, kekd.Socket)
	statusOf(t, other.Socket)
	enable, disable := []string{"add-reader", "make-writer", "remove-old"}, []string{"disable", "disable", "disable"}
	for _, scenario := range []struct {
		name    string
		start   string // empty: no file
		phases  []string
		options []string
	}{
		{"an existing cluster with plaintext", "", enable, nil},
		{"plaintext, and a file that says so", ofSecrets + plain, enable, nil},
		{"several resources at once", "", enable, []string{"--resource", "secrets", "--resource", "things.example.com"}},
		{"everything", head + "- resources: ['*.*']\n  providers:\n" + aesgcm + plain, enable, nil},
		{"leaving aescbc", ofSecrets + aescbc + plain, enable, nil},
		{"leaving aesgcm", ofSecrets + aesgcm, enable, nil},
		{"leaving secretbox", ofSecrets + secretbox + aescbc + plain, enable, nil},
		{"a list of which one resource goes", head + "- resources: [configmaps, secrets]\n  providers:\n" + aescbc + plain,
			enable, []string{"--resource", "secrets"}},
		{"leaving another plugin", ofSecrets + kmsEntry("v2", "other", other.Socket) + secretbox + plain, enable, nil},
		{"v1 to v2 on one socket", ofSecrets + kmsEntry("v1", "kekd", kekd.Socket) + plain, enable, []string{"--name", "kekd-v2"}},
		{"another HSM", ofSecrets + kmsEntry("v2", "kekd", other.Socket), enable, []string{"--name", "kekd-b"}},
		{"disabling", ofSecrets + kmsEntry("v2", "kekd", kekd.Socket), disable, nil},
	} {
		t.Run(scenario.name, func(t *testing.T) {
			file := ""
			if scenario.start != "" {
				file = filepath.Join(t.TempDir(), "start.yaml")
				if err := os.WriteFile(file, []byte(scenario.start), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			behind := loadPhase(t, "the start", file)
			var etcd []object
			for _, resource := range phaseResources {
				etcd = append(etcd, behind.write(t, resource))
			}
			for number, phase := range scenario.phases {
				file = further(t, kekd, phase, file, scenario.options...)
				ahead := loadPhase(t, fmt.Sprintf("%s (%d)", phase, number+1), file)
				if removes(phase, number) {
					lost := 0
					for at, o := range etcd {
						if ahead.read(t, o) != nil {
							lost++
						}
						etcd[at] = behind.write(t, o.resource)
					}
					if lost == 0 {
						t.Errorf("%s removes nothing that was needed", ahead.name)
					}
				}
				for _, resource := range phaseResources {
					etcd = append(etcd, behind.write(t, resource), ahead.write(t, resource))
				}
				for _, o := range etcd {
					behind.mustRead(t, o)
					ahead.mustRead(t, o)
				}
				behind = ahead
			}
			// What is meant ends up under the plugin, or in clear.
			end := behind.write(t, "secrets").stored
			if encrypted := bytes.HasPrefix(end, []byte("k8s:enc:kms:v2:kekd")); encrypted != (scenario.phases[0] == "add-reader") {
				t.Errorf("in the end a Secret is stored as %.40q", end)
			}
		})
	}
	kekd.Stop(syscall.SIGTERM)
	other.Stop(syscall.SIGTERM)
}

// Why there are phases at all.
func TestAnAPIServerThatIsTwoPhasesBehindCannotRead(t *testing.T) {
	kekd := start(t)
	statusOf(t, kekd.Socket)
	none := loadPhase(t, "no file", "")
	reader := further(t, kekd, "add-reader", "")
	writer := loadPhase(t, "make-writer", further(t, kekd, "make-writer", reader))
	if none.read(t, writer.write(t, "secrets")) == nil {
		t.Error("an API server without the reader reads what kekd's writer wrote")
	}
	alone := filepath.Join(t.TempDir(), "alone.yaml")
	if err := os.WriteFile(alone, []byte(ofSecrets+kmsEntry("v2", "kekd", kekd.Socket)), 0o600); err != nil {
		t.Fatal(err)
	}
	clear := loadPhase(t, "disable", further(t, kekd, "disable", further(t, kekd, "disable", alone)))
	if loadPhase(t, "kekd alone", alone).read(t, clear.write(t, "secrets")) == nil {
		t.Error("an API server with kekd alone reads what lies in clear")
	}
	kekd.Stop(syscall.SIGTERM)
}

// A configuration that the API server takes is taken, and one that it refuses is refused.
func TestKekctlIsAsStrictAsTheAPIServer(t *testing.T) {
	t.Parallel()
	kekd := daemon.New(t, "")
	kms := func(fields string) string { return ofSecrets + "  - kms: {" + fields + "}\n" }
	for text, good := range map[string]bool{
		ofSecrets + plain: true,
		ofSecrets + aescbc + aesgcm + secretbox + plain:                                                              true,
		kms("name: 'a:b', endpoint: 'unix:///a b', cachesize: -1, timeout: 1m0.5s"):                                  true,
		kms("apiVersion: '', name: a, endpoint: 'unix:@abstract', cachesize: ~, timeout: null"):                      true,
		kms("apiVersion: v2, timeout: 9ms, name: \"a\\\"\\\\\\x07\u00e9\", endpoint: unix:/a"):                       true,
		kms("name: a, endpoint: 'unix:///a', timeout: .5h"):                                                          true,
		"kind: EncryptionConfig\napiVersion: v1\nresources: [{resources: [secrets], providers: [{identity: {}}]}]\n": true,
		head + "- resources: [events, secrets, '*.apps']\n  providers:\n" + plain +
			"- resources: ['*.*']\n  providers:\n" + aescbc: true,

		"":                            false,
		"kind: Pod\napiVersion: v1\n": false,
		head:                          false,
		strings.Replace(ofSecrets, "v1", "v2", 1) + plain:                                                       false,
		ofSecrets + "  - {}\n":                                                                                  false,
		ofSecrets + "  - identity:\n":                                                                           false,
		ofSecrets + "  - identity: {a: 1}\n":                                                                    false,
		ofSecrets + "  - identity: {}\n    aescbc: {}\n":                                                        false,
		ofSecrets + plain + "metadata: {}\n":                                                                    false,
		ofSecrets + plain + "kind: EncryptionConfiguration\n":                                                   false,
		ofSecrets + "  - aescbc: {keys: []}\n":                                                                  false,
		ofSecrets + "  - aescbc: {keys: [{name: 12, secret: " + key32 + "}]}\n":                                 false,
		ofSecrets + "  - aescbc: {keys: [{name: yes, secret: " + key32 + "}]}\n":                                false,
		ofSecrets + "  - aescbc: {keys: [{name: a, secret: AAAA}]}\n":                                           false,
		ofSecrets + "  - aescbc: {keys: [{name: a, secret: 'a*'}]}\n":                                           false,
		ofSecrets + "  - aescbc: {key: []}\n":                                                                   false,
		kms("apiVersion: v3, name: a, endpoint: 'unix:///a'"):                                                   false,
		kms("apiVersion: v2, name: 'a:b', endpoint: 'unix:///a'"):                                               false,
		kms("apiVersion: v2, endpoint: 'unix:///a'"):                                                            false,
		kms("apiVersion: v2, name: a, endpoint: '/a'"):                                                          false,
		kms("apiVersion: v2, name: a, endpoint: 'unix:///%zz'"):                                                 false,
		kms("apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 3"):                                       false,
		kms("apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 0s"):                                      false,
		kms("apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: -1s"):                                     false,
		kms("apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 1d"):                                      false,
		kms("apiVersion: v2, name: a, endpoint: 'unix:///a', cachesize: 7"):                                     false,
		kms("name: a, endpoint: 'unix:///a', cachesize: 0"):                                                     false,
		kms("name: a, endpoint: 'unix:///a', cachesize: 2147483648"):                                            false,
		kms("name: a, endpoint: 'unix:///a', cachsize: 7"):                                                      false,
		kms("apiVersion: v2, name: a, endpoint: 'unix:///a'") + kmsEntry("v2", "a", "/b"):                       false,
		kms("apiVersion: v2, name: a, endpoint: 'unix:///a', timeout: 9ms") + kmsEntry("v1", "b", "/b"):         true,
		head + "- resources: [Secrets]\n  providers:\n" + plain:                                                 false,
		head + "- resources: ['*']\n  providers:\n" + plain:                                                     false,
		head + "- resources: ['pods.*']\n  providers:\n" + plain:                                                false,
		head + "- resources: [serviceipallocations]\n  providers:\n" + plain:                                    false,
		head + "- resources: [a.events.k8s.io]\n  providers:\n" + plain:                                         false,
		head + "- resources: [a.extensions]\n  providers:\n" + plain:                                            false,
		head + "- resources: [secrets, '*.']\n  providers:\n" + plain:                                           false,
		head + "- resources: [secrets, secrets]\n  providers:\n" + plain:                                        false,
		head + "- resources: ['*.']\n  providers:\n" + plain + "- resources: [secrets]\n  providers:\n" + plain: false,
	} {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, cancel, err := load(file, t.Name(), &told{})
		cancel()
		if (err == nil) != good {
			t.Errorf("the API server says %v of\n%s", err, text)
		}
		command := kekd.Kekctl("kube", "config", "--phase", "add-reader", "--name", "kekd-c", "--from", file,
			"--resource", "leases.coordination.k8s.io")
		said, err := command.CombinedOutput()
		wide := strings.Contains(text, "'*.*'") // kekd's list is split off, or refused where a kms entry keeps it from that
		if (err == nil) != good && !(good && wide) {
			t.Errorf("kekctl says %v: %s of\n%s", err, said, text)
		}
		if !good && command.ProcessState.ExitCode() != 2 {
			t.Errorf("kekctl ends with %d of\n%s", command.ProcessState.ExitCode(), text)
		}
	}
}
