package consumertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// jarsTimeout bounds the download of Kafka's jars.
const jarsTimeout = 10 * time.Minute

// javaCommand is the answer of deploy/local/jars, asked once in a process.
var javaCommand struct {
	once  sync.Once
	words []string
	err   error
}

// kafkaJava returns the command that runs Kafka's classes, up to the name of a class. Only where a run must have services
// is something installed or fetched for it.
func kafkaJava(tb testing.TB) ([]string, error) {
	required, err := requirements(os.Getenv(EnvRequire))
	if err != nil {
		tb.Fatal(err)
	}
	javaCommand.once.Do(func() {
		var args []string
		if !slices.Contains(required, RequireServices) {
			args = append(args, "--present")
		}
		javaCommand.words, javaCommand.err = askJars(args...)
	})
	return javaCommand.words, javaCommand.err
}

func askJars(args ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), jarsTimeout)
	defer cancel()
	module, err := moduleDir(ctx)
	if err != nil {
		return nil, err
	}
	output, err := exec.CommandContext(ctx, filepath.Join(module, "deploy/local/jars"), args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("deploy/local/jars: %w", err)
	}
	return strings.Split(strings.TrimSpace(string(output)), "\n"), nil
}

// nodeProperties returns the text of a node's configuration.
func nodeProperties(n *clusterNode, o ClusterOptions, voters []string) string {
	listeners := []string{"DIRECT://" + n.addr, "CONTROLLER://" + n.controller}
	advertised := []string{"DIRECT://" + n.addr}
	protocols := []string{"DIRECT:PLAINTEXT", "CONTROLLER:PLAINTEXT"}
	for _, l := range n.listeners {
		listeners = append(listeners, l.name+"://"+l.addr)
		advertised = append(advertised, l.name+"://"+l.advertised)
		protocols = append(protocols, l.name+":"+l.protocol)
	}
	replicas, inSync := "1", "1"
	if o.Brokers >= 3 {
		replicas, inSync = "3", "2"
	}
	session := o.BrokerSessionTimeout.Milliseconds()
	p := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        strconv.Itoa(n.id()),
		"controller.quorum.voters":       strings.Join(voters, ","),
		"listeners":                      strings.Join(listeners, ","),
		"advertised.listeners":           strings.Join(advertised, ","),
		"listener.security.protocol.map": strings.Join(protocols, ","),
		"inter.broker.listener.name":     "DIRECT",
		"controller.listener.names":      "CONTROLLER",
		"log.dirs":                       n.data(),

		"auto.create.topics.enable":                        "false",
		"unclean.leader.election.enable":                   "false",
		"default.replication.factor":                       replicas,
		"min.insync.replicas":                              inSync,
		"offsets.topic.replication.factor":                 replicas,
		"offsets.topic.num.partitions":                     "8",
		"transaction.state.log.replication.factor":         replicas,
		"transaction.state.log.min.isr":                    inSync,
		"transaction.state.log.num.partitions":             "8",
		"share.coordinator.state.topic.replication.factor": replicas,
		"share.coordinator.state.topic.min.isr":            inSync,
		"share.coordinator.state.topic.num.partitions":     "1",

		"broker.session.timeout.ms":        strconv.FormatInt(session, 10),
		"broker.heartbeat.interval.ms":     strconv.FormatInt(max(1, min(session/5, 2000)), 10),
		"controlled.shutdown.enable":       "true",
		"group.initial.rebalance.delay.ms": "0",
		"group.min.session.timeout.ms":     "1000",

		// A small machine.
		"num.network.threads":               "2",
		"num.io.threads":                    "4",
		"log.cleaner.dedupe.buffer.size":    "16777216",
		"log.cleaner.io.buffer.size":        "131072",
		"num.recovery.threads.per.data.dir": "2",
	}
	for _, l := range o.Listeners {
		for key, value := range l.Settings {
			p["listener.name."+strings.ToLower(l.Name)+"."+key] = value
		}
	}
	maps.Copy(p, o.Settings)
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, "%s=%s\n", key, p[key])
	}
	return text.String()
}
