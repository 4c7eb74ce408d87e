package fetch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// maxHeader is how much of a header makes its print, in octets.
const maxHeader = 64 << 10

// headerPrint collects the header of a message that is written to it.
type headerPrint struct {
	head []byte
	full bool
}

func (h *headerPrint) Write(p []byte) (int, error) {
	if h.full {
		return len(p), nil
	}
	from := max(len(h.head)-1, 0)
	h.head = append(h.head, p[:min(len(p), maxHeader-len(h.head))]...)
	if i := bytes.Index(h.head[from:], []byte("\n\n")); i >= 0 {
		h.head, h.full = h.head[:from+i+1], true
	}
	h.full = h.full || len(h.head) == maxHeader
	return len(p), nil
}

// of is what the message is recognised by: its size on the server and a hash of its header.
func (h *headerPrint) of(it Item) string {
	sum := sha256.Sum256(h.head)
	return fmt.Sprintf("%d:%s", it.Size, hex.EncodeToString(sum[:12]))
}

func epochOf(id string) string {
	epoch, _, _ := strings.Cut(id, ".")
	return epoch
}

// recognise finds messages that have been fetched under ids of another epoch, and notes them under the new ones.
func (r *run) recognise(wanted []Item, listed map[string]bool) (left, again []Item, err error) {
	source, ok := r.source.(Renumberer)
	if !ok || len(wanted) == 0 {
		return wanted, nil, nil
	}
	old := r.state.orphans(epochOf(wanted[0].ID), listed)
	if len(old) == 0 {
		return wanted, nil, nil
	}
	found := map[string]bool{}
	err = source.Headers(wanted, func(it Item, header io.Reader) error {
		head := new(headerPrint)
		if _, err := io.Copy(head, header); err != nil {
			return err
		}
		print := head.of(it)
		if ids := old[print]; len(ids) > 0 && !found[it.ID] {
			r.state.rename(ids[0], it.ID)
			old[print] = ids[1:]
			found[it.ID] = true
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, it := range wanted {
		if found[it.ID] {
			again = append(again, it)
		} else {
			left = append(left, it)
		}
	}
	return left, again, r.state.sync()
}

// orphans gives the ids of other epochs that were fetched and are listed no more, by their prints.
func (s *state) orphans(epoch string, listed map[string]bool) map[string][]string {
	old := map[string][]string{}
	for id, r := range s.ids {
		if r.name == "" && r.print != "" && !listed[id] && epochOf(id) != epoch {
			old[r.print] = append(old[r.print], id)
		}
	}
	return old
}

// rename notes that a message has another id.
func (s *state) rename(old, id string) {
	r := s.ids[old]
	s.ids[id] = record{done: r.done}
	s.add(doneLine(id, r.done))
	s.print(id, r.print)
	s.drop(old)
}
