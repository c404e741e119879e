package consumer

import "github.com/lapwing/lapwing/rules"

// entry is one user's state in memory.
type entry struct {
	user  int64
	tag   int64 // the state includes the events of this lane below this offset
	state rules.UserState

	// changed is the offset after the last event that this tenure applied, 0 when it only loaded the state.
	// Invariant: from the cold to the hot end of the list, changed never falls.
	changed    int64
	prev, next *entry
}

// cache holds the states of a lane's users, least recently changed first. One goroutine at a time.
//
// Every event changes its user's state, so the order of use is the order of the offsets: the entries changed since an
// offset are the hot end of the list, and if the coldest entry may not leave, none may. A loaded entry enters at the
// cold end and moves with its first event.
type cache struct {
	entries map[int64]*entry
	root    entry // root.next is the coldest, root.prev the hottest entry

	flushing int64 // every change below it is in a snapshot
	flushed  int64 // every change below it is acknowledged by the store
	dirty    int   // entries with changed > flushing
}

func newCache(flushed int64) *cache {
	c := &cache{entries: make(map[int64]*entry), flushing: flushed, flushed: flushed}
	c.root.prev, c.root.next = &c.root, &c.root
	return c
}

func (c *cache) len() int { return len(c.entries) }

func (c *cache) get(user int64) *entry { return c.entries[user] }

// insert adds a user whose state the store holds as of tag (0 for a new user).
func (c *cache) insert(user, tag int64, st rules.UserState) *entry {
	e := &entry{user: user, tag: tag, state: st}
	c.entries[user] = e
	c.link(e, &c.root)
	return e
}

// touch notes that the event at the offset has changed e.
func (c *cache) touch(e *entry, offset int64) {
	if e.changed <= c.flushing {
		c.dirty++
	}
	e.tag, e.changed = offset+1, offset+1
	if c.root.prev != e {
		c.unlink(e)
		c.link(e, c.root.prev)
	}
}

// snapshot calls add for each entry changed since the last snapshot and marks all changes below offset as being
// flushed. Entries changed at or after the offset must not exist.
func (c *cache) snapshot(offset int64, add func(*entry)) {
	for e := c.root.prev; e != &c.root && e.changed > c.flushing; e = e.prev {
		add(e)
	}
	c.flushing, c.dirty = max(c.flushing, offset), 0
}

// acknowledge notes that the store has taken the snapshot of the offset.
func (c *cache) acknowledge(offset int64) { c.flushed = max(c.flushed, offset) }

// evict removes the coldest entries beyond max whose last change the store has.
//
// An entry that has left points to no other. Otherwise this would happen: somebody still holds an old entry (the room of
// a chunk beyond its last record is enough); it points to the one that was hotter, which leaves next and points to the
// one after it; so every entry that ever left since stays in memory.
func (c *cache) evict(max int) {
	for len(c.entries) > max {
		e := c.root.next
		if e.changed > c.flushed {
			return // and so are all hotter ones
		}
		c.unlink(e)
		e.prev, e.next = nil, nil
		delete(c.entries, e.user)
	}
}

func (c *cache) link(e, after *entry) {
	e.prev, e.next = after, after.next
	after.next.prev, after.next = e, e
}

func (c *cache) unlink(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
}
