package kube

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"kekd.example/tests/kube/daemon"
)

// etcd is one etcd server for the whole run; every test uses a prefix of its own.
type etcd struct {
	endpoint string
	client   *clientv3.Client
	command  *exec.Cmd
	folder   string
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func startEtcd() (*etcd, error) {
	folder, err := os.MkdirTemp("", "kekd-etcd-")
	if err != nil {
		return nil, err
	}
	e := &etcd{folder: folder}
	// Between finding a free port and using it, somebody else may take it: a second try settles it.
	for try := 0; ; try++ {
		if err = e.try(fmt.Sprintf("%s/data%d", folder, try)); err == nil {
			return e, nil
		}
		if try == 2 {
			e.stop()
			return nil, err
		}
	}
}

func (e *etcd) try(data string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	peer, err := freePort()
	if err != nil {
		return err
	}
	e.endpoint = fmt.Sprintf("http://127.0.0.1:%d", port)
	peers := fmt.Sprintf("http://127.0.0.1:%d", peer)
	log, err := os.Create(data + ".log")
	if err != nil {
		return err
	}
	defer log.Close()
	e.command = exec.Command("etcd", "--data-dir", data, "--listen-client-urls", e.endpoint,
		"--advertise-client-urls", e.endpoint, "--listen-peer-urls", peers,
		"--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers,
		"--unsafe-no-fsync", "--logger", "zap", "--log-level", "warn")
	e.command.Stdout, e.command.Stderr = log, log
	e.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.command.Start(); err != nil {
		return err
	}
	e.client, err = clientv3.New(clientv3.Config{Endpoints: []string{e.endpoint}, Logger: zap.NewNop()})
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), daemon.Patience/3)
		defer cancel()
		if _, err = e.client.Get(ctx, "ready"); err == nil {
			return nil
		}
		e.client.Close()
	}
	_ = e.command.Process.Kill()
	_ = e.command.Wait()
	e.command = nil
	text, _ := os.ReadFile(data + ".log")
	return fmt.Errorf("etcd does not answer: %w\n%s", err, text)
}

func (e *etcd) stop() {
	if e.command != nil {
		e.client.Close()
		_ = e.command.Process.Signal(syscall.SIGTERM)
		_ = e.command.Wait()
	}
	os.RemoveAll(e.folder)
}

// values is what lies in etcd under this prefix, as it lies there.
func (e *etcd) values(t *testing.T, prefix string) map[string][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	found, err := e.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]byte{}
	for _, pair := range found.Kvs {
		values[string(pair.Key)] = pair.Value
	}
	return values
}
