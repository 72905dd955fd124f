package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// access is who may come in, and what they may do: all but what --deny says.
func (s *settings) access(config *server.Config) error {
	var ways []authenticator.Request
	if s.clientCA != "" {
		ca, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", s.clientCA)
		if err != nil {
			return err
		}
		if err := config.Authentication.ApplyClientCert(ca, config.SecureServing); err != nil {
			return err
		}
		ways = append(ways, x509.NewDynamic(ca.VerifyOptions, x509.CommonNameUserConversion))
	}
	if s.tokens != "" {
		tokens, err := tokenfile.NewCSV(s.tokens)
		if err != nil {
			return err
		}
		ways = append(ways, bearertoken.New(tokens))
	}
	config.Authentication.Authenticator = group.NewAuthenticatedGroupAdder(union.New(ways...))
	config.Authorization.Authorizer = denials{rules{s.deny}}
	return nil
}

// rules is a file of lines of words; # begins a comment.  It is read when it is asked, and none is empty.
type rules struct {
	path string
}

// find gives the line whose first words are these, each or *.
func (r rules) find(words ...string) ([]string, error) {
	if r.path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if said := strings.Fields(line); len(said) >= len(words) && match(said, words) {
			return said, nil
		}
	}
	return nil, err
}

func match(said, words []string) bool {
	for i, word := range words {
		if said[i] != "*" && said[i] != word {
			return false
		}
	}
	return true
}

func name(resource, group string) string {
	if group == "" {
		return resource
	}
	return resource + "." + group
}

type denials struct{ rules }

func (d denials) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if !a.IsResourceRequest() {
		return authorizer.DecisionAllow, "", nil
	}
	found, err := d.find(a.GetUser().GetName(), a.GetVerb(), name(a.GetResource(), a.GetAPIGroup()))
	if err != nil || found != nil {
		return authorizer.DecisionNoOpinion, "", err
	}
	return authorizer.DecisionAllow, "", nil
}

// refusals is admission that answers a write of a named object with the code that stands beside it.
type refusals struct{ rules }

var _ admission.ValidationInterface = refusals{}

func (refusals) Handles(admission.Operation) bool {
	return true
}

func (r refusals) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	resource := a.GetResource().GroupResource()
	found, err := r.find(name(resource.Resource, resource.Group), a.GetNamespace()+"/"+a.GetName())
	if err != nil || len(found) < 3 {
		return err
	}
	code, err := strconv.Atoi(found[2])
	if err != nil {
		return err
	}
	return refusal(code, resource, a.GetKind().GroupKind(), a.GetName())
}

func refusal(code int, resource schema.GroupResource, kind schema.GroupKind, name string) error {
	why := errors.New("the test's admission refuses it")
	switch code {
	case 403:
		return apierrors.NewForbidden(resource, name, why)
	case 409:
		return apierrors.NewConflict(resource, name, why)
	case 410:
		return apierrors.NewResourceExpired(why.Error())
	case 422:
		return apierrors.NewInvalid(kind, name, field.ErrorList{field.Forbidden(field.NewPath("metadata", "name"), why.Error())})
	case 429:
		return apierrors.NewTooManyRequests(why.Error(), 1)
	case 500:
		return apierrors.NewInternalError(why)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: int32(code),
		Message: fmt.Sprintf("%s: %v", name, why)}}
}
