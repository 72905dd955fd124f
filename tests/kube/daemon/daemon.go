// Package daemon runs a kekd from the build tree on a throw-away SoftHSM token, for tests that bring
// their own client.  It uses the standard library alone, so that clients of any age can use it.
package daemon

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Patience is generous: a slow machine must never make a good kekd fail.
const Patience = 60 * time.Second

// Kekd is one node: a folder with configuration, state, socket and log, and with the token where it is the first.
type Kekd struct {
	t         testing.TB
	folder    string
	hsm       string // the token's folder
	uri       string
	config    string
	log       *os.File
	listener  *os.File // of socket activation; nil without it
	command   *exec.Cmd
	Socket    string
	activated net.Listener
	lost      []string // files of keys that were taken away
}

func variable(t testing.TB, name string) string {
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run tests/kube/run.sh", name)
	}
	return value
}

// New makes token, configuration and the first key. extra goes to the end of the configuration file.
func New(t testing.TB, extra string) *Kekd {
	t.Helper()
	k := newFolder(t)
	k.hsm = k.folder + "/hsm"
	out, err := exec.Command(filepath.Join(variable(t, "abs_top_srcdir"), "softhsm-conf/make-token.sh"), k.hsm).Output()
	if err != nil {
		t.Fatalf("make-token.sh: %v", err)
	}
	for _, line := range strings.Split(string(out), "\n") {
		if uri, found := strings.CutPrefix(line, "URI="); found {
			k.uri = uri
		}
	}
	k.configure(extra)
	if out, err := k.Kekctl("key", "generate").CombinedOutput(); err != nil {
		t.Fatalf("kekctl key generate: %v\n%s", err, out)
	}
	return k
}

// Join makes another node on k's token, with a folder of its own.
func (k *Kekd) Join(extra string) *Kekd {
	k.t.Helper()
	other := newFolder(k.t)
	other.hsm, other.uri = k.hsm, k.uri
	other.configure(extra)
	return other
}

func newFolder(t testing.TB) *Kekd {
	t.Helper()
	folder, err := os.MkdirTemp("", "kekd-kube-")
	if err != nil {
		t.Fatal(err)
	}
	k := &Kekd{t: t, folder: folder, config: folder + "/kekd.yaml", Socket: folder + "/kms.sock"}
	t.Cleanup(k.cleanup)
	return k
}

func (k *Kekd) configure(extra string) {
	k.t.Helper()
	if err := os.Mkdir(k.State(), 0o700); err != nil {
		k.t.Fatal(err)
	}
	text := fmt.Sprintf(`listen: unix://%s
keyring: k8s-test
context: kube
refresh: 1s
state_dir: %s
providers:
  - name: hsm-a
    type: pkcs11
    uri: "%s"
    timeout: 5s
    env: {SOFTHSM2_CONF: %s/softhsm2.conf}
%s`, k.Socket, k.State(), k.uri, k.hsm, extra)
	if err := os.WriteFile(k.config, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
	var err error
	k.log, err = os.OpenFile(k.folder+"/kekd.log", os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		k.t.Fatal(err)
	}
}

// State is the folder of what it keeps over restarts.
func (k *Kekd) State() string {
	return k.folder + "/state"
}

// Kekctl is a command of kekctl on this node.
func (k *Kekd) Kekctl(arguments ...string) *exec.Cmd {
	k.t.Helper()
	program := filepath.Join(variable(k.t, "abs_top_builddir"), "kekctl")
	return exec.Command(program, append([]string{"--config", k.config}, arguments...)...)
}

// Token is what another program needs to use kekd's token.
func (k *Kekd) Token() (conf, pin string) {
	k.t.Helper()
	text, err := os.ReadFile(k.hsm + "/pin")
	if err != nil {
		k.t.Fatal(err)
	}
	return k.hsm + "/softhsm2.conf", strings.TrimSpace(string(text))
}

// Activate makes the listening socket that a service manager would keep over restarts.
func (k *Kekd) Activate() {
	k.t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: k.Socket, Net: "unix"})
	if err != nil {
		k.t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	k.activated = listener
	if k.listener, err = listener.File(); err != nil {
		k.t.Fatal(err)
	}
}

// Start starts kekd; it returns once the socket takes connections.
func (k *Kekd) Start() {
	k.t.Helper()
	program := filepath.Join(variable(k.t, "abs_top_builddir"), "kekd")
	if k.listener == nil {
		k.command = exec.Command(program, "--config", k.config)
	} else {
		// LISTEN_PID must be kekd's own: the shell's, which becomes kekd.
		k.command = exec.Command("/bin/sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`, program,
			"--config", k.config)
		k.command.ExtraFiles = []*os.File{k.listener}
	}
	k.command.Stdout, k.command.Stderr = k.log, k.log
	k.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := k.command.Start(); err != nil {
		k.t.Fatal(err)
	}
	for end := time.Now().Add(Patience); ; time.Sleep(20 * time.Millisecond) {
		connection, err := net.Dial("unix", k.Socket)
		if err == nil {
			connection.Close()
			return
		}
		if time.Now().After(end) {
			k.t.Fatalf("kekd does not serve: %v", err)
		}
	}
}

