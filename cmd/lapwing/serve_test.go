package main

import (
	"reflect"
	"testing"

	"github.com/lapwing/lapwing/consumer"
)

// TestEngineDefaults checks that a configuration without keys is the engine's own defaults.
func TestEngineDefaults(t *testing.T) {
	got, err := NewConfig().engineOptions()
	if err != nil {
		t.Fatal(err)
	}
	want := consumer.DefaultOptions()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		name := g.Type().Field(i).Name
		switch name {
		case "Rules", "Decoder", "Brokers", "Partitioner":
			continue // the configuration's own
		}
		if !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("%s: the configuration gives %v, the engine's default is %v", name, g.Field(i).Interface(), w.Field(i).Interface())
		}
	}
}
