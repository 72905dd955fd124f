package kube

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	kmsv1beta1 "k8s.io/kms/apis/v1beta1"
	kmsv2 "k8s.io/kms/apis/v2"
)

// Whoever generates a client from kekd's own .proto files gets the API server's.
func TestSchemaIsKubernetesOwn(t *testing.T) {
	for name, theirs := range map[string]protoreflect.FileDescriptor{
		"kms_v1beta1.proto": (&kmsv1beta1.EncryptRequest{}).ProtoReflect().Descriptor().ParentFile(),
		"kms_v2.proto":      (&kmsv2.EncryptRequest{}).ProtoReflect().Descriptor().ParentFile(),
	} {
		ours, want := schemaOf(parse(t, name)), schemaOf(theirs)
		if len(want) < 10 {
			t.Fatalf("%s: only %q is known of Kubernetes' own schema", name, want)
		}
		for _, line := range want {
			if !slices.Contains(ours, line) {
				t.Errorf("%s lacks: %s", name, line)
			}
		}
		for _, line := range ours {
			if !slices.Contains(want, line) {
				t.Errorf("%s has, and Kubernetes has not: %s", name, line)
			}
		}
	}
}

func parse(t *testing.T, name string) protoreflect.FileDescriptor {
	t.Helper()
	folder := filepath.Join(os.Getenv("abs_top_srcdir"), "proto")
	out := filepath.Join(t.TempDir(), "set")
	command := exec.Command("protoc-c", "--descriptor_set_out="+out, "--proto_path="+folder,
		filepath.Join(folder, name))
	if said, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", command.Args, err, said)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	file, err := protodesc.NewFile(set.File[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// All that two ends must agree on, one line each.
func schemaOf(file protoreflect.FileDescriptor) []string {
	lines := []string{fmt.Sprintf("%v package %s", file.Syntax(), file.Package())}
	for i := range file.Services().Len() {
		methods := file.Services().Get(i).Methods()
		for j := range methods.Len() {
			m := methods.Get(j)
			lines = append(lines, fmt.Sprintf("rpc %s (%s) %s, streams: %v %v", m.FullName(),
				m.Input().FullName(), m.Output().FullName(), m.IsStreamingClient(), m.IsStreamingServer()))
		}
	}
	return append(lines, messages(file.Messages())...)
}

func messages(all protoreflect.MessageDescriptors) []string {
	var lines []string
	for i := range all.Len() {
		message := all.Get(i)
		lines = append(lines, fmt.Sprintf("message %s", message.FullName()))
		for j := range message.Fields().Len() {
			f := message.Fields().Get(j)
			of := ""
			if f.Message() != nil {
				of = string(f.Message().FullName())
			}
			lines = append(lines, fmt.Sprintf("%s = %d: %v %v %s, map: %v, in JSON: %s", f.FullName(),
				f.Number(), f.Cardinality(), f.Kind(), of, f.IsMap(), f.JSONName()))
		}
		lines = append(lines, messages(message.Messages())...)
	}
	return lines
}
