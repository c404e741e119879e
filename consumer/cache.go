package consumer

import (
	"math/rand/v2"

	"github.com/lapwing/lapwing/rules"
	"github.com/lapwing/lapwing/state"
)

// entry is one user's state in memory: four cache lines without a pointer, so that an event waits for memory once, and
// the garbage collector does not look into it.
type entry struct {
	user int64
	tag  int64 // the state includes the events of this lane below this offset

	// changed is the offset after the last event that this tenure applied, 0 when it only loaded the state.
	changed int64

	index uint32 // of this entry in its cache
	live  bool   // a user has it
	form  uint8  // of the state: one of those below, or how many bytes of packed are in use
	_     [2]byte

	packed compact // or the state as state.Codec writes it
}

// Forms of a state. Between them is the length of a packed one.
const (
	formNew     = 0
	packedMax   = 98 // beyond it decoding and encoding a state for each event costs more than the memory of a decoded one
	formCompact = 254
	formLarge   = 255 // the state is in cache.large
)

const (
	pageEntries = 256
	evictWindow = 16
)

// cache holds the states of a lane's users. One goroutine at a time.
//
// Nearly all states are small and are kept within their entries: in the compact form, of which an event opens what it
// needs, or packed as in the store, when they have more of something than that form has room for. The few that do not
// fit stay decoded, so that an event of a hot user with thousands of buckets changes only what it has to.
//
// A hand goes round and looks at evictWindow entries at a time: of those whose last change the store has, the least
// recently changed leaves. It comes close to the least recently used of all, without a list in which each event would
// change the neighbours of its user's entry.
type cache struct {
	codec state.Codec
	pages []*[pageEntries]entry // entries never move
	free  []uint32              // entries without a user
	made  uint32                // entries that were ever in use: the first of pages
	index userIndex
	large map[int64]*rules.UserState // by user

	alone   []bool          // by type of an event: see rules.Set.Alone
	scratch rules.UserState // the state that open returns
	buffer  []byte

	hand   uint32
	barren int64 // no entry could leave as long as flushed is this; -1: not known

	flushing int64    // every change below it is in a snapshot
	flushed  int64    // every change below it is acknowledged by the store
	dirty    []uint32 // entries with changed > flushing
}

func newCache(set *rules.Set, flushed int64) *cache {
	c := &cache{codec: state.NewCodec(set.Types()), index: newUserIndex(), large: make(map[int64]*rules.UserState), barren: -1, flushing: flushed, flushed: flushed}
	for i := range set.Types().Len() {
		c.alone = append(c.alone, set.Alone(rules.Type(i)))
	}
	return c
}

func (c *cache) len() int { return c.index.n }

func (c *cache) at(i uint32) *entry { return &c.pages[i/pageEntries][i%pageEntries] }

// get returns the user's entry, or nil.
func (c *cache) get(user int64) *entry {
	u := &c.index
	fragment := u.fragment(user)
	for i := u.home(fragment); ; i = u.next(i) {
		slot := u.slots[i]
		if slot == 0 {
			return nil
		}
		if uint32(slot>>32) == fragment {
			if e := c.at(uint32(slot) - 1); e.user == user {
				return e
			}
		}
	}
}

// insert adds a user who is not there, with the state of a new one.
func (c *cache) insert(user int64) *entry {
	var i uint32
	if n := len(c.free); n > 0 {
		i, c.free = c.free[n-1], c.free[:n-1]
	} else {
		if i = c.made; i%pageEntries == 0 {
			c.pages = append(c.pages, new([pageEntries]entry))
		}
		c.made++
	}
	e := c.at(i)
	e.user, e.tag, e.changed, e.index, e.live, e.form = user, 0, 0, i, true, formNew
	c.index.add(user, i)
	return e
}

// fill gives an entry the state that the store holds as of tag.
func (c *cache) fill(e *entry, tag int64, st *rules.UserState) {
	e.tag = tag
	c.keep(e, st)
}

// open returns what an event of a type needs of the entry's state, to be changed until close is called with it. It is
// valid until another is opened.
func (c *cache) open(e *entry, typ rules.Type) *rules.UserState {
	if e.form == formCompact {
		e.packed.open(&c.scratch, typ, c.alone[typ])
		return &c.scratch
	}
	return c.whole(e)
}

// whole returns the entry's state, valid until another is opened.
func (c *cache) whole(e *entry) *rules.UserState {
	st := &c.scratch
	switch e.form {
	case formNew:
		st.RunType, st.RunLength, st.Types = 0, 0, st.Types[:0]
	case formCompact:
		e.packed.open(st, 0, false)
	case formLarge:
		return c.large[e.user]
	default:
		c.codec.ReopenState(e.packed[:e.form], st)
	}
	return st
}

// close keeps the state that open returned.
func (c *cache) close(e *entry, st *rules.UserState) {
	switch e.form {
	case formLarge:
	case formCompact:
		if !e.packed.update(st) {
			e.packed.complete(st)
			c.keep(e, st)
		}
	default:
		c.keep(e, st)
	}
}

// keep gives an entry a whole state, in the first form that takes it. One that has outgrown its entry is large until a
// snapshot finds it small.
func (c *cache) keep(e *entry, st *rules.UserState) {
	e.packed[compactTypesAt] = 0
	if e.packed.update(st) {
		e.form = formCompact
		return
	}
	c.buffer = c.codec.AppendState(c.buffer[:0], st)
	if len(c.buffer) > packedMax {
		clone := st.Clone()
		c.large[e.user], e.form = &clone, formLarge
		return
	}
	e.form = uint8(copy(e.packed[:], c.buffer))
}

