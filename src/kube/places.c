/*
 * k8s.io/kubernetes 1.20 to 1.37: pkg/registry/ROOM/rest (each resource's folder is its name, whatever its
 * group), pkg/kubeapiserver/default_storage_factory_builder.go (those with another folder), and what is
 * stored past the registries: pkg/controlplane (leases), pkg/registry/core/rest (ranges). The last three get
 * their storage without the encryption's transformers, so that no configuration encrypts them.
 */
#include "places.h"

#include <stdlib.h>
#include <string.h>

#include "kek/kube.h"

/* Sorted by the folder's bytes. */
static const struct kube_place places[] = {
    {"certificatesigningrequests", NULL, "certificates.k8s.io", false},
    {"clusterrolebindings", NULL, "rbac.authorization.k8s.io", false},
    {"clusterroles", NULL, "rbac.authorization.k8s.io", false},
    {"clustertrustbundles", NULL, "certificates.k8s.io", false},
    {"compositepodgroups", NULL, "scheduling.k8s.io", false},
    {"configmaps", NULL, "", false},
    {"controllerrevisions", NULL, "apps", false},
    {"controllers", "replicationcontrollers", "", false},
    {"cronjobs", NULL, "batch", false},
    {"csidrivers", NULL, "storage.k8s.io", false},
    {"csinodes", NULL, "storage.k8s.io", false},
    {"csistoragecapacities", NULL, "storage.k8s.io", false},
    {"daemonsets", NULL, "apps", false},
    {"deployments", NULL, "apps", false},
    {"deviceclasses", NULL, "resource.k8s.io", false},
    {"devicetaintrules", NULL, "resource.k8s.io", false},
    {"endpointslices", NULL, "discovery.k8s.io", false},
    {"events", NULL, "", false},
    {"evictionrequests", NULL, "lifecycle.k8s.io", false},
    {"evictions", NULL, "lifecycle.k8s.io", false},
    {"flowschemas", NULL, "flowcontrol.apiserver.k8s.io", false},
    {"horizontalpodautoscalers", NULL, "autoscaling", false},
    {"ingress", "ingresses", "networking.k8s.io", false},
    {"ingressclasses", NULL, "networking.k8s.io", false},
    {"ipaddresses", NULL, "networking.k8s.io", false},
    {"jobs", NULL, "batch", false},
    {"leasecandidates", NULL, "coordination.k8s.io", false},
    {"leases", NULL, "coordination.k8s.io", false},
    {"limitranges", NULL, "", false},
    {"masterleases", NULL, "", true},
    {"minions", "nodes", "", false},
    {"mutatingadmissionpolicies", NULL, "admissionregistration.k8s.io", false},
    {"mutatingadmissionpolicybindings", NULL, "admissionregistration.k8s.io", false},
    {"mutatingwebhookconfigurations", NULL, "admissionregistration.k8s.io", false},
    {"namespaces", NULL, "", false},
    {"networkpolicies", NULL, "networking.k8s.io", false},
    {"peerserverleases", NULL, "", true},
    {"persistentvolumeclaims", NULL, "", false},
    {"persistentvolumes", NULL, "", false},
    {"podcertificaterequests", NULL, "certificates.k8s.io", false},
    {"poddisruptionbudgets", NULL, "policy", false},
    {"podgroups", NULL, "scheduling.k8s.io", false},
    {"pods", NULL, "", false},
    {"podsecuritypolicies", NULL, "policy", false},
    {"podtemplates", NULL, "", false},
    {"priorityclasses", NULL, "scheduling.k8s.io", false},
    {"prioritylevelconfigurations", NULL, "flowcontrol.apiserver.k8s.io", false},
    {"ranges", NULL, "", true},
    {"replicasets", NULL, "apps", false},
    {"resourceclaims", NULL, "resource.k8s.io", false},
    {"resourceclaimtemplates", NULL, "resource.k8s.io", false},
    {"resourcepoolstatusrequests", NULL, "resource.k8s.io", false},
    {"resourcequotas", NULL, "", false},
    {"resourceslices", NULL, "resource.k8s.io", false},
    {"rolebindings", NULL, "rbac.authorization.k8s.io", false},
    {"roles", NULL, "rbac.authorization.k8s.io", false},
    {"runtimeclasses", NULL, "node.k8s.io", false},
    {"secrets", NULL, "", false},
    {"serviceaccounts", NULL, "", false},
    {"servicecidrs", NULL, "networking.k8s.io", false},
    {"services/endpoints", "endpoints", "", false},
    {"services/specs", "services", "", false},
    {"statefulsets", NULL, "apps", false},
    {"storageclasses", NULL, "storage.k8s.io", false},
    {"storageversionmigrations", NULL, "storagemigration.k8s.io", false},
    {"storageversions", NULL, "internal.apiserver.k8s.io", false},
    {"validatingadmissionpolicies", NULL, "admissionregistration.k8s.io", false},
    {"validatingadmissionpolicybindings", NULL, "admissionregistration.k8s.io", false},
    {"validatingwebhookconfigurations", NULL, "admissionregistration.k8s.io", false},
    {"volumeattachments", NULL, "storage.k8s.io", false},
    {"volumeattributesclasses", NULL, "storage.k8s.io", false},
    {"workloads", NULL, "scheduling.k8s.io", false},
};

static int compare(const void *folder, const void *row)
{
    const struct kek_bytes *wanted = folder;
    const struct kube_place *place = row;
    size_t len = strlen(place->folder);
    size_t common = wanted->len < len ? wanted->len : len;
    int order = memcmp(wanted->data, place->folder, common);
    return order != 0 ? order : (wanted->len > len) - (wanted->len < len);
}

const struct kube_place *kek_kube_place(struct kek_bytes folder)
{
    return bsearch(&folder, places, sizeof places / sizeof places[0], sizeof places[0], compare);
}

/* "services", "deployments.apps" */
static bool is_called(const struct kube_place *place, const char *resource)
{
    const char *name = place->resource == NULL ? place->folder : place->resource;
    size_t len = strlen(name);
    bool begins = strncmp(resource, name, len) == 0;
    return begins && (place->group[0] == '\0'
                          ? resource[len] == '\0'
                          : resource[len] == '.' && strcmp(resource + len + 1, place->group) == 0);
}

bool kek_kube_is_known(const char *resource, bool *custom)
{
    const char *dot = strchr(resource, '.');
    const char *group = dot == NULL ? "" : dot + 1;
    *custom = true;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        *custom = *custom && strcmp(places[i].group, group) != 0;
        if (is_called(&places[i], resource)) {
            return true;
        }
    }
    *custom = *custom && strchr(group, '.') != NULL;
    return false;
}
