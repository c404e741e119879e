package wire

import (
	"errors"
	"fmt"
	"strings"

	kafka "github.com/segmentio/kafka-go"
)

// Resource is a kind of what an ACL is about, as kafka-acls names its option.
type Resource string

// The kinds of resources that Lapwing needs.
const (
	ResourceTopic         Resource = "topic"
	ResourceGroup         Resource = "group"
	ResourceTransactional Resource = "transactional-id"
	ResourceCluster       Resource = "cluster"
)

// DeniedError is an operation that the cluster's authorizer does not allow. It
// unwraps to the broker's kafka.Error.
type DeniedError struct {
	Operation Operation
	Resource  Resource
	Name      string // Empty: the cluster.
	Err       error
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("authorization: %s is not allowed (%s): %v", e.what(), e.Hint(), e.Err)
}

func (e *DeniedError) what() string {
	if e.Resource == ResourceCluster {
		return e.Operation.String() + " on the cluster"
	}
	return fmt.Sprintf("%s on %s %q", e.Operation, e.Resource, e.Name)
}

func (e *DeniedError) Unwrap() error { return e.Err }

// Hint is the command that allows it.
func (e *DeniedError) Hint() string {
	option := fmt.Sprintf("--%s %s", e.Resource, e.Name)
	switch e.Resource {
	case ResourceCluster:
		option = "--cluster"
	case ResourceTransactional:
		// Each process has an id of its own, after the group: one permission is for all of them.
		if i := strings.LastIndexByte(e.Name, '-'); i >= 0 {
			option = fmt.Sprintf("--transactional-id %s --resource-pattern-type prefixed", e.Name[:i+1])
		}
	}
	return fmt.Sprintf("allow it to the user that Lapwing logs in as (deploy/README.md, Kafka ACLs): "+
		"kafka-acls --add --allow-principal User:NAME --operation %s %s", e.Operation, option)
}

// Deny names the operation and the resource of a broker's refusal by its
// authorizer that names none yet; any other error stays as it is.
// transactionalID and group are those of the request, "" for none.
func Deny(err error, group, transactionalID string) error {
	code, ok := errorCode(err)
	if !ok || errors.As(err, new(*DeniedError)) {
		return err
	}
	switch {
	case code == kafka.GroupAuthorizationFailed && group != "":
		return &DeniedError{OperationRead, ResourceGroup, group, err}
	case code == kafka.TransactionalIDAuthorizationFailed && transactionalID != "":
		return &DeniedError{OperationWrite, ResourceTransactional, transactionalID, err}
	}
	return err
}

// DenyTopic is Deny for an operation on a topic.
func DenyTopic(err error, operation Operation, topic string) error {
	code, ok := errorCode(err)
	if !ok || code != kafka.TopicAuthorizationFailed || errors.As(err, new(*DeniedError)) {
		return err
	}
	return &DeniedError{operation, ResourceTopic, topic, err}
}

// denyCluster is Deny for an operation on the cluster.
func denyCluster(err error, operation Operation) error {
	if code, ok := errorCode(err); ok && code == kafka.ClusterAuthorizationFailed {
		return &DeniedError{operation, ResourceCluster, "", err}
	}
	return err
}

// topicOperations is what an authorizer wants for what a PartitionError says.
var topicOperations = map[string]Operation{
	"fetch": OperationRead, "commit offset of": OperationRead, "commit offset in transaction of": OperationRead,
	"produce": OperationWrite, "add to transaction": OperationWrite,
	"describe configuration of": OperationDescribeConfigs,
	"create topic":              OperationCreate, "create partitions of topic": OperationAlter,
}

// operationFor returns what an authorizer wants for what a PartitionError says:
// Describe if nothing else.
func operationFor(op string) Operation {
	if o, ok := topicOperations[op]; ok {
		return o
	}
	return OperationDescribe
}