// touch notes that the event at the offset has changed e.
func (c *cache) touch(e *entry, offset int64) {
	if e.changed <= c.flushing {
		c.dirty = append(c.dirty, e.index)
	}
	e.tag, e.changed = offset+1, offset+1
}

// snapshot calls add for each entry changed since the last snapshot, with its state, and marks all changes below offset as
// being flushed. Entries changed at or after the offset must not exist.
func (c *cache) snapshot(offset int64, add func(e *entry, st *rules.UserState)) {
	for _, i := range c.dirty {
		e := c.at(i)
		st := c.whole(e)
		add(e, st)
		if e.form == formLarge {
			c.shrink(e, st)
		}
	}
	c.dirty = c.dirty[:0]
	c.flushing = max(c.flushing, offset)
}

// shrink takes a large state that has become small into its entry: half as large as what fits, since one at the edge
// must not go back and forth.
func (c *cache) shrink(e *entry, st *rules.UserState) {
	const bucketBytesMin = 2 // so that a state with many, which the snapshot has just encoded, is not encoded again
	for i := range st.Types {
		for _, series := range st.Types[i].Series {
			if len(series.Buckets)*bucketBytesMin > packedMax/2 {
				return
			}
		}
	}
	if c.buffer = c.codec.AppendState(c.buffer[:0], st); len(c.buffer) <= packedMax/2 {
		delete(c.large, e.user)
		c.keep(e, st)
	}
}

// acknowledge notes that the store has taken the snapshot of the offset.
func (c *cache) acknowledge(offset int64) { c.flushed = max(c.flushed, offset) }

// evict removes entries beyond max whose last change the store has. Nobody may hold an entry meanwhile.
func (c *cache) evict(max int) {
	if c.len() <= max || c.barren == c.flushed {
		return
	}
	for idle := uint32(0); c.len() > max; {
		if e := c.oldest(); e != nil {
			c.remove(e)
			idle = 0
		} else if idle += evictWindow; idle >= c.made {
			c.barren = c.flushed
			return
		}
	}
}

// oldest moves the hand on and returns which of the entries that it passed may leave first, or nil.
func (c *cache) oldest() *entry {
	var oldest *entry
	for range min(evictWindow, c.made) {
		if c.hand++; c.hand >= c.made {
			c.hand = 0
		}
		if e := c.at(c.hand); e.live && e.changed <= c.flushed && (oldest == nil || e.changed < oldest.changed) {
			oldest = e
		}
	}
	return oldest
}

func (c *cache) remove(e *entry) {
	if e.form == formLarge {
		delete(c.large, e.user)
	}
	c.index.remove(e.user, e.index)
	e.live = false
	c.free = append(c.free, e.index)
}

// userIndex finds the entries of users: a hash table with linear probing. A slot has 32 bits of the user's hash, whose
// upper ones say where it belongs, and the number of the entry plus 1. So a look-up waits for memory once before the
// entry itself, and neither growth nor removal needs the entries.
//
// The hash is a multiplication by a random odd number: whoever chooses user ids cannot choose which ones collide.
type userIndex struct {
	slots []uint64 // a power of two
	shift uint8    // 32 - log2(len(slots))
	n     int
	seed  uint64
}

const userIndexBits = 8 // of a new index

func newUserIndex() userIndex {
	return userIndex{slots: make([]uint64, 1<<userIndexBits), shift: 32 - userIndexBits, seed: rand.Uint64() | 1}
}

func (u *userIndex) fragment(user int64) uint32 { return uint32(uint64(user) * u.seed >> 32) }

func (u *userIndex) home(fragment uint32) uint32 { return fragment >> u.shift }

func (u *userIndex) next(i uint32) uint32 { return (i + 1) & uint32(len(u.slots)-1) }

func (u *userIndex) add(user int64, entry uint32) {
	if u.n*2 >= len(u.slots) {
		u.grow()
	}
	u.place(uint64(u.fragment(user))<<32 | uint64(entry+1))
	u.n++
}

func (u *userIndex) place(slot uint64) {
	i := u.home(uint32(slot >> 32))
	for u.slots[i] != 0 {
		i = u.next(i)
	}
	u.slots[i] = slot
}

func (u *userIndex) grow() {
	old := u.slots
	u.slots = make([]uint64, 2*len(old))
	u.shift--
	for _, slot := range old {
		if slot != 0 {
			u.place(slot)
		}
	}
}

// remove takes the user's slot out, and moves back those after it that stand further on than where they belong.
func (u *userIndex) remove(user int64, entry uint32) {
	i := u.home(u.fragment(user))
	for uint32(u.slots[i]) != entry+1 {
		i = u.next(i)
	}
	u.n--
	for j := u.next(i); u.slots[j] != 0; j = u.next(j) {
		// The slot at j may stand at i if that is not before its home: distances count round the table.
		mask := uint32(len(u.slots) - 1)
		if home := u.home(uint32(u.slots[j] >> 32)); (j-home)&mask >= (j-i)&mask {
			u.slots[i] = u.slots[j]
			i = j
		}
	}
	u.slots[i] = 0
}
