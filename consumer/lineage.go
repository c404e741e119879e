package consumer

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/lapwing/lapwing/consumer/contract"
	"github.com/lapwing/lapwing/state"
)

// lineage is the one record of the store that says under which layout the group judges, and which states of former layouts
// still count. A change of it is the moment at which a new layout begins (see change).
//
// States are keyed by user, so a user who moves to another lane keeps theirs. But a lane must not take just any record that
// it finds: one may be from before the lane's states were declared void (an incarnation ago). So each era notes the
// incarnation that each of its lanes began and ended with, and a record counts if that lane ended with it.
type lineage struct {
	Version int64 `json:"version"` // grows with each change, so that no two records are the same text
	Present era   `json:"present"`
	Former  []era `json:"former,omitempty"` // the newest first

	stored string // the text that it was read from
}

// era is the time during which the group judged under one layout.
type era struct {
	// Number is the lineage's version with which it began; no other era has it.
	Number int64  `json:"number"`
	Layout string `json:"layout"`
	// Sources are those of each lane, in the order of their offsets in a checkpoint: topic and topic id.
	Sources []eraSource `json:"sources"`
	// Began has, by lane, the incarnation under which the lane inherits from the era before; empty in the first.
	Began []uint32 `json:"began,omitempty"`
	// Ended has, by lane, the incarnation of the lane's last states, 0 where they were void; of a former era.
	Ended []uint32 `json:"ended,omitempty"`
}

type eraSource struct {
	Topic    string `json:"topic"`
	Identity string `json:"id"` // see source.identity
	Rekey    bool   `json:"rekey,omitempty"`
}

// erasMax bounds the former eras that are kept. A state that nothing has changed for longer than so many changes of the
// layout is absent.
const erasMax = 16

func newEra(l layout, sources []source) era {
	e := era{Layout: l.String()}
	for _, s := range sources {
		e.Sources = append(e.Sources, eraSource{s.topic, s.identity(), s.rekey})
	}
	return e
}

// String returns the text that is stored.
func (g lineage) String() string {
	text, err := json.Marshal(g)
	if err != nil {
		panic(err) // numbers and strings
	}
	return string(text)
}

func parseLineage(text string) (lineage, error) {
	var g lineage
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		return lineage{}, fmt.Errorf("consumer: lineage %.200q: %w", text, err)
	}
	// What a newer Lapwing has added means something, and a change of the lineage would lose it.
	strict := json.NewDecoder(strings.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(new(lineage)); err != nil {
		return lineage{}, fmt.Errorf("consumer: lineage %.200q: %w: %w; %s", text, state.ErrNewer, err, state.RemedyNewer)
	}
	g.stored = text
	for _, e := range append([]era{g.Present}, g.Former...) {
		if _, err := parseLayout(e.Layout); err != nil {
			return lineage{}, fmt.Errorf("consumer: lineage %.200q: %w", text, err)
		}
	}
	return g, nil
}

// touched returns the lineage as a new text, otherwise unchanged.
func (g lineage) touched() lineage {
	g.Version++
	return g
}

// next returns the lineage after a change to an era, the lanes of the present one having ended with these incarnations.
func (g lineage) next(e era, ended []uint32) lineage {
	former := g.Present
	former.Ended = ended
	e.Number = g.Version + 1
	return lineage{Version: g.Version + 1, Present: e, Former: append([]era{former}, g.Former[:min(len(g.Former), erasMax-1)]...)}
}

// restarted returns the lineage after a change to an era that inherits nothing.
func (g lineage) restarted(e era) lineage {
	e.Number = g.Version + 1
	return lineage{Version: g.Version + 1, Present: e}
}

// settling is how far a lane is on the way out of an era. It stands, with the era's number, in place of the layout in the lane's
// checkpoint.
type settling string

const (
	drained settling = "drained" // its inputs are not judged any more in the era, so it forwards nothing
	settled settling = "settled" // nor is what was forwarded to it
)

func (s settling) in(e *era) string { return string(s) + "." + strconv.FormatInt(e.Number, 10) }

// settlingIn returns how far a lane is, by its checkpoint's layout, and in which era; "" and -1: in none.
func settlingIn(layout string) (settling, int64) {
	name, number, _ := strings.Cut(layout, ".")
	n, err := strconv.ParseInt(number, 10, 64)
	if s := settling(name); err == nil && (s == drained || s == settled) {
		return s, n
	}
	return "", -1
}

// step returns how far a lane is on the way out of this era, by its checkpoint's layout; "": it is judged in it, or not of it.
func (e *era) step(layout string) settling {
	s, n := settlingIn(layout)
	if n != e.Number {
		return ""
	}
	return s
}

// draw gives each lane of the era an incarnation that no record has, above the one that the lane ended the era before with.
func (e *era) draw(ended []uint32) {
	taken := make(map[uint32]bool)
	for lane := range e.layout().partitions {
		for {
			n := rand.Uint32()>>1 | 1
			if int(lane) < len(ended) && ended[lane] > 0 {
				n = ended[lane] + 1 + rand.Uint32()>>12
			}
			if !taken[n] {
				taken[n] = true
				e.Began = append(e.Began, n)
				break
			}
		}
	}
}

// layout returns the era's layout. parseLineage has looked at it.
func (e *era) layout() layout {
	l, _ := parseLayout(e.Layout)
	return l
}

// began returns the incarnation under which a lane inherits, 0: there is none.
func (e *era) began(lane int32) uint32 {
	if int(lane) < len(e.Began) {
		return e.Began[lane]
	}
	return 0
}

// ended returns the incarnation with which a lane ended the era, 0: with no states.
func (e *era) ended(lane int32) uint32 {
	if int(lane) < len(e.Ended) {
		return e.Ended[lane]
	}
	return 0
}

// inherits returns which records of former eras count for a lane of the present one that is in this incarnation; nil: none.
// It is state.Takes.Inherits.
func (g *lineage) inherits(lane int32, incarnation uint32) func(user int64, lane int32, incarnation uint32) bool {
	if len(g.Former) == 0 || incarnation != g.Present.began(lane) {
		return nil // the lane's states were declared void in this era, and with them what it had inherited
	}
	type past struct {
		layout
		*era
	}
	pasts := make([]past, len(g.Former))
	for i := range g.Former {
		pasts[i] = past{g.Former[i].layout(), &g.Former[i]}
	}
	return func(user int64, lane int32, incarnation uint32) bool {
		var buffer [20]byte
		key := contract.AppendUserKey(buffer[:0], user)
		for _, p := range pasts {
			owner := p.laneOf(key)
			ended := p.ended(owner)
			if lane == owner && incarnation == ended && ended != 0 {
				return true
			}
			if ended != p.began(owner) {
				return false // that lane's states were void at some time in this era: nothing older counts
			}
		}
		return false
	}
}
