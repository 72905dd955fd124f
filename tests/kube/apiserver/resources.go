package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

var (
	scheme = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme)
)

// resource is what is served.  Its types are its internal version too.
type resource struct {
	group, version, plural, singular, kind string
	namespaced                             bool
	object, list                           runtime.Object
}

var served = []resource{
	{"", "v1", "secrets", "secret", "Secret", true, &corev1.Secret{}, &corev1.SecretList{}},
	{"", "v1", "configmaps", "configmap", "ConfigMap", true, &corev1.ConfigMap{}, &corev1.ConfigMapList{}},
	{"", "v1", "namespaces", "namespace", "Namespace", false, &corev1.Namespace{}, &corev1.NamespaceList{}},
	{"kekd.example", "v1", "widgets", "widget", "Widget", true, &Widget{}, &WidgetList{}},
	// Nobody does what these ask for, unless a test does.
	{"storagemigration.k8s.io", "v1", "storageversionmigrations", "storageversionmigration",
		"StorageVersionMigration", false, &Migration{}, &MigrationList{}},
}

// custom resources lie in etcd under their group, as JSON.
func (r *resource) custom() bool {
	return r.group != ""
}

func (r *resource) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.group, Resource: r.plural}
}

func init() {
	for _, r := range served {
		for _, version := range []string{r.version, runtime.APIVersionInternal} {
			gv := schema.GroupVersion{Group: r.group, Version: version}
			scheme.AddKnownTypeWithName(gv.WithKind(r.kind), r.object)
			scheme.AddKnownTypeWithName(gv.WithKind(r.kind+"List"), r.list)
		}
		gv := schema.GroupVersion{Group: r.group, Version: r.version}
		metav1.AddToGroupVersion(scheme, gv)
		utilruntime.Must(scheme.SetVersionPriority(gv))
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{}, &metav1.APIVersions{},
		&metav1.APIGroupList{}, &metav1.APIGroup{}, &metav1.APIResourceList{})
}

// openAPI says of each kind that it may hold anything: server-side apply wants to know that much.
func openAPI() *common.OpenAPIV3Config {
	return server.DefaultOpenAPIV3Config(func(common.ReferenceCallback) map[string]common.OpenAPIDefinition {
		found := map[string]common.OpenAPIDefinition{}
		for _, r := range served {
			anything := spec.Schema{
				SchemaProps:      spec.SchemaProps{Type: []string{"object"}},
				VendorExtensible: spec.VendorExtensible{Extensions: spec.Extensions{"x-kubernetes-preserve-unknown-fields": true}},
			}
			found[util.GetCanonicalTypeName(r.object)] = common.OpenAPIDefinition{Schema: anything}
		}
		return found
	}, openapi.NewDefinitionNamer(scheme))
}

// strategy lets everything be written.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	namespaced bool
}

func (s strategy) NamespaceScoped() bool                                          { return s.namespaced }
func (strategy) PrepareForCreate(context.Context, runtime.Object)                 {}
func (strategy) PrepareForUpdate(context.Context, runtime.Object, runtime.Object) {}
func (strategy) Validate(context.Context, runtime.Object) field.ErrorList         { return nil }
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string        { return nil }
func (strategy) AllowCreateOnUpdate() bool                                        { return false }
func (strategy) AllowUnconditionalUpdate() bool                                   { return true }
func (strategy) Canonicalize(runtime.Object)                                      {}
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}
func (strategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

func (r *resource) attributes(object runtime.Object) (labels.Set, fields.Set, error) {
	if r.namespaced {
		return storage.DefaultNamespaceScopedAttr(object)
	}
	return storage.DefaultClusterScopedAttr(object)
}

func (r *resource) store(options generic.RESTOptionsGetter) (rest.Storage, error) {
	rules := strategy{scheme, names.SimpleNameGenerator, r.namespaced}
	store := &registry.Store{
		NewFunc:                   func() runtime.Object { return r.object.DeepCopyObject() },
		NewListFunc:               func() runtime.Object { return r.list.DeepCopyObject() },
		DefaultQualifiedResource:  r.groupResource(),
		SingularQualifiedResource: schema.GroupResource{Group: r.group, Resource: r.singular},
		CreateStrategy:            rules,
		UpdateStrategy:            rules,
		DeleteStrategy:            rules,
		TableConvertor:            rest.NewDefaultTableConvertor(r.groupResource()),
	}
	return store, store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options, AttrFunc: r.attributes})
}

func install(to *server.GenericAPIServer, options generic.RESTOptionsGetter) error {
	groups := map[string]*server.APIGroupInfo{}
	for i := range served {
		r := &served[i]
		made, err := r.store(options)
		if err != nil {
			return err
		}
		group := groups[r.group]
		if group == nil {
			info := server.NewDefaultAPIGroupInfo(r.group, scheme, metav1.ParameterCodec, codecs)
			group = &info
			group.VersionedResourcesStorageMap[r.version] = map[string]rest.Storage{}
			groups[r.group] = group
		}
		group.VersionedResourcesStorageMap[r.version][r.plural] = made
	}
	for name, group := range groups {
		var err error
		if name == "" {
			err = to.InstallLegacyAPIGroup("/api", group)
		} else {
			err = to.InstallAPIGroup(group)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
