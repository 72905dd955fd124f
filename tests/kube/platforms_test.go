package kube

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func ofSources(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{os.Getenv("abs_top_srcdir")}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The static pod by Kubernetes' own types, strictly: what the kubelet would not know is an error.
func TestStaticPodIsAPod(t *testing.T) {
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(ofSources(t, "deploy", "static-pod.yaml")), &pod); err != nil {
		t.Fatal(err)
	}
	if pod.Kind != "Pod" || pod.APIVersion != "v1" || !pod.Spec.HostNetwork || len(pod.Spec.Containers) != 1 {
		t.Fatalf("not the pod that it should be: %+v", pod)
	}
	// A static pod cannot refer to what only an API server has.
	if pod.Spec.ServiceAccountName != "" || len(pod.Spec.ImagePullSecrets) != 0 {
		t.Error("it refers to other objects")
	}
	for _, volume := range pod.Spec.Volumes {
		if volume.HostPath == nil || *volume.HostPath.Type != corev1.HostPathDirectory {
			t.Errorf("volume %s is no folder of the node that must be there", volume.Name)
		}
	}
	security := pod.Spec.Containers[0].SecurityContext
	if !*security.RunAsNonRoot || *security.RunAsUser == 0 || !*security.ReadOnlyRootFilesystem ||
		*security.AllowPrivilegeEscalation || len(security.Capabilities.Add) != 0 || security.Capabilities.Drop[0] != "ALL" {
		t.Errorf("it may more than it needs: %+v", security)
	}
}

// What docs/platforms.md has for kubeadm: fields of v1beta4 alone, and a mount for each path that an argument or the
// EncryptionConfiguration names.
func TestKubeadmsConfigurationMountsWhatItNames(t *testing.T) {
	var config struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		APIServer  struct {
			ExtraArgs []struct {
				Name  string `json:"name"`
				Value string `json:"value"`
			} `json:"extraArgs"`
			ExtraVolumes []struct {
				Name      string              `json:"name"`
				HostPath  string              `json:"hostPath"`
				MountPath string              `json:"mountPath"`
				ReadOnly  bool                `json:"readOnly"`
				PathType  corev1.HostPathType `json:"pathType"`
			} `json:"extraVolumes"`
		} `json:"apiServer"`
	}
	block := regexp.MustCompile("(?s)```yaml\n(apiVersion: kubeadm.*?)```").FindStringSubmatch(ofSources(t, "docs", "platforms.md"))
	if block == nil {
		t.Fatal("platforms.md has no configuration of kubeadm")
	}
	if err := yaml.UnmarshalStrict([]byte(block[1]), &config); err != nil {
		t.Fatal(err)
	}
	socket := regexp.MustCompile(`endpoint: unix://(\S+)`).FindStringSubmatch(ofSources(t, "deploy", "encryption-configuration.yaml"))[1]
	wanted := []string{socket}
	for _, argument := range config.APIServer.ExtraArgs {
		if strings.HasPrefix(argument.Value, "/") {
			wanted = append(wanted, argument.Value)
		}
	}
	if len(wanted) != 2 {
		t.Fatalf("paths: %v", wanted)
	}
	for _, path := range wanted {
		mounted := false
		for _, volume := range config.APIServer.ExtraVolumes {
			mounted = mounted || volume.HostPath == volume.MountPath && filepath.Dir(path) == volume.MountPath &&
				volume.PathType == corev1.HostPathDirectory
		}
		if !mounted {
			t.Errorf("the folder of %s is not mounted", path)
		}
	}
}

// What it has for RKE2 and k3s: the arguments of both, and of RKE2, whose API server is in a pod, the mounts.
func TestRancherConfigurationsNameTheirFile(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(kube-apiserver-arg:.*?)```").FindAllStringSubmatch(ofSources(t, "docs", "platforms.md"), -1)
	if len(blocks) != 2 {
		t.Fatalf("platforms.md has %d configurations of RKE2 and k3s", len(blocks))
	}
	for i, block := range blocks {
		var config struct {
			Arguments []string `json:"kube-apiserver-arg"`
			Mounts    []string `json:"kube-apiserver-extra-mount"`
		}
		if err := yaml.UnmarshalStrict([]byte(block[1]), &config); err != nil {
			t.Fatal(err)
		}
		file := ""
		for _, argument := range config.Arguments {
			if value, found := strings.CutPrefix(argument, "encryption-provider-config="); found {
				file = value
			}
		}
		if !strings.HasPrefix(file, "/etc/rancher/") || len(config.Arguments) != 2 ||
			config.Arguments[1] != "encryption-provider-config-automatic-reload=true" {
			t.Errorf("arguments: %v", config.Arguments)
		}
		folder := filepath.Dir(file)
		mounts := []string{"/run/kekd:/run/kekd", folder + ":" + folder + ":ro"}
		if i == 0 && strings.Join(config.Mounts, " ") != strings.Join(mounts, " ") || i == 1 && config.Mounts != nil {
			t.Errorf("mounts: %v", config.Mounts)
		}
	}
}