// Unplug takes the token away, and kekd's workers with it: what they hold of it would outlive it.
func (k *Kekd) Unplug() {
	k.t.Helper()
	k.settle()
	k.rename("tokens", "tokens.away")
	if err := os.Mkdir(k.hsm+"/tokens", 0o700); err != nil {
		k.t.Fatal(err)
	}
	k.killWorkers()
}

// Plug brings the token back.
func (k *Kekd) Plug() {
	k.t.Helper()
	if err := os.RemoveAll(k.hsm + "/tokens"); err != nil {
		k.t.Fatal(err)
	}
	k.rename("tokens.away", "tokens")
}

// LoseKeys leaves a token that answers and has no key; RestoreKeys brings them back, as from a backup.
func (k *Kekd) LoseKeys() {
	k.t.Helper()
	k.settle()
	objects, _ := filepath.Glob(k.hsm + "/tokens/*/*.object")
	for _, path := range objects {
		if filepath.Base(path) != "token.object" {
			k.lost = append(k.lost, path)
		}
	}
	if len(k.lost) == 0 {
		k.t.Fatal("the token has no key to lose")
	}
	for _, path := range k.lost {
		if err := os.Rename(path, path+".lost"); err != nil {
			k.t.Fatal(err)
		}
	}
	k.killWorkers()
}

func (k *Kekd) RestoreKeys() {
	k.t.Helper()
	k.settle()
	for _, path := range k.lost {
		if err := os.Rename(path+".lost", path); err != nil {
			k.t.Fatal(err)
		}
	}
	k.lost = nil
	k.killWorkers()
}

func (k *Kekd) rename(from, to string) {
	k.t.Helper()
	if err := os.Rename(k.hsm+"/"+from, k.hsm+"/"+to); err != nil {
		k.t.Fatal(err)
	}
}

// settle waits until both workers have logged in: SoftHSM rewrites its token at each login, and one that
// is killed in the middle of it takes the token along.
func (k *Kekd) settle() {
	k.t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(50 * time.Millisecond) {
		text, err := os.ReadFile(k.folder + "/kekd.log")
		last := bytes.LastIndex(text, []byte("provider hsm-a is "))
		// Three: a successor is ready, and the one it follows has not gone yet.
		if err == nil && last >= 0 && regexp.MustCompile(`^provider hsm-a is ready .*workers=[23]\n`).Match(text[last:]) {
			return
		}
		if time.Now().After(end) {
			k.t.Fatal("kekd's workers do not become ready")
		}
	}
}

// killWorkers kills the processes whose parent is kekd: fresh ones look at the token anew.
func (k *Kekd) killWorkers() {
	k.t.Helper()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if len(fields) > 1 && fields[1] == strconv.Itoa(k.command.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// WaitLogged waits until kekd's log has this text.
func (k *Kekd) WaitLogged(text string) {
	k.t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(50 * time.Millisecond) {
		if said, err := os.ReadFile(k.folder + "/kekd.log"); err == nil && bytes.Contains(said, []byte(text)) {
			return
		}
		if time.Now().After(end) {
			k.t.Fatalf("kekd does not say: %s", text)
		}
	}
}

// Stop ends kekd by SIGTERM, or by kill -9, and insists on a clean end where it can be one.
func (k *Kekd) Stop(signal syscall.Signal) {
	k.t.Helper()
	command := k.command
	k.command = nil
	if err := command.Process.Signal(signal); err != nil {
		k.t.Fatal(err)
	}
	err := command.Wait()
	if signal == syscall.SIGTERM && err != nil {
		k.t.Fatalf("kekd after SIGTERM: %v", err)
	}
}

func (k *Kekd) cleanup() {
	if k.command != nil {
		_ = syscall.Kill(-k.command.Process.Pid, syscall.SIGKILL)
		_ = k.command.Wait()
	}
	if k.listener != nil {
		k.listener.Close()
		k.activated.Close()
	}
	if k.t.Failed() {
		if text, err := os.ReadFile(k.folder + "/kekd.log"); err == nil {
			lines := bytes.Split(text, []byte("\n"))
			if len(lines) > 100 {
				lines = lines[len(lines)-100:]
			}
			k.t.Logf("kekd's log:\n%s", bytes.Join(lines, []byte("\n")))
		}
	}
	if k.log != nil {
		k.log.Close()
	}
	os.RemoveAll(k.folder)
}
