package delivery

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"mailx/pkg/mail"
)

// CheckAliases looks at everything in the aliases file and in those that it includes, and tells what would keep mail from
// somebody: what can't be read, names that are defined twice, members that are nobody here, loops, commands that are not
// there, owners and modes that can't be trusted. The problems come in the order of the file. Nothing is sent, and no name
// of another host is looked up.
func (r *Router) CheckAliases() []Problem {
	c := &aliasCheck{r: r}
	if r.Aliases != nil {
		c.aliases(r.Aliases)
	}
	return c.problems
}

// CheckVirtual is CheckAliases for the virtual alias file.
func (r *Router) CheckVirtual() []Problem {
	c := &aliasCheck{r: r}
	if r.Virtual != nil {
		c.virtual(r.Virtual)
	}
	return c.problems
}

type aliasCheck struct {
	r        *Router
	file     string   // that is looked at
	lists    []string // that are looked at, or were
	within   []string // the lists around the member that is looked at
	problems []Problem
}

func (c *aliasCheck) problem(line int, format string, args ...any) {
	c.problems = append(c.problems, Problem{c.file, line, fmt.Sprintf(format, args...)})
}

// add takes what a parser found.
func (c *aliasCheck) add(problems []Problem) {
	for _, p := range problems {
		p.File = c.file
		c.problems = append(c.problems, p)
	}
}

func (c *aliasCheck) read(name string) (data []byte, ok bool) {
	c.file = name
	data, _, err := readTable(name)
	if err != nil {
		c.problem(0, "%v", err)
	}
	return data, err == nil
}

// trust tells of a file that may not have what one of its members is.
func (c *aliasCheck) trust(name string, members []Member) {
	if !slices.ContainsFunc(members, Member.isPrivileged) {
		return
	}
	if info, err := os.Stat(name); err == nil {
		if err := checkTrust(name, info, c.r.Aliases.Owner); err != nil {
			c.problem(0, "%v", err)
		}
	}
}

func (c *aliasCheck) aliases(a *Aliases) {
	data, ok := c.read(a.file.path)
	if !ok {
		return
	}
	entries, problems := ParseAliases(data)
	c.add(problems)
	var all []Member
	for _, e := range entries {
		all = append(all, e.Members...)
	}
	c.trust(a.file.path, all)
	for _, e := range entries {
		c.entry(e)
	}
	c.sort()
}

// entry looks at the members, and tells of an alias with lists that leads nowhere though nothing is wrong with any of them: an
// empty list, or one that was found wrong at another alias.
func (c *aliasCheck) entry(e Alias) {
	before := len(c.problems)
	for _, m := range e.Members {
		c.member(e.Name, m)
	}
	includes := func(m Member) bool { return m.Include != "" }
	if at := slices.IndexFunc(e.Members, includes); at >= 0 && len(c.problems) == before && e.Name != "*" {
		if _, err := c.r.Route(mail.Address{Local: e.Name}); err != nil {
			c.problem(e.Members[at].line, "%s: %s", e.Name, reason(err))
		}
	}
}

func (c *aliasCheck) virtual(v *Virtual) {
	data, ok := c.read(v.file.path)
	if !ok {
		return
	}
	entries, problems := ParseVirtual(data)
	c.add(problems)
	for _, e := range entries {
		if a, err := mail.ParseAddress(e.Name); err == nil && a.Domain != "" && !c.r.IsLocal(a.Domain) {
			c.problem(e.Line, "%s is no domain of ours: a line \"%s anything\" makes it one", a.Domain, a.Domain)
		}
		if _, isDomain := domainOfKey(e.Name); isDomain && e.Name[0] != '@' {
			continue
		}
		for _, m := range e.Members {
			c.member(e.Name, m)
		}
	}
	c.sort()
}

// sort puts the problems in order; those of included files stay behind the line that includes them.
func (c *aliasCheck) sort() {
	type placed struct {
		Problem
		at int
	}
	var all []placed
	line := 0
	for _, p := range c.problems {
		if p.File == c.file {
			line = p.Line
		}
		all = append(all, placed{p, line})
	}
	slices.SortStableFunc(all, func(a, b placed) int { return a.at - b.at })
	for i := range all {
		c.problems[i] = all[i].Problem
	}
}

// member looks at one member of the entry name; what its parser found is told already.
func (c *aliasCheck) member(name string, m Member) {
	switch {
	case m.Err != nil:
	case m.Include != "":
		c.include(name, m)
	case m.Command != nil:
		c.command(m)
	case m.Path != "":
		c.path(m)
	case m.Verbatim:
		if found, err := (&expansion{r: c.r}).user(m.Address.Local); err != nil || !found {
			c.problem(m.line, "%s: there is no such user", m)
		}
	case m.Address.Local == "": // any name at another domain
	default:
		c.address(name, m)
	}
}

func (c *aliasCheck) address(name string, m Member) {
	d, err := c.r.Route(m.Address)
	if err != nil {
		c.problem(m.line, "%s: %s", m, reason(err))
		return
	}
	for _, skipped := range d.Skipped { // "root: root" asks for the user
		var s *Skip
		if errors.As(skipped, &s) && s.In == "alias "+name && s.Member == m.String() {
			c.problem(m.line, "%s: %s", m, reason(s.Err))
			return
		}
	}
}

func (c *aliasCheck) include(name string, m Member) {
	if err := checkNesting(c.within, m.Include); err != nil {
		c.problem(m.line, "%s: %s", m, reason(err))
		return
	}
	if slices.Contains(c.lists, m.Include) {
		return // it was looked at
	}
	c.lists = append(c.lists, m.Include)
	c.within = append(c.within, m.Include)
	before := c.file
	defer func() { c.file, c.within = before, c.within[:len(c.within)-1] }()
	data, _, err := readTable(m.Include)
	if err != nil {
		c.problem(m.line, "%v", err)
		return
	}
	if info, err := os.Stat(m.Include); err == nil {
		if err := checkTrust(m.Include, info, c.r.Aliases.Owner); err != nil {
			c.problem(m.line, "%v", err)
		}
	}
	c.file = m.Include
	members, problems := ParseList(data)
	c.add(problems)
	for _, member := range members {
		c.member(name, member)
	}
}

func (c *aliasCheck) command(m Member) {
	program, err := findProgram(m.Command[0])
	if err != nil {
		c.problem(m.line, "%v", err)
		return
	}
	fi, err := os.Stat(program)
	switch {
	case err != nil:
		c.problem(m.line, "%v", err)
	case !fi.Mode().IsRegular() || fi.Mode().Perm()&0o111 == 0:
		c.problem(m.line, "%s is no program", program)
	}
}

func (c *aliasCheck) path(m Member) {
	if m.Path == os.DevNull {
		return
	}
	name := path.Clean(m.Path)
	if _, err := os.Stat(path.Dir(name)); err != nil {
		c.problem(m.line, "%v", err)
		return
	}
	fi, err := os.Lstat(name)
	switch isDir := m.Path != name; {
	case err != nil: // it will be made
	case isDir && !fi.IsDir() && fi.Mode()&os.ModeSymlink == 0:
		c.problem(m.line, "%s is no directory: without the slash at the end it is a file in mbox format", m)
	case !isDir && fi.IsDir():
		c.problem(m.line, "%s is a directory: with a slash at the end it is a Maildir", m)
	case !isDir && !fi.Mode().IsRegular():
		c.problem(m.line, "%s is not a regular file", m)
	}
}
