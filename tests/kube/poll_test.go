package kube

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"k8s.io/apiserver/pkg/server/healthz"
	envelopekmsv2 "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmsservice "k8s.io/kms/pkg/service"
)

// told is the key_ids that kekd gave one API server by v2, in their order.
type told struct {
	sync.Mutex
	status   []string // without repetitions
	encrypts int
	refused  int // seeds that came under another key_id than the Status before: no API server takes them
	// Once, between an answer to Status and what the API server makes of it; nil: nothing.
	meanwhile func(kmsservice.Service)
}

type toldKey struct{}

// toldService is Kubernetes' own client, and writes down what it gets.
type toldService struct {
	kmsservice.Service
	told *told
}

func newToldService(ctx context.Context, endpoint, name string, timeout time.Duration) (kmsservice.Service, error) {
	service, err := envelopekmsv2.NewGRPCService(ctx, endpoint, name, timeout)
	if err != nil {
		return nil, err
	}
	return &toldService{service, ctx.Value(toldKey{}).(*told)}, nil
}

func (s *toldService) Status(ctx context.Context) (*kmsservice.StatusResponse, error) {
	answer, err := s.Service.Status(ctx)
	if err != nil {
		return nil, err
	}
	s.told.Lock()
	if count := len(s.told.status); count == 0 || s.told.status[count-1] != answer.KeyID {
		s.told.status = append(s.told.status, answer.KeyID)
	}
	meanwhile := s.told.meanwhile
	s.told.meanwhile = nil
	s.told.Unlock()
	if meanwhile != nil {
		meanwhile(s.Service)
	}
	return answer, nil
}

func (s *toldService) Encrypt(ctx context.Context, uid string, data []byte) (*kmsservice.EncryptResponse, error) {
	answer, err := s.Service.Encrypt(ctx, uid, data)
	if err == nil {
		s.told.Lock()
		defer s.told.Unlock()
		s.told.encrypts++
		if s.told.status[len(s.told.status)-1] != answer.KeyID {
			s.told.refused++
		}
	}
	return answer, err
}

func (t *told) counts() (encrypts, refused int) {
	t.Lock()
	defer t.Unlock()
	return t.encrypts, t.refused
}

// keyIDs is what Status said, without repetitions.
func (t *told) keyIDs() []string {
	t.Lock()
	defer t.Unlock()
	return append([]string(nil), t.status...)
}

// probe is how kmsv2PluginProbe of k8s.io/apiserver begins. It polls Status each minute, and a health check
// repeats its last answer for up to 20 s; neither can be set.
type probe struct {
	state atomic.Pointer[envelopekmsv2.State]
	name  string
	ttl   time.Duration
	_     kmsservice.Service
	_     unsafe.Pointer
	lock  *sync.Mutex
}

// probeOf finds the probe that a health check asks: it is the closure's only variable.
func probeOf(check healthz.HealthChecker) *probe {
	function := reflect.ValueOf(check).Elem().FieldByName("check")
	closure := *(**struct {
		code  uintptr
		probe *probe
	})(unsafe.Pointer(function.UnsafeAddr()))
	if closure.probe.name != "kekd-v2" {
		panic(fmt.Sprintf("the probe of this Kubernetes has another layout: %q", closure.probe.name))
	}
	return closure.probe
}

// poll is the API server's poll of Status, now: its own check, with its own decision about a new seed.
func poll(check healthz.HealthChecker) error {
	probe := probeOf(check)
	probe.lock.Lock()
	probe.ttl = 0
	probe.lock.Unlock()
	request, _ := http.NewRequest(http.MethodGet, "/readyz", nil)
	return check.Check(request)
}
