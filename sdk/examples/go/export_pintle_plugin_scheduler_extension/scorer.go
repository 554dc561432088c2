// A scheduler extension in Go: pods go to nodes with the disk they ask for, and
// batch pods keep off nodes that do not take them.
//
// The generated wit_exports.go calls the functions of this package; its name is
// what the generator expects.
package export_pintle_plugin_scheduler_extension

import (
	"encoding/json"
	"fmt"

	wit "go.bytecodealliance.org/pkg/wit/types"

	log "wit_component/pintle_plugin_log"
	ext "wit_component/pintle_plugin_scheduler_extension"
	types "wit_component/pintle_plugin_types"
)

const (
	podDisk     = "example.pintle.dev/disktype"
	nodeDisk    = "disktype"
	nodeNoBatch = "example.pintle.dev/no-batch"
)

// What is kept of a node.
type node struct {
	disk    string
	noBatch bool
}

// By node number; a number that is not in use has the zero node.
var nodes []node

// The labels of an object. The host gives nothing but well-formed objects;
// should it not, a trap with a reason is better than a guess.
func labels(object ext.Object) map[string]string {
	var parsed struct {
		Metadata struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(object.Json, &parsed); err != nil {
		message := fmt.Sprintf("%s %s: %v", object.Ref.Kind.Kind, object.Ref.Name, err)
		log.Log(log.LevelError, message)
		panic(message)
	}
	return parsed.Metadata.Labels
}

func Describe(config []uint8) wit.Result[ext.Description, string] {
	if string(config) != "{}" {
		return wit.Err[ext.Description, string]("go-scorer has no configuration")
	}
	return wit.Ok[ext.Description, string](ext.Description{
		Manifest: ext.Manifest{
			Name:    "go-scorer",
			Version: "0.1.0",
			Needs: []types.Grant{{
				Kind:   ext.KindRef{Version: "v1", Kind: "Node"},
				Verbs:  []string{"watch"},
				Reason: "the rule looks at the labels of nodes",
			}},
		},
		Abilities: ext.AbilityFilter | ext.AbilityScore,
		PodFields: []string{"metadata.labels"},
	})
}

func SyncNodes(changes []ext.NumberedNode) {
	for _, change := range changes {
		for int(change.Number) >= len(nodes) {
			nodes = append(nodes, node{})
		}
		if change.Node.IsNone() {
			nodes[change.Number] = node{}
			continue
		}
		labels := labels(change.Node.Some())
		nodes[change.Number] = node{disk: labels[nodeDisk], noBatch: labels[nodeNoBatch] == "true"}
	}
}

func Sync([]ext.Delta) {}

func Filter(_ ext.Context, pod ext.Object) []ext.Rejection {
	if labels(pod)["batch"] != "true" {
		return nil
	}
	var numbers []uint32
	for number, node := range nodes {
		if node.noBatch {
			numbers = append(numbers, uint32(number))
		}
	}
	if numbers == nil {
		return nil
	}
	return []ext.Rejection{{Reason: "node(s) take no batch pods", Nodes: numbers}}
}

func Score(_ ext.Context, pod ext.Object) []uint8 {
	wanted := labels(pod)[podDisk]
	if wanted == "" {
		return nil
	}
	scores := make([]uint8, len(nodes))
	for number, node := range nodes {
		if node.disk == wanted {
			scores[number] = 100
		}
	}
	return scores
}
