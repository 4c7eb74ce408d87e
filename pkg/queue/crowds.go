package queue

import "mailx/pkg/mail"

// crowds are the entries that a flush has put off, by the lane for which they were. Those behind a crowded lane cost nothing, however
// many they are: nobody looks at them again before it has room. An entry for the same domain joins them unseen. Its own lane may be
// another one, as routes may depend on the sender; so it is seen before a flush has nothing to do but wait.
type crowds struct {
	all      []*crowd // the one that had its turn last is the last
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
		w.unseen = append(w.unseen, c)
		s.putOff++
	}
	return room
}

// add has an entry wait that was put off.
func (s *crowds) add(c candidate) {
	s.putOff++
	if c.lane == nil {
		s.laneless = append(s.laneless, c)
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
	w.seen = append(w.seen, c)
}

func (s *crowds) open(lane mail.Lane) *crowd {
	if s.byKey == nil {
		s.byKey, s.byDomain = map[string]*crowd{}, map[string]*crowd{}
	}
	w := &crowd{lane: lane}
	s.all = append(s.all, w)
	s.byKey[lane.Key()] = w
	return w
}

// expected gives the first entry of a lane that is not crowded any more, one lane after the other; mail.Crowded: there is none.
func (s *crowds) expected() (candidate, mail.Room) {
	for i, w := range s.all {
		if w.len() == 0 {
			continue
		}
		if room := w.lane.Room(); room != mail.Crowded {
			copy(s.all[i:], s.all[i+1:])
			s.all[len(s.all)-1] = w
			return s.take(w.oldest()), room
		}
	}
	return candidate{}, mail.Crowded
}

// uncertain gives an entry that may not have to wait.
func (s *crowds) uncertain() (c candidate, ok bool) {
	for _, w := range s.all {
		if len(w.unseen) > 0 {
			return s.take(&w.unseen), true
		}
	}
	if s.tried < len(s.laneless) {
		return s.take(&s.laneless), true
	}
	return c, false
}

// any gives the first entry that waits.
func (s *crowds) any() (c candidate, ok bool) {
	for _, w := range s.all {
		if w.len() > 0 {
			return s.take(w.oldest()), true
		}
	}
	if len(s.laneless) > 0 {
		s.tried--
		return s.take(&s.laneless), true
	}
	return c, false
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
