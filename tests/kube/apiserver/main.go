// Command apiserver is a small API server for tests: Kubernetes' own generic server, registry, encryption
// configuration and health checks, with few resources.  What a kube-apiserver adds to that, it has not.
//
// Its options are those of kube-apiserver where they are named alike.  --refuse and --deny name files that are
// read again for each request, so that a test can change its mind.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/apiserver/pkg/util/feature"
	"k8s.io/klog/v2"

	_ "k8s.io/component-base/metrics/prometheus/workqueue"
)

type settings struct {
	etcd     *options.EtcdOptions
	serving  *options.SecureServingOptions
	clientCA string
	tokens   string
	deny     string
	refuse   string
	reads    int
	writes   int
}

func newSettings() *settings {
	s := &settings{
		etcd:    options.NewEtcdOptions(storagebackend.NewDefaultConfig("/registry", nil)),
		serving: options.NewSecureServingOptions(),
	}
	s.serving.BindAddress = net.ParseIP("127.0.0.1")
	s.etcd.DefaultStorageMediaType = "application/vnd.kubernetes.protobuf"
	return s
}

func (s *settings) addFlags(flags *pflag.FlagSet) {
	s.etcd.AddFlags(flags)
	s.serving.AddFlags(flags)
	feature.DefaultMutableFeatureGate.AddFlag(flags)
	flags.StringVar(&s.clientCA, "client-ca-file", "", "who is signed by it is the user CN in the groups O")
	flags.StringVar(&s.tokens, "token-auth-file", "", "lines of token,user,uid,\"group,group\"")
	flags.StringVar(&s.deny, "deny", "", "file with lines of: user verb resource; * is any")
	flags.StringVar(&s.refuse, "refuse", "", "file with lines of: resource namespace/name code, of writes to be refused by admission")
	flags.IntVar(&s.reads, "max-requests-inflight", 400, "reads at a time; more get 429")
	flags.IntVar(&s.writes, "max-mutating-requests-inflight", 200, "writes at a time; more get 429")
}

// storageFactory puts each resource where a kube-apiserver puts it.
func (s *settings) storageFactory() (*serverstorage.DefaultStorageFactory, error) {
	factory := serverstorage.NewDefaultStorageFactory(s.etcd.StorageConfig, s.etcd.DefaultStorageMediaType, codecs,
		serverstorage.NewDefaultResourceEncodingConfig(scheme), serverstorage.NewResourceConfig(), nil)
	for _, resource := range served {
		if resource.custom() {
			factory.SetEtcdPrefix(resource.groupResource(), s.etcd.StorageConfig.Prefix)
			factory.SetResourceEtcdPrefix(resource.groupResource(), resource.group+"/"+resource.plural)
			factory.SetSerializer(resource.groupResource(), "application/json", nil)
		}
	}
	overrides, err := options.ParseEtcdServersOverrides(s.etcd.EtcdServersOverrides)
	for _, override := range overrides {
		factory.SetEtcdLocation(override.GroupResource, override.Servers)
	}
	return factory, err
}

func (s *settings) config() (*server.Config, error) {
	config := server.NewConfig(codecs)
	config.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	config.MaxRequestsInFlight, config.MaxMutatingRequestsInFlight = s.reads, s.writes
	config.OpenAPIV3Config = openAPI()
	config.SkipOpenAPIInstallation = true
	config.AdmissionControl = refusals{rules{s.refuse}}
	if err := s.serving.MaybeDefaultWithSelfSignedCerts("localhost", nil, nil); err != nil {
		return nil, err
	}
	if err := s.serving.WithLoopback().ApplyTo(&config.SecureServing, &config.LoopbackClientConfig); err != nil {
		return nil, err
	}
	if err := s.access(config); err != nil {
		return nil, err
	}
	factory, err := s.storageFactory()
	if err != nil {
		return nil, err
	}
	return config, s.etcd.ApplyWithStorageFactoryTo(factory, config)
}

func (s *settings) run(ctx context.Context) error {
	if errors := append(s.etcd.Validate(), s.serving.Validate()...); len(errors) > 0 {
		return errors[0]
	}
	config, err := s.config()
	if err != nil {
		return err
	}
	made, err := config.Complete(nil).New("apiserver", server.NewEmptyDelegate())
	if err != nil {
		return err
	}
	if err := install(made, config.RESTOptionsGetter); err != nil {
		return err
	}
	return made.PrepareRun().RunWithContext(ctx)
}

func main() {
	s := newSettings()
	flags := pflag.NewFlagSet("apiserver", pflag.ExitOnError)
	s.addFlags(flags)
	logging := flag.NewFlagSet("klog", flag.ExitOnError)
	klog.InitFlags(logging)
	flags.AddGoFlag(logging.Lookup("v"))
	_ = flags.Parse(os.Args[1:])
	klog.SetOutput(os.Stderr)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := s.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "apiserver:", err)
		os.Exit(1)
	}
}
