package queue

import "mailx/pkg/mail"

// crowds are the entries that a flush has put off, by the lane for which they were. Those behind a crowded lane cost nothing, however
// many they are: nobody looks at them again before it has room. An entry for the same domain joins them unseen. Its own lane may be
// another one, as routes may depend on the sender; so it is seen before a flush has nothing to do but wait.
type crowds struct {
	waiting  []*crowd // those that are not empty; the one that had its turn last is the last
	byKey    map[string]*crowd
	byDomain map[string]*crowd
	laneless []candidate // put off for other reasons, in turn
	tried    int         // at the end of laneless: put off since the last attempt ended
	putOff   int         // entries in all
}

// crowd waits for one lane.
type crowd struct {
	lane   mail.Lane
	seen   []candidate // it is theirs
	unseen []candidate
}

// join has an entry wait if its name speaks for a lane that is crowded.
func (s *crowds) join(c candidate) mail.Room {
	if len(s.byDomain) == 0 {
		return mail.Free
	}
	w := s.byDomain[domainIn(c.name)]
	if w == nil {
		return mail.Free
	}
	room := w.lane.Room()
	if room == mail.Crowded {
		s.put(w, &w.unseen, c)
	}
	return room
}

// add has an entry wait that was put off.
func (s *crowds) add(c candidate) {
	if c.lane == nil {
		s.laneless = append(s.laneless, c)
		s.putOff++
		s.tried++
		return
	}
	w := s.byKey[c.lane.Key()]
	if w == nil {
		w = s.open(c.lane)
	}
	if domain := domainIn(c.name); domain != "" && s.byDomain[domain] == nil {
		s.byDomain[domain] = w
	}
	c.lane = nil // there may be a lot of them
	s.put(w, &w.seen, c)
}

func (s *crowds) put(w *crowd, into *[]candidate, c candidate) {
	if w.len() == 0 {
		s.waiting = append(s.waiting, w)
	}
	*into = append(*into, c)
	s.putOff++
}

func (s *crowds) open(lane mail.Lane) *crowd {
	if s.byKey == nil {
		s.byKey, s.byDomain = map[string]*crowd{}, map[string]*crowd{}
	}
	w := &crowd{lane: lane}
	s.byKey[lane.Key()] = w
	return w
}

// expected gives the first entry of a lane that is not crowded any more, one lane after the other; mail.Crowded: there is none.
func (s *crowds) expected() (candidate, mail.Room) {
	for i, w := range s.waiting {
		if room := w.lane.Room(); room != mail.Crowded {
			return s.takeFrom(i, w.oldest()), room
		}
	}
	return candidate{}, mail.Crowded
}

// uncertain gives an entry that may not have to wait.
func (s *crowds) uncertain() (c candidate, ok bool) {
	for i, w := range s.waiting {
		if len(w.unseen) > 0 {
			return s.takeFrom(i, &w.unseen), true
		}
	}
	if s.tried < len(s.laneless) {
		return s.take(&s.laneless), true
	}
	return c, false
}

// any gives the first entry that waits.
func (s *crowds) any() (c candidate, ok bool) {
	if len(s.waiting) > 0 {
		return s.takeFrom(0, s.waiting[0].oldest()), true
	}
	if len(s.laneless) > 0 {
		s.tried--
		return s.take(&s.laneless), true
	}
	return c, false
}

// takeFrom takes one of the i-th crowd, which had its turn then.
func (s *crowds) takeFrom(i int, of *[]candidate) candidate {
	w := s.waiting[i]
	c := s.take(of)
	s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
	if w.len() > 0 {
		s.waiting = append(s.waiting, w)
	}
	return c
}

func (s *crowds) take(from *[]candidate) candidate {
	s.putOff--
	c := (*from)[0]
	*from = (*from)[1:]
	return c
}

func (w *crowd) len() int { return len(w.seen) + len(w.unseen) }

// oldest gives those of the two whose first one came first.
func (w *crowd) oldest() *[]candidate {
	if len(w.seen) == 0 || len(w.unseen) > 0 && w.unseen[0].at.Before(w.seen[0].at) {
		return &w.unseen
	}
	return &w.seen
}
