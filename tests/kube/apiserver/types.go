package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Widget stands for a custom resource: it holds any JSON.
type Widget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              map[string]any `json:"spec,omitempty"`
	Status            map[string]any `json:"status,omitempty"`
}

type WidgetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Widget `json:"items"`
}

// Migration is a StorageVersionMigration, which k8s.io/api of this age knows by older versions alone.
type Migration Widget

type MigrationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Migration `json:"items"`
}

func (w *Widget) copy() *Widget {
	return &Widget{w.TypeMeta, *w.ObjectMeta.DeepCopy(), runtime.DeepCopyJSON(w.Spec), runtime.DeepCopyJSON(w.Status)}
}

func (w *Widget) DeepCopyObject() runtime.Object    { return w.copy() }
func (m *Migration) DeepCopyObject() runtime.Object { return (*Migration)((*Widget)(m).copy()) }

func (l *WidgetList) DeepCopyObject() runtime.Object {
	made := &WidgetList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		made.Items = append(made.Items, *l.Items[i].copy())
	}
	return made
}

func (l *MigrationList) DeepCopyObject() runtime.Object {
	made := &MigrationList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		made.Items = append(made.Items, *l.Items[i].DeepCopyObject().(*Migration))
	}
	return made
}
