package main

import (
	"bytes"
	"io"
	"os"
	"strings"
)

// maxHeld is how much of a message is kept in memory.
const maxHeld = 256 << 10

// held is a message that is complete before it goes anywhere: in memory while it is small, then in a file that has no
// name. The zero value is empty.
type held struct {
	small []byte
	file  *os.File
	size  int64
}

func (h *held) Write(p []byte) (int, error) {
	if h.file == nil && len(h.small)+len(p) > maxHeld {
		if err := h.spill(); err != nil {
			return 0, exitWith(exTempFail, err)
		}
	}
	h.size += int64(len(p))
	if h.file == nil {
		h.small = append(h.small, p...)
		return len(p), nil
	}
	n, err := h.file.Write(p)
	if err != nil {
		err = exitWith(exTempFail, err)
	}
	return n, err
}

func (h *held) spill() error {
	f, err := os.CreateTemp("", "mailx-*")
	if err != nil {
		return err
	}
	os.Remove(f.Name())
	_, err = f.Write(h.small)
	h.file, h.small = f, nil
	return err
}

// ReadAt reads what was written.
func (h *held) ReadAt(p []byte, off int64) (int, error) {
	if h.file != nil {
		return h.file.ReadAt(p, off)
	}
	return bytes.NewReader(h.small).ReadAt(p, off)
}

func (h *held) writeTo(w io.Writer) error {
	_, err := io.Copy(w, io.NewSectionReader(h, 0, h.size))
	return err
}

func (h *held) close() {
	if h.file != nil {
		h.file.Close()
	}
}

// crlfWriter gives wire form, without dot-stuffing, for local form.
type crlfWriter struct{ w io.Writer }

func (c crlfWriter) Write(p []byte) (int, error) {
	if _, err := c.w.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// screen shows octets to a person: what a terminal would obey is escaped, but for tabs. end ends the last line.
type screen struct {
	w    io.Writer
	line []byte
}

func (s *screen) Write(p []byte) (int, error) {
	for _, c := range p {
		if c != '\n' {
			s.line = append(s.line, c)
		} else if err := s.show(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (s *screen) show() error {
	parts := strings.Split(string(s.line), "\t")
	for i := range parts {
		parts[i] = escapeControl(parts[i])
	}
	s.line = s.line[:0]
	_, err := io.WriteString(s.w, strings.Join(parts, "\t")+"\n")
	return err
}

func (s *screen) end() error {
	if len(s.line) == 0 {
		return nil
	}
	return s.show()
}
